"""What a session does with time, trouble and clients that vanish; what it says is in `tests/dialogues`."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import struct
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest
from aiosmtpd.smtp import SMTP

from postroad.adapters.smtpd_bdat import ChunkSession
from postroad.config.model import SubmissionConfig
from postroad.mail.canonical import relaxed_body_hash
from postroad.mail.events import InternalError, LoggedIn, LoginFailed, Refused, SessionEnded
from postroad.mail.message import Body, Notify, Peer, Ret, StagedBody
from postroad.mail.reply import Reply
from tests.support.door import NOW, Client, FakeAccounts, FakeIntake, House, client, house

ENVELOPE = b"HELO c\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n"
MESSAGE = b"Subject: s\r\n\r\nhi\r\n.\r\n"
ALICE = "AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ="


async def into_data(one: Client) -> None:
    """Up to and including the 354."""
    await one.reply()
    one.send(ENVELOPE)
    assert [(await one.reply())[:3] for _ in range(4)] == ["250", "250", "250", "354"]


async def how_it_ended(place: House) -> list[str]:
    async with asyncio.timeout(10):
        while not place.events.of(SessionEnded):
            await asyncio.sleep(0.001)
    return [event.how for event in place.events.of(SessionEnded)]


# --- what intake gets ---


async def test_a_submission_says_who_what_and_how() -> None:
    async with house(tls="implicit") as place, client(place, tls=True) as one:
        await one.reply()
        await one.say("EHLO client.example")
        await one.say(ALICE)
        await one.say("MAIL FROM:<é@x.example> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=Q+2B1")
        await one.say("RCPT TO:<b@y.example> NOTIFY=DELAY ORCPT=rfc822;b@z.example")
        await one.say("DATA")
        await one.say("Subject: é\r\n\r\n..dot\r\n.")
        (submission,) = place.intake.submissions
        envelope, peer = submission.envelope, submission.peer
        assert (envelope.body, envelope.smtputf8, envelope.ret) == (Body.EIGHT_BIT, True, Ret.HDRS)
        assert envelope.envid == "Q+2B1"
        assert [(r.notify, r.orcpt) for r in envelope.recipients] == [(Notify.DELAY, "rfc822;b@z.example")]
        assert submission.content.head == "Subject: é\r\n\r\n".encode()
        assert submission.content.body == b".dot\r\n"
        assert (submission.content.dotted, submission.content.eight_bit) == (True, True)
        assert (submission.account, submission.received_at) == ("alice", NOW)
        assert peer.tls is not None
        port = one.writer.get_extra_info("sockname")[1]
        assert peer == Peer(
            "127.0.0.1", port, "client.example", "UTF8SMTPSA", peer.tls, login="alice", method="PLAIN"
        )
        assert peer.tls.startswith("TLSv1.")


@pytest.mark.parametrize(
    ("hello", "tls", "protocol"),
    [("HELO c", "off", "SMTP"), ("EHLO c", "off", "ESMTP"), ("EHLO c", "implicit", "ESMTPS")],
)
async def test_the_protocol_is_named_for_received(hello: str, tls: str, protocol: str) -> None:
    async with house(tls=tls, auth="optional") as place, client(place, tls=tls == "implicit") as one:
        await one.reply()
        await one.say(hello)
        one.send(ENVELOPE.partition(b"\r\n")[2])
        for _ in range(3):
            await one.reply()
        await one.say(MESSAGE)
        assert [submission.peer.protocol for submission in place.intake.submissions] == [protocol]


async def test_the_answer_of_intake_is_given_line_by_line_in_ascii() -> None:
    intake = FakeIntake(Reply(550, ("first é", "second\r\nthird" + "x" * 600), "5.7.1"))
    async with house(tls="off", auth="off", intake=intake) as place, client(place) as one:
        await into_data(one)
        said = await one.say(MESSAGE)
        assert said == "550-5.7.1 first ?\n550 5.7.1 second??third" + "x" * 387
        assert (await one.say("NOOP")).startswith("250 ")


async def test_smtplib_given_octets_with_lf_is_understood() -> None:
    """It sends them as they are, and stuffs the dots that follow LF."""

    def send(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, local_hostname="c") as one:
            one.sendmail("a@x.example", ["b@y.example"], b"Subject: s\n\n.\n..\n.c\n")

    async with house(tls="off", auth="off") as place:
        await asyncio.to_thread(send, place.port)
        (submission,) = place.intake.submissions
        assert place.body(submission).rstrip() == b"Subject: s\r\n\r\n.\r\n..\r\n.c"


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


# --- large messages ---


@pytest.fixture
async def small_memory() -> AsyncIterator[House]:
    config = SubmissionConfig(spill_threshold=1000, max_header_size=2000, max_message_size=2**20)
    async with house(tls="off", auth="off", config=config) as place:
        yield place


async def test_a_large_body_goes_to_the_spool_with_its_hash(small_memory: House) -> None:
    body = b"".join(b"line %d  \r\n" % number for number in range(20_000))
    async with client(small_memory) as one:
        await into_data(one)
        assert (await one.say(b"Subject: s\r\n\r\n" + body + b".\r\n")).startswith("250 ")
    (submission,) = small_memory.intake.submissions
    staged = submission.content.body
    assert isinstance(staged, StagedBody)
    assert submission.content.head == b"Subject: s\r\n\r\n"
    assert sha256(small_memory.spool.waiting[staged.name]).digest() == sha256(body).digest()
    assert staged.relaxed_hash == relaxed_body_hash(body)


@pytest.mark.parametrize("headers", [40, 400])
async def test_a_header_too_large_is_refused_in_step(small_memory: House, headers: int) -> None:
    async with client(small_memory) as one:
        await into_data(one)
        field = b"X: " + b"x" * 60 + b"\r\n"
        assert await one.say(field * headers + b"\r\nhi\r\n.\r\n") == "552 5.3.4 Header too large"
        assert (await one.say("NOOP")).startswith("250 ")


async def test_a_first_line_of_any_length_that_names_no_field_is_no_header(small_memory: House) -> None:
    async with client(small_memory) as one:
        await into_data(one)
        for _ in range(10):
            one.send(b"x" * 1000)
            await asyncio.sleep(0)
        assert (await one.say(b"\r\n.\r\n")).startswith("250 ")
    assert small_memory.intake.submissions[0].content.head == b""


async def test_a_header_may_be_larger_than_what_is_kept_in_memory(small_memory: House) -> None:
    async with client(small_memory) as one:
        await into_data(one)
        head = (b"X: " + b"x" * 60 + b"\r\n") * 25 + b"\r\n"
        for line in head.splitlines(keepends=True):
            one.send(line)
            await one.writer.drain()
        assert (await one.say(b"hi\r\n" * 1000 + b".\r\n")).startswith("250 ")
    (submission,) = small_memory.intake.submissions
    assert submission.content.head == head


async def test_a_large_message_without_a_header_is_all_body(small_memory: House) -> None:
    async with client(small_memory) as one:
        await into_data(one)
        assert (await one.say(b"just text\r\n" * 1000 + b".\r\n")).startswith("250 ")
    (submission,) = small_memory.intake.submissions
    assert submission.content.head == b""
    assert small_memory.body(submission) == b"just text\r\n" * 1000


async def test_what_intake_refuses_is_not_left_in_the_spool() -> None:
    config = SubmissionConfig(spill_threshold=10)
    intake = FakeIntake(Reply(550, ("no",), "5.7.1"))
    async with house(tls="off", auth="off", config=config, intake=intake) as place, client(place) as one:
        await into_data(one)
        assert (await one.say(b"Subject: s\r\n\r\nlong enough\r\n.\r\n")) == "550 5.7.1 no"
        assert place.spool.waiting == {}


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


# --- time ---


async def test_an_idle_client_is_told_421() -> None:
    async with house(tls="off", config=SubmissionConfig(idle_timeout=0.02)) as place, client(place) as one:
        await one.reply()
        assert await one.reply() == "421 4.4.2 Timed out"
        assert await one.rest() == b""
        assert await how_it_ended(place) == ["timeout"]


async def test_a_command_in_drips_does_not_move_the_limit() -> None:
    async with house(tls="off", config=SubmissionConfig(idle_timeout=0.1)) as place, client(place) as one:
        await one.reply()
        dripping = asyncio.create_task(drip(one))
        assert await one.reply() == "421 4.4.2 Timed out"
        dripping.cancel()


async def drip(one: Client) -> None:
    while True:
        one.send(b"N")
        await asyncio.sleep(0.01)


async def test_a_pipelined_command_that_asks_waits_no_longer_than_others() -> None:
    config = SubmissionConfig(idle_timeout=0.3)
    async with house(tls="implicit", config=config) as place, client(place, tls=True) as one:
        await one.reply()
        await one.say("EHLO c")
        one.send(b"AUTH PLAIN AGFsaWNlAHdyb25n\r\nAUTH LOGIN\r\n")
        assert (await one.reply())[:3] == "535"
        assert (await one.reply())[:3] == "334"
        assert await one.reply() == "421 4.4.2 Timed out"


async def test_data_has_a_limit_as_a_whole() -> None:
    config = SubmissionConfig(data_timeout=0.1)
    async with house(tls="off", auth="off", config=config) as place, client(place) as one:
        await into_data(one)
        dripping = asyncio.create_task(drip(one))
        assert await one.reply() == "421 4.4.2 Timed out"
        dripping.cancel()
        assert place.intake.submissions == []


async def test_the_commit_takes_the_time_it_takes() -> None:
    async def slowly() -> None:
        await asyncio.sleep(0.1)

    config = SubmissionConfig(idle_timeout=0.02)
    async with house(tls="off", auth="off", config=config, intake=FakeIntake(gate=slowly)) as place:
        async with client(place) as one:
            await one.reply()
            one.send(ENVELOPE + MESSAGE)
            assert [(await one.reply())[:3] for _ in range(5)] == ["250", "250", "250", "354", "250"]


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroad.adapters.smtpd_stream.LINGER_SECONDS", 0.01)
    config = SubmissionConfig(idle_timeout=0.02, max_errors=10**9)
    async with house(tls="off", config=config) as place:
        with socket.create_connection(("127.0.0.1", place.port)) as sock:
            sock.setblocking(False)
            with pytest.raises(ConnectionError):
                await ask_for_ever(sock)
        assert await how_it_ended(place) == ["timeout"]


async def ask_for_ever(sock: socket.socket) -> None:
    while True:
        await asyncio.get_running_loop().sock_sendall(sock, b"HELP\r\n" * 10_000)


# --- floods ---


async def test_a_line_without_end_is_not_kept() -> None:
    async with house(tls="off") as place, client(place) as one:
        await one.reply()
        one.send(b"x" * 400_000)
        assert await one.reply() == "500 5.5.2 Line too long"
        assert await how_it_ended(place) == ["limit"]


@pytest.mark.parametrize(
    ("command", "longest"), [("NOOP", 512), ("MAIL", 1241), ("RCPT", 1040), ("AUTH", 12288)]
)
async def test_each_verb_has_its_longest_line(command: str, longest: int) -> None:
    async with house(tls="off") as place, client(place) as one:
        await one.reply()
        for _ in range(25):
            await one.say("HELO c")
        fits = await one.say(command.ljust(longest - 2, "x").replace("x", " ", 1))
        over = await one.say(command.ljust(longest - 1, "x").replace("x", " ", 1))
        assert not fits.startswith("500 ")
        assert over == "500 5.5.2 Line too long"


async def test_one_hundred_idle_commands_are_patience_enough() -> None:
    async with house(tls="off", config=SubmissionConfig(max_errors=2)) as place, client(place) as one:
        await one.reply()
        one.send(b"NOOP\r\n" * 110)
        said = (await one.rest()).decode().splitlines()
        assert said == ["250 2.0.0 OK"] * 102 + ["421 4.7.0 Too many errors"]


async def test_a_list_behind_a_refused_mail_is_no_flood() -> None:
    config = SubmissionConfig(max_message_size=100, max_errors=3)
    async with house(tls="off", auth="off", config=config) as place, client(place) as one:
        await one.reply()
        await one.say("EHLO c")
        one.send(b"MAIL FROM:<a@x.example> SIZE=1000\r\n" + b"RCPT TO:<b@y.example>\r\n" * 50 + b"DATA\r\n")
        assert (await one.reply()).startswith("552 ")
        assert {await one.reply() for _ in range(51)} == {"503 5.5.1 Send MAIL first"}
        assert (await one.say("MAIL FROM:<a@x.example>")).startswith("250 ")


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
