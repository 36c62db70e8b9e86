"""kill -9 under load: nothing that was answered with 250 is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections import Counter

from postroad.demo.process import HANGS_AFTER
from postroad.demo.world import Site, World
from postroad.mail.throttle import Limits
from tests.support.daemon import Daemon
from tests.support.submitting import Client

RECIPIENT = "box@harbour.example"
CLIENTS = 4
MARK = re.compile(rb"^Subject: (\S+)\r$", re.MULTILINE)


def keep_sending(port: int, name: str, taken: list[str]) -> None:
    """Hand in numbered messages until the connection breaks; `taken` gets those that had their 250."""
    number = 0
    try:
        with Client(port, timeout=HANGS_AFTER) as client:
            while True:
                number += 1
                mark = f"{name}-{number}"
                letter = f"From: <a@sender.example>\r\nSubject: {mark}\r\n\r\n{'x' * 500}\r\n".encode()
                if not client.transact("a@sender.example", [RECIPIENT], letter).startswith("250"):
                    return
                taken.append(mark)
    except OSError:
        return


def arrived(site: Site) -> Counter[str]:
    """How often each numbered message came in."""
    return Counter(mark.decode() for arrival in site.arrivals for mark in MARK.findall(arrival.octets))


async def load_and_kill(daemon: Daemon, round: int, enough: int) -> list[str]:
    """Submit from several clients at once; SIGKILL in the middle. What had its 250."""
    taken: list[str] = []
    clients = [
        asyncio.create_task(asyncio.to_thread(keep_sending, daemon.port, f"r{round}c{n}", taken))
        for n in range(CLIENTS)
    ]
    await daemon.until(lambda: len(taken) >= enough, what=f"{enough} messages taken")
    os.kill(daemon.process.pid, signal.SIGKILL)
    await daemon.process.wait()
    await asyncio.gather(*clients)
    return taken


async def test_whatever_had_its_250_arrives_after_kill_9_under_load() -> None:
    async with World([Site("harbour.example")]) as world:
        site = world["harbour.example"]
        async with Daemon({"harbour.example": site.port}) as daemon:
            taken: list[str] = []
            for round in range(3):
                taken += await load_and_kill(daemon, round, 60)
                await daemon.restart()
            await daemon.until(lambda: set(taken) <= set(arrived(site)), what="all that was taken")
            assert await daemon.process.stop() == 0
            status, out, _ = await daemon.process.command("queue", "list", "--json")
            assert (status, out) == (0, "")
        assert len(taken) >= 180
        repeated = sum(count - 1 for count in arrived(site).values())
        # What was between its final dot and the answer to it, of each connection, and no more.
        assert repeated <= 3 * Limits().connections, f"{repeated} of {len(taken)} arrived twice"


async def test_what_may_come_twice_is_in_the_log_before_the_doors_open() -> None:
    taken = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for word in (b"220 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            writer.write(word)
            await reader.readline()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n.\r\n")
            taken.set()
            # No answer.
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Daemon({"harbour.example": server.sockets[0].getsockname()[1]}) as daemon:
        id = await daemon.submit([RECIPIENT], b"From: <a@sender.example>\r\n\r\nx\r\n")
        await taken.wait()
        await daemon.process.kill()
        await daemon.restart()
        # What it says after READY dies with it.
        await daemon.process.kill()
        assert [line["to"] for line in daemon.events("ambiguous", id=id)] == [[RECIPIENT]]
        assert [line["ambiguous"] for line in daemon.events("recovered")] == [1]


async def test_a_second_daemon_on_the_same_queue_does_not_start() -> None:
    async with Daemon() as first:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        other = Daemon(settings={"state_directory": str(first.directory / "state")})
        other.change({"listener": [{"address": f"127.0.0.1:{port}", "tls": "off", "auth": "off"}]})
        status, _, err = await other.process.command("serve")
        assert status not in (0, None)
        assert "state" in err
        assert len((await first.process.command("status"))[1]) > 0
