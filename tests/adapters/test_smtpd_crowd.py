"""Full doors: who has to go, who never does, and that everybody is told why."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import pytest

from postroad.adapters.smtpd_accept import RETRY_SECONDS
from postroad.config.model import Listener, SubmissionConfig
from postroad.demo.process import HANGS_AFTER
from postroad.mail.descriptors import Share
from postroad.mail.events import DescriptorsScarce, DoorsFull, Refused, SessionEnded
from tests.support.door import Client, FakeIntake, House, client, house
from tests.support.hand_loop import HandLoop, by_hand

SHED = "421 4.3.2 Too many connections, and others need this one, try again later"
FULL = "421 4.3.2 Too many connections, try again later"
ALICE = "AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ="
ONE = SubmissionConfig(max_connections=1, shed_after=0.02)


def crowd(most: int, shed_after: float = 0.02) -> SubmissionConfig:
    return SubmissionConfig(max_connections=most, shed_after=shed_after)


async def grow_old() -> None:
    await asyncio.sleep(0.04)


@asynccontextmanager
async def greeted(place: House, *, tls: bool = False) -> AsyncIterator[Client]:
    async with client(place, tls=tls) as one:
        assert (await one.reply()).startswith("220 ")
        yield one


async def empty(place: House) -> None:
    async with asyncio.timeout(HANGS_AFTER):
        while place.doors.sessions:
            await asyncio.sleep(0.01)


async def test_who_said_nothing_for_longest_makes_room() -> None:
    async with house(tls="off", config=crowd(2)) as place:
        async with greeted(place) as oldest, greeted(place) as second:
            await grow_old()
            async with greeted(place) as third:
                assert await oldest.reply() == SHED
                assert await oldest.rest() == b""
                assert (await second.say("NOOP")).startswith("250 ")
                assert (await third.say("NOOP")).startswith("250 ")
        await empty(place)
        assert sorted(event.how for event in place.events.of(SessionEnded)) == ["lost", "lost", "shed"]


async def test_who_came_just_now_is_left_in_peace() -> None:
    async with house(tls="off", config=crowd(1, shed_after=60.0)) as place, greeted(place) as first:
        async with client(place) as second:
            assert await second.reply() == FULL
        assert (await first.say("NOOP")).startswith("250 ")


async def test_who_logged_in_or_began_a_message_never_has_to_go() -> None:
    config = crowd(2)
    async with house(tls="implicit", auth="optional", config=config) as place:
        async with greeted(place, tls=True) as known, greeted(place, tls=True) as sending:
            await known.say("EHLO c")
            assert (await known.say(ALICE)).startswith("235 ")
            await sending.say("EHLO c")
            assert (await sending.say("MAIL FROM:<a@x.example>")).startswith("250 ")
            await sending.say("RSET")
            await grow_old()
            async with client(place, tls=True) as late:
                assert await late.reply() == FULL
            for one in (known, sending):
                assert (await one.say("NOOP")).startswith("250 ")


async def test_a_stranger_behind_those_who_work_is_found() -> None:
    async with house(tls="off", auth="off", config=crowd(3)) as place:
        async with greeted(place) as working, greeted(place) as silent, greeted(place) as other:
            await working.say("HELO c")
            await working.say("MAIL FROM:<a@x.example>")
            await grow_old()
            async with greeted(place):
                assert await silent.reply() == SHED
                assert (await other.say("NOOP")).startswith("250 ")


async def test_an_address_with_too_many_connections_makes_nobody_go() -> None:
    config = SubmissionConfig(max_connections=1, max_connections_per_address=1, shed_after=0.01)
    async with house(tls="off", config=config) as place, greeted(place) as first:
        await grow_old()
        async with client(place) as second:
            assert await second.reply() == "421 4.7.0 Too many connections from your address"
        assert (await first.say("NOOP")).startswith("250 ")


async def test_a_client_that_has_made_no_handshake_makes_room() -> None:
    async with house(tls="implicit", config=ONE) as place, client(place) as silent:
        await grow_old()
        async with greeted(place, tls=True):
            assert await silent.rest() == b""
        await empty(place)


async def test_a_client_in_the_middle_of_starttls_makes_room() -> None:
    async with house(config=ONE) as place, greeted(place) as silent:
        assert (await silent.say("STARTTLS")).startswith("220 ")
        await grow_old()
        async with greeted(place):
            await silent.rest()
        await empty(place)


async def test_a_client_that_sent_no_proxy_header_makes_room() -> None:
    from ipaddress import ip_network

    listener = Listener("127.0.0.1", 0, "off", "off", proxy=(ip_network("127.0.0.1/32"),))
    async with house(listener=listener, config=ONE) as place, client(place) as silent:
        await grow_old()
        async with client(place) as one:
            one.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 587\r\n")
            assert (await one.reply()).startswith("220 ")
            assert await silent.rest() == b""


async def test_a_client_that_waits_for_us_does_not_make_room() -> None:
    gate = asyncio.Event()

    class Slow:
        offers_scram = False

        async def verify(self, login: str, secret: bytes) -> str | None:
            await gate.wait()
            return login

    from postroad.adapters.smtpd_auth import Logins

    logins = Logins(Slow())  # type: ignore[arg-type]
    async with house(tls="implicit", logins=logins, config=ONE) as place, greeted(place, tls=True) as one:
        await one.say("EHLO c")
        one.send(ALICE)
        await grow_old()
        async with client(place, tls=True) as late:
            assert await late.reply() == FULL
        gate.set()
        assert (await one.reply()).startswith("235 ")


async def test_the_log_says_who_holds_the_connections_once() -> None:
    async with house(tls="off", config=crowd(3, shed_after=60.0)) as place, AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(greeted(place))
        for _ in range(5):
            async with client(place) as late:
                assert await late.reply() == FULL
        (told,) = place.events.of(DoorsFull)
        assert (told.connections, told.limit, told.silent) == (3, 3, 3)
        assert (told.shed, told.refused, told.holders) == (0, 1, ("127.0.0.1 (3)",))
        assert place.events.of(Refused) == []


async def test_a_flood_of_clients_of_one_address_is_one_line_in_the_log() -> None:
    async with house(tls="off", config=SubmissionConfig(max_connections_per_address=1)) as place:
        async with greeted(place):
            for _ in range(5):
                async with client(place) as late:
                    assert (await late.reply()).startswith("421 4.7.0 ")
        assert [event.stage for event in place.events.of(Refused)] == ["connect"]


async def test_over_the_limit_of_an_address_a_tls_client_is_told_after_its_handshake() -> None:
    config = SubmissionConfig(max_connections_per_address=1)
    async with house(tls="implicit", config=config) as place, greeted(place, tls=True):
        for _ in range(3):
            async with client(place, tls=True) as second:
                assert await second.reply() == "421 4.7.0 Too many connections from your address"
                assert await second.rest() == b""
        assert place.doors.sessions == 1


@pytest.mark.parametrize("tls", ["off", "implicit"])
async def test_what_a_client_sent_ahead_does_not_cost_it_the_answer(tls: str) -> None:
    config = SubmissionConfig(max_errors=2)
    async with house(tls=tls, config=config) as place, client(place, tls=tls == "implicit") as one:
        one.send(b"XYZZY\r\n" * 20_000)
        said = (await one.rest()).decode().splitlines()
        assert said[-1] == "421 4.7.0 Too many errors"


async def test_who_sends_without_end_after_the_last_word_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroad.adapters.smtpd_stream.IGNORED_LONGEST", 100_000)
    async with house(tls="off", config=SubmissionConfig(max_errors=1)) as place:
        with socket.create_connection(("127.0.0.1", place.port)) as sock:
            sock.setblocking(False)
            with pytest.raises(ConnectionError):
                await babble(sock)
        await empty(place)


async def babble(sock: socket.socket) -> None:
    while True:
        await asyncio.get_running_loop().sock_sendall(sock, b"XYZZY\r\n" * 10_000)


async def test_a_client_turned_away_with_words_unread_reads_why() -> None:
    config = SubmissionConfig(max_connections_per_address=1)
    async with house(tls="off", config=config) as place, greeted(place):
        with socket.create_connection(("127.0.0.1", place.port)) as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(sock, b"EHLO c\r\n" * 100)
            await asyncio.sleep(0.05)
            assert await asyncio.get_running_loop().sock_recv(sock, 100) == (
                b"421 4.7.0 Too many connections from your address\r\n"
            )


# --- descriptors ---


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Whatever wants one more finds none, for the time of the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = socket.socket()
    lowest = probe.fileno()
    probe.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_descriptors_accepting_waits_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroad.adapters.smtpd_accept.RETRY_SECONDS", 0.05)
    async with house(tls="implicit") as place:
        with socket.socket() as sock:
            with no_descriptor_left():
                sock.connect(("127.0.0.1", place.port))
                for _ in range(10):
                    await asyncio.sleep(0.01)
            assert len(place.events.of(DescriptorsScarce)) == 1
        async with greeted(place, tls=True):
            pass


@by_hand
async def test_with_hardly_a_descriptor_the_plain_door_waits_and_says_so() -> None:
    # The next descriptor of this process is beyond that limit already.
    scarce = Share(limit=16, needed=0, sessions=100, door=200)
    async with house(tls="off", descriptors=scarce) as place, greeted(place) as first:
        assert place.events.of(DescriptorsScarce) == [DescriptorsScarce(16)]
        async with client(place) as second:
            greeting = asyncio.create_task(second.reply())
            await HandLoop.running().after(RETRY_SECONDS - 0.1)
            assert not greeting.done()
            await HandLoop.running().after(0.2)
            assert (await greeting).startswith("220 ")
        assert (await first.say("NOOP")).startswith("250 ")


async def test_large_messages_take_no_descriptor_that_a_session_needs() -> None:
    config = SubmissionConfig(spill_threshold=10)
    gate = asyncio.Event()
    share = Share(limit=1 << 20, needed=0, sessions=10, door=4)
    body = b"Subject: s\r\n\r\n" + b"x" * 70 + b"\r\n"
    async with house(
        tls="off", auth="off", config=config, descriptors=share, intake=FakeIntake(gate=gate.wait)
    ) as place:
        async with greeted(place) as one, greeted(place) as two, greeted(place) as three:
            for single in (one, two, three):
                await single.say("HELO c")
                await single.say("MAIL FROM:<a@x.example>")
                await single.say("RCPT TO:<b@y.example>")
                await single.say("DATA")
            one.send(body)
            await asyncio.sleep(0.02)
            assert await two.say(body + b".\r\n") == "452 4.3.1 Insufficient system storage"
            one.send(b".\r\n")
            await asyncio.sleep(0.02)
            gate.set()
            assert (await one.reply()).startswith("250 ")
            assert (await three.say(body + b".\r\n")).startswith("250 ")
