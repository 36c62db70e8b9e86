"""What a session does with trouble and vanishing clients, and what it tells; words: `tests/dialogues`."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from aiosmtpd.smtp import SMTP

from postroad.adapters.smtpd_bdat import ChunkSession
from postroad.config.model import SubmissionConfig
from postroad.mail.events import InternalError, LoggedIn, LoginFailed, Refused, SessionEnded
from tests.support.door import (
    ALICE,
    ENVELOPE,
    MESSAGE,
    Client,
    FakeAccounts,
    FakeIntake,
    client,
    house,
    how_it_ended,
    into_data,
)

# --- trouble of our own ---


async def test_a_bug_in_intake_is_answered_451_and_reported_and_nothing_leaks() -> None:
    intake = FakeIntake(error=RuntimeError("secret inside"))
    async with house(tls="off", auth="off", intake=intake) as place, client(place) as one:
        await into_data(one)
        assert await one.say(MESSAGE) == "451 4.3.0 Internal error, try again later"
        assert (await one.say("NOOP")).startswith("250 ")
        (bug,) = place.events.of(InternalError)
        assert bug.text == "RuntimeError: secret inside"


async def test_a_bug_in_the_accounts_is_answered_454() -> None:
    accounts = FakeAccounts(broken=True)
    async with house(tls="implicit", accounts=accounts) as place, client(place, tls=True) as one:
        await one.reply()
        await one.say("EHLO c")
        assert await one.say(ALICE) == "454 4.7.0 Authentication is not available now"
        assert len(place.events.of(InternalError)) == 1


async def test_a_broken_disk_in_mid_message_ends_the_session() -> None:
    config = SubmissionConfig(spill_threshold=10)
    async with house(tls="off", auth="off", config=config) as place, client(place) as one:
        place.spool.broken = True
        await into_data(one)
        assert await one.say(b"Subject: s\r\n\r\nbody\r\n") == "421 4.3.0 Internal error, closing"
        assert await one.rest() == b""
        assert place.intake.submissions == []


async def test_a_full_disk_is_told_after_the_end_of_data() -> None:
    config = SubmissionConfig(spill_threshold=10)
    async with house(tls="off", auth="off", config=config) as place, client(place) as one:
        place.spool.full = True
        await into_data(one)
        one.send(b"Subject: s\r\n\r\nbody\r\n")
        assert await one.say(b"more\r\n.\r\n") == "452 4.3.1 Insufficient system storage"
        assert (await one.say("NOOP")).startswith("250 ")
        assert place.intake.submissions == []


async def test_without_accounts_no_login_is_offered() -> None:
    async with house(tls="implicit", no_accounts=True) as place, client(place, tls=True) as one:
        await one.reply()
        assert "AUTH" not in await one.say("EHLO c")
        assert await one.say(ALICE) == "502 5.5.1 Not offered"


# --- clients that vanish ---


async def test_a_client_that_vanishes_in_data_leaves_nothing() -> None:
    config = SubmissionConfig(spill_threshold=10)
    async with house(tls="off", auth="off", config=config) as place:
        async with client(place) as one:
            await into_data(one)
            one.send(b"Subject: s\r\n\r\nhalf of it\r\n")
            await one.writer.drain()
        assert await how_it_ended(place) == ["lost"]
        assert place.intake.submissions == []
        assert place.spool.waiting == {}


@pytest.mark.parametrize("tls", [False, True])
async def test_a_message_is_decided_even_when_its_client_is_gone(tls: bool) -> None:
    gate = asyncio.Event()
    intake = FakeIntake(gate=gate.wait)
    mode = "implicit" if tls else "off"
    async with house(tls=mode, auth="optional", intake=intake) as place:
        async with client(place, tls=tls) as one:
            await into_data(one)
            one.send(MESSAGE)
            await intake.asked.wait()
            reset(one)
        gate.set()
        assert await how_it_ended(place) == ["lost"]
        assert len(intake.submissions) == 1


def reset(one: Client) -> None:
    """Close with RST, as a crash does."""
    sock = one.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.writer.transport.abort()


# --- replies and events ---


async def test_a_pipelined_group_is_answered_in_one_write() -> None:
    async with house(tls="off", auth="off") as place, client(place) as one:
        await one.reply()
        one.send(ENVELOPE)
        assert (await one.reader.read(2**16)).count(b"\r\n") == 4
        assert len(place.intake.submissions) == 0


async def test_logins_are_told() -> None:
    async with house(tls="implicit") as place, client(place, tls=True) as one:
        await one.reply()
        await one.say("EHLO c")
        await one.say("AUTH PLAIN AGFsaWNlAHdyb25n")
        await one.say(ALICE)
        assert [(event.login, event.method) for event in place.events.of(LoginFailed)] == [("alice", "PLAIN")]
        assert [(event.login, event.peer.protocol) for event in place.events.of(LoggedIn)] == [
            ("alice", "ESMTPSA")
        ]


async def test_refusals_are_told_with_what_was_refused() -> None:
    async with house(tls="off", auth="off") as place, client(place) as one:
        await one.reply()
        one.send(b"EHLO c\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b>\r\n")
        for _ in range(3):
            await one.reply()
        (event,) = place.events.of(Refused)
        assert (event.stage, event.sender, event.recipient) == ("rcpt", "a@x.example", "TO:<b>")
        assert event.reply.startswith("553 5.1.3 ")


async def test_a_session_tells_how_many_messages_it_brought() -> None:
    async with house(tls="off", auth="off") as place, client(place) as one:
        await into_data(one)
        await one.say(MESSAGE)
        await one.say("QUIT")
        await how_it_ended(place)
        assert [(event.how, event.accepted) for event in place.events.of(SessionEnded)] == [("quit", 1)]


# --- what we lean on in aiosmtpd ---


def test_no_verb_of_aiosmtpd_is_left_to_itself() -> None:
    ours = {name for name in dir(ChunkSession) if name.startswith("smtp_")}
    inherited = {name for name in ours if getattr(ChunkSession, name) is getattr(SMTP, name, None)}
    assert inherited == set()
    assert {name for name in dir(SMTP) if name.startswith("smtp_")} <= ours


def test_aiosmtpd_still_has_the_hooks_we_fill() -> None:
    hooks = {"_create_session", "_set_rset_state", "_reset_timeout", "_cb_client_connected", "_handle_client"}
    assert hooks <= set(dir(SMTP))


async def test_nothing_is_shared_between_sessions_and_no_name_is_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def looked_up(name: str = "") -> str:
        raise AssertionError("a session asked for our name")

    monkeypatch.setattr(socket, "getfqdn", looked_up)
    before = dict(SMTP.command_size_limits)
    async with house(tls="off", auth="off") as place, client(place) as one:
        await one.reply()
        for _ in range(5):
            await one.say("EHLO c")
    assert dict(SMTP.command_size_limits) == before
