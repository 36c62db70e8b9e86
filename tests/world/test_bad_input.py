"""Broken files, broken clients, broken receivers: each is answered, none stops the mail."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from postroad.demo.verdict import failed_recipients, parsed
from postroad.demo.world import Site, World
from tests.support.daemon import RARELY, Daemon
from tests.support.submitting import Client, hand_in

LETTER = b"From: <anna@sender.example>\r\nSubject: x\r\n\r\nx\r\n"
RECIPIENT = "bert@harbour.example"


async def test_serve_names_every_problem_of_its_configuration_at_once_and_ends_with_78() -> None:
    broken = Daemon(settings={"delivery": {"portt": 25}, "retry": {"schedule": ["soon"]}, "hostnam": "x"})
    status, _, err = await broken.process.command("serve")
    assert status == 78
    for key in ("delivery.portt", "retry.schedule", "hostnam"):
        assert any(f"{broken.config}:" in line and key in line for line in err.splitlines()), (key, err)


@pytest.fixture
async def running() -> AsyncIterator[tuple[Daemon, Site]]:
    """A daemon that takes at most 100 KiB, and one site that accepts."""
    async with World([Site("harbour.example")]) as world:
        site = world["harbour.example"]
        settings = {"submission": {"max_message_size": "100KiB", "max_header_size": "50KiB"}}
        async with Daemon({"harbour.example": site.port}, settings) as daemon:
            yield daemon, site


async def still_works(daemon: Daemon) -> None:
    """A message handed in now is delivered."""
    id = await daemon.submit([RECIPIENT], LETTER)
    await daemon.event("tried", status="sent", id=id)


async def test_a_message_over_the_size_limit_is_refused_and_not_kept(running: tuple[Daemon, Site]) -> None:
    daemon, site = running
    large = LETTER + b"y" * 98 + b"\r\n"
    large += (b"z" * 98 + b"\r\n") * 2000
    reply = await asyncio.to_thread(hand_in, daemon.port, "anna@sender.example", [RECIPIENT], large)
    assert reply.startswith("552 5.3.4")
    declared = await asyncio.to_thread(
        hand_in, daemon.port, "anna@sender.example", [RECIPIENT], LETTER, " SIZE=9999999"
    )
    assert declared.startswith("552 5.3.4")
    await still_works(daemon)
    assert len(site.arrivals) == 1


async def test_a_client_that_vanishes_in_mid_data_leaves_nothing(running: tuple[Daemon, Site]) -> None:
    daemon, site = running

    def vanish() -> None:
        with Client(daemon.port) as client:
            assert client.say("MAIL FROM:<anna@sender.example>").startswith("250")
            assert client.say(f"RCPT TO:<{RECIPIENT}>").startswith("250")
            assert client.say("DATA").startswith("354")
            client.send(LETTER + b"and then the line b")

    await asyncio.to_thread(vanish)
    await still_works(daemon)
    assert len(site.arrivals) == 1
    assert len(daemon.events("accepted")) == 1
    assert await daemon.queue() == []


async def test_garbage_from_a_client_is_refused_politely(running: tuple[Daemon, Site]) -> None:
    daemon, _ = running

    def babble() -> list[str]:
        with Client(daemon.port) as client:
            said = [client.say(line) for line in ("XYZZY", "MAIL FROM:anna", "RCPT TO:<>")]
            client.send(bytes(range(256)) * 10 + b"\r\n")
            said.append(client.reply())
            return said

    replies = await asyncio.to_thread(babble)
    assert [reply[:1] for reply in replies[:3]] == ["5", "5", "5"]
    assert all(reply.isprintable() for reply in replies)
    await still_works(daemon)


@contextlib.asynccontextmanager
async def receiver(*words: bytes) -> AsyncIterator[int]:
    """A host that greets with the first of `words`, answers each line with the next, and repeats the last."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            for number in range(50):
                writer.write(words[min(number, len(words) - 1)])
                await writer.drain()
                if not await reader.readline():
                    break
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    "words",
    [
        pytest.param((b"hello, who is there?\r\n",), id="no code in the greeting"),
        pytest.param((b"220 " + b"x" * 100_000 + b"\r\n",), id="a line without end"),
        pytest.param((b"220-a\r\n" * 20_000,), id="a greeting without end"),
        pytest.param((b"220 ok\r\n", b"999 what\r\n"), id="a code that does not exist"),
        pytest.param((b"220 ok\r\n", b"250 ok\r\n", b"354 go\r\n"), id="354 to MAIL"),
        pytest.param((b"220 ok\r\n", b"\x00\xff\xfe\r\n"), id="octets that are no text"),
        pytest.param((b"220 ok\r\n", b"250-a\r\n251 b\r\n"), id="codes that differ within a reply"),
    ],
)
async def test_a_receiver_that_talks_nonsense_leaves_the_message_waiting(words: tuple[bytes, ...]) -> None:
    async with receiver(*words) as port, Daemon({"nonsense.example": port}, RARELY) as daemon:
        id = await daemon.submit(["x@nonsense.example"], LETTER)
        await daemon.until(
            lambda: bool(daemon.events("tried") or daemon.events("hop-deferred")), what="a try"
        )
        assert daemon.events("tried", status="sent") == []
        assert daemon.events("tried", status="failed") == []
        (row,) = await daemon.at_rest()
        assert (row["id"], row["state"]) == (id, "waiting")
        assert row["reason"].isprintable()


async def test_a_receiver_that_hangs_up_after_the_dot_may_own_the_message_and_that_is_said() -> None:
    words = (b"220 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for word in words:
            writer.write(word)
            await reader.readline()
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n.\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Daemon({"cut.example": server.sockets[0].getsockname()[1]}) as daemon:
        await daemon.submit(["x@cut.example"], LETTER)
        line = await daemon.event("tried")
        assert (line["status"], line["reason"]) == ("deferred", "ambiguous")


async def test_a_port_that_is_taken_ends_it_with_the_address_in_the_text() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon = Daemon(settings={"listener": [{"address": address, "tls": "off", "auth": "off"}]})
        status, _, err = await daemon.process.command("serve")
    assert status not in (0, None)
    assert address in err


async def test_a_bounce_for_a_message_with_8_bit_headers_can_still_be_parsed() -> None:
    async with World([Site("home.example")]) as world:
        async with receiver(
            b"220 ok\r\n", b"250-ok\r\n250 8BITMIME\r\n", b"250 ok\r\n", b"550 5.7.1 n\xc3\xb6\x1b[2J\r\n"
        ) as port:
            async with Daemon({"home.example": world["home.example"].port, "no.example": port}) as daemon:
                letter = b"From: <anna@home.example>\r\nSubject: caf\xe9\r\n\r\nx\r\n"
                id = await daemon.submit(["x@no.example"], letter, "anna@home.example", " BODY=8BITMIME")
                notified = await daemon.event("notified", id=id)
                await daemon.event("removed", id=notified["dsn"])
        (arrival,) = world["home.example"].arrivals
        assert failed_recipients(parsed(arrival.octets)) == {"x@no.example": "failed 5.7.1"}
        assert b"\x1b" not in arrival.octets
