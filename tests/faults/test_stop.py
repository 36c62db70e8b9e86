"""SIGTERM under load: what is under way ends well, what waits stays, nothing comes twice."""

from __future__ import annotations

import asyncio

import pytest

from postroad.demo.world import Site, World
from tests.crash.load import Load, altered, arrived
from tests.support.daemon import Daemon
from tests.support.submitting import Client

# What it must not wait for takes five minutes at least.
LONGEST = 120.0


@pytest.mark.parametrize("enough", [1, 40, 120])
async def test_a_stop_under_load_takes_seconds_loses_nothing_and_doubles_nothing(enough: int) -> None:
    taken: set[str] = set()
    async with World([Site("harbour.example")]) as world:
        site = world["harbour.example"]
        async with Daemon({"harbour.example": site.port}) as daemon:
            for name in ("a", "b"):
                load = Load(daemon.port, name)
                await load.until(enough)
                assert await daemon.process.stop(LONGEST) == 0
                taken.update(await load.end())
                await daemon.restart()
                assert daemon.events("recovered", ambiguous=0) == daemon.events("recovered")
            await daemon.until(lambda: taken <= set(arrived(site)), what="all that was taken")
            assert await daemon.process.stop() == 0
            assert await daemon.queue() == []
        assert set(arrived(site).values()) == {1}
        assert altered(site) == []


async def test_a_stop_waits_for_a_receiver_that_stalls_at_the_dot_for_seconds_only() -> None:
    """Whether it has the message is unknown then: it counts as ambiguous, and is tried again."""
    stalled = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 harbour.example\r\n")
        while line := await reader.readline():
            writer.write(b"354 go on\r\n" if line.startswith(b"DATA") else b"250 ok\r\n")
            if line.startswith(b"DATA"):
                break
        await reader.readuntil(b"\r\n.\r\n")
        stalled.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Daemon({"harbour.example": port}) as daemon:
        await daemon.submit(["box@harbour.example"], b"Subject: x\r\n\r\nx\r\n")
        await stalled.wait()
        assert await daemon.process.stop(LONGEST) == 0
        server.close()
        await daemon.restart()
        assert (await daemon.event("recovered"))["ambiguous"] == 1
        assert len(await daemon.queue()) == 1


async def test_a_stop_waits_for_a_submitter_in_the_middle_of_its_message_for_seconds_only() -> None:
    async with Daemon() as daemon:
        with Client(daemon.port) as client:
            for command in ("MAIL FROM:<a@sender.example>", "RCPT TO:<box@harbour.example>", "DATA"):
                await asyncio.to_thread(client.say, command)
            client.send(b"Subject: never ended\r\n")
            assert await daemon.process.stop(LONGEST) == 0
        assert await daemon.queue() == []


async def test_a_stop_does_not_wait_for_a_receiver_that_says_nothing() -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silence, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Daemon({"harbour.example": port}) as daemon:
        await daemon.submit(["box@harbour.example"], b"Subject: x\r\n\r\nx\r\n")
        assert await daemon.process.stop(LONGEST) == 0
        assert len(await daemon.queue()) == 1
    server.close()
