"""Every limit of the door at its edge: as much as is allowed passes, one more is told with the right code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from postroad.config.model import SubmissionConfig
from postroad.demo.process import HANGS_AFTER
from postroad.mail.account import AccountPolicies, AccountPolicy
from postroad.mail.events import Refused, SessionEnded
from tests.support.door import Client, House, client, house
from tests.support.hand_loop import HandLoop, by_hand

ALICE = "AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ="
WRONG = "AUTH PLAIN AGFsaWNlAHdyb25n"
OPEN = "MAIL FROM:<a@x.example>"
RCPT = "RCPT TO:<b@y.example>"
HEAD = b"Subject: s\r\n\r\n"


@dataclass(frozen=True)
class Edge:
    """A limit of 3: `command` is no trouble `least` times, once more gets `told`, and the session ends."""

    key: str
    command: str
    passes: str
    told: str
    least: int = 3


EDGES = [
    Edge("max_transactions", f"{OPEN}\r\n{RCPT}\r\nRSET", "250", "421 4.7.0 Too many messages"),
    Edge("max_errors", "XYZZY", "500", "421 4.7.0 Too many errors", least=2),
    Edge("max_auth_failures", WRONG, "535", "421 4.7.0 Too many failed logins", least=2),
]


@asynccontextmanager
async def greeted(place: House, *, tls: bool = False) -> AsyncIterator[Client]:
    async with client(place, tls=tls) as one:
        assert (await one.reply()).startswith("220 ")
        await one.say("EHLO c")
        yield one


async def say_all(one: Client, commands: str) -> list[str]:
    return [await one.say(command) for command in commands.split("\r\n")]


@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: edge.key)
async def test_what_ends_a_session_ends_it_at_the_limit_and_not_before(edge: Edge) -> None:
    config = SubmissionConfig(**{edge.key: 3})  # type: ignore[arg-type]
    tls = "implicit" if "auth" in edge.key else "off"
    async with house(tls=tls, auth="optional", config=config) as place:
        async with greeted(place, tls=tls == "implicit") as one:
            for _ in range(edge.least):
                assert (await say_all(one, edge.command))[-1].startswith(edge.passes)
            assert (await one.say("NOOP")).startswith("250 ")
            last = await one.say(edge.command.partition("\r\n")[0])
            if not last.startswith(edge.told):
                assert last.startswith(edge.passes)
                last = await one.reply()
            assert last.startswith(edge.told)
            assert await one.rest() == b""
        assert [event.how for event in place.events.of(SessionEnded)] == ["limit"]


async def test_recipients_are_taken_up_to_the_limit() -> None:
    async with house(tls="off", auth="off", config=SubmissionConfig(max_recipients=3)) as place:
        async with greeted(place) as one:
            await one.say(OPEN)
            said = [await one.say(f"RCPT TO:<b{n}@y.example>") for n in range(4)]
            assert [reply[:9] for reply in said] == ["250 2.1.5"] * 3 + ["452 4.5.3"]
            await one.say("DATA")
            assert (await one.say(HEAD + b".\r\n")).startswith("250 ")
            assert len(place.intake.submissions[0].envelope.recipients) == 3


@pytest.mark.parametrize(("more", "code"), [(-1, "250 2.0.0"), (0, "250 2.0.0"), (1, "552 5.3.4")])
@pytest.mark.parametrize("way", ["DATA", "BDAT"])
async def test_a_message_may_be_as_large_as_the_limit(way: str, more: int, code: str) -> None:
    body = HEAD + b"x" * (1000 - len(HEAD) - 2 + more) + b"\r\n"
    async with house(tls="off", auth="off", config=SubmissionConfig(max_message_size=1000)) as place:
        async with greeted(place) as one:
            assert (await one.say(f"{OPEN} SIZE={1000 + more}"))[:3] == ("552" if more > 0 else "250")
            await one.say("RSET")
            await one.say(OPEN)
            await one.say(RCPT)
            if way == "DATA":
                await one.say("DATA")
                said = await one.say(body + b".\r\n")
            else:
                said = await one.say(b"BDAT %d LAST\r\n" % len(body) + body)
            assert said.startswith(code)
            assert (await one.say("NOOP")).startswith("250 ")


@pytest.mark.parametrize(("size", "code"), [(999, "250"), (1000, "250"), (1001, "552")])
@pytest.mark.parametrize("threshold", [100, 100_000])
async def test_a_header_may_be_as_large_as_the_limit(size: int, code: str, threshold: int) -> None:
    field = b"X: " + b"x" * 60 + b"\r\n"
    head = field * (size // len(field) - 1)
    head += b"Y: " + b"y" * (size - len(head) - 7) + b"\r\n\r\n"
    assert len(head) == size
    config = SubmissionConfig(max_header_size=1000, spill_threshold=threshold)
    async with house(tls="off", auth="off", config=config) as place, greeted(place) as one:
        await say_all(one, f"{OPEN}\r\n{RCPT}\r\nDATA")
        assert (await one.say(head + b"hi\r\n" * 500 + b".\r\n")).startswith(code)


async def test_idle_commands_are_patiently_answered_up_to_the_limit() -> None:
    config = SubmissionConfig(max_idle_commands=3, max_errors=1)
    async with house(tls="off", config=config) as place, client(place) as one:
        await one.reply()
        assert [(await one.say("NOOP"))[:3] for _ in range(3)] == ["250"] * 3
        assert (await one.say("NOOP")).startswith("250 ")
        assert (await one.reply()).startswith("421 4.7.0 ")


async def test_an_account_has_its_number_of_connections_and_others_have_theirs() -> None:
    policies = AccountPolicies(AccountPolicy(max_connections=2))
    async with house(tls="implicit", policies=policies) as place:
        async with greeted(place, tls=True) as one, greeted(place, tls=True) as two:
            assert (await one.say(ALICE)).startswith("235 ")
            assert (await two.say(ALICE)).startswith("235 ")
            async with greeted(place, tls=True) as three:
                assert await three.say(ALICE) == "421 4.7.0 Too many connections of your account"
                assert await three.rest() == b""
            assert place.events.of(Refused)[-1].stage == "auth"
            await one.say("QUIT")
            await one.rest()
            async with asyncio.timeout(HANGS_AFTER):
                while place.doors.sessions > 1:
                    await asyncio.sleep(0.01)
            async with greeted(place, tls=True) as four:
                assert (await four.say(ALICE)).startswith("235 ")


# --- time ---


@by_hand
async def test_a_session_that_is_too_old_ends_between_messages() -> None:
    config = SubmissionConfig(max_session_time=10.0)
    async with house(tls="off", auth="off", config=config) as place, greeted(place) as one:
        await say_all(one, f"{OPEN}\r\n{RCPT}\r\nDATA")
        await HandLoop.running().after(11.0)
        assert (await one.say(HEAD + b".\r\n")).startswith("250 ")
        assert await one.reply() == "421 4.7.0 This session has lasted too long, connect again"
        assert await one.rest() == b""
        assert [event.how for event in place.events.of(SessionEnded)] == ["limit"]


@by_hand
async def test_a_session_that_is_too_old_ends_while_it_is_idle() -> None:
    config = SubmissionConfig(max_session_time=10.0)
    async with house(tls="off", config=config) as place, client(place) as one:
        assert (await one.reply()).startswith("220 ")
        await HandLoop.running().after(9.0)
        assert (await one.say("NOOP")).startswith("250 ")
        await HandLoop.running().after(2.0)
        assert (await one.reply()).startswith("421 4.7.0 This session has lasted too long")


async def drip(one: Client, size: int, seconds: int) -> None:
    """So many octets a second."""
    for _ in range(seconds):
        one.send(b"x" * size)
        await HandLoop.running().after(1.0)


@pytest.mark.parametrize("way", ["DATA", "BDAT 1000000"])
@by_hand
async def test_a_message_that_comes_slower_than_the_least_rate_is_cut_off(way: str) -> None:
    config = SubmissionConfig(min_data_rate=1000, data_rate_window=10.0)
    async with house(tls="off", auth="off", config=config) as place, greeted(place) as one:
        await say_all(one, f"{OPEN}\r\n{RCPT}")
        one.send(way)
        if way == "DATA":
            await one.reply()
        slow = asyncio.create_task(drip(one, 900, 10_000))
        assert await one.reply() == "421 4.4.2 Timed out"
        slow.cancel()
        assert place.intake.submissions == []


@by_hand
async def test_a_burst_does_not_pay_for_a_message_that_stops() -> None:
    config = SubmissionConfig(min_data_rate=1000, data_rate_window=10.0)
    async with house(tls="off", auth="off", config=config) as place, greeted(place) as one:
        await say_all(one, f"{OPEN}\r\n{RCPT}\r\nDATA")
        one.send(HEAD + b"x" * 70 * 1000)
        # Seventy seconds' worth, and no more than the window is waited for.
        said = await HandLoop.running().until(asyncio.create_task(one.reply()))
        assert (said, HandLoop.running().now < 30.0) == ("421 4.4.2 Timed out", True)


@by_hand
async def test_a_message_that_keeps_the_rate_may_take_longer_than_its_time() -> None:
    config = SubmissionConfig(min_data_rate=1000, data_rate_window=5.0, data_timeout=10.0)
    async with house(tls="off", auth="off", config=config) as place, greeted(place) as one:
        await say_all(one, f"{OPEN}\r\n{RCPT}\r\nDATA")
        one.send(HEAD)
        await drip(one, 2000, 40)
        assert (await one.say(b"\r\n.\r\n")).startswith("250 ")
