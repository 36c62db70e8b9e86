"""What an operator and a service manager do to the process: stop it, reload it."""

from __future__ import annotations

import asyncio
import signal

from postroad.demo.world import Site, World
from tests.support.daemon import Daemon
from tests.support.submitting import Client

LETTER = b"From: <anna@sender.example>\r\nSubject: x\r\n\r\nx\r\n"


async def test_sigterm_ends_it_with_0_and_what_waits_is_kept() -> None:
    async with World([Site("dawn.example")], late=frozenset({"dawn.example"})) as world:
        async with Daemon({"dawn.example": world["dawn.example"].port}) as daemon:
            id = await daemon.submit(["dora@dawn.example"], LETTER)
            assert await daemon.process.stop() == 0
            assert "STOPPING=1" in daemon.process.said or daemon.events("stopping")
            assert [row["id"] for row in await daemon.queue()] == [id]
            await world["dawn.example"].open()
            await daemon.restart()
            await daemon.event("tried", status="sent", id=id)
        assert len(world["dawn.example"].arrivals) == 1


async def test_sigterm_with_a_client_connected_does_not_wait_for_it() -> None:
    async with Daemon() as daemon:
        client = await asyncio.to_thread(Client, daemon.port)
        with client:
            # Sooner than the five minutes that it may be idle.
            assert await daemon.process.stop() == 0


async def test_sighup_takes_a_new_route_without_losing_the_connection() -> None:
    async with World([Site("harbour.example")]) as world:
        async with Daemon({"harbour.example": world["harbour.example"].port}) as daemon:
            pid = daemon.process.pid
            route = {
                "match": ["new.example"],
                "relay": f"127.0.0.1:{world['harbour.example'].port}",
                "tls": "none",
            }
            daemon.change({"route": [*daemon.settings["route"], route]})
            daemon.process.signal(signal.SIGHUP)
            await daemon.event("reloaded", problems=[])
            await daemon.submit(["bert@new.example"], LETTER)
            await daemon.event("tried", status="sent", to="bert@new.example")
            assert daemon.process.pid == pid
        assert len(world["harbour.example"].arrivals) == 1


async def test_sighup_with_a_broken_file_changes_nothing_and_says_where() -> None:
    async with World([Site("harbour.example")]) as world:
        async with Daemon({"harbour.example": world["harbour.example"].port}) as daemon:
            good = daemon.config.read_text()
            daemon.config.write_text(good + "\n[delivery2]\nspeed = 9\n")
            daemon.process.signal(signal.SIGHUP)
            line = await daemon.event("reloaded")
            assert any(
                "delivery2" in problem and str(daemon.config) in problem for problem in line["problems"]
            )
            await daemon.submit(["bert@harbour.example"], LETTER)
            await daemon.event("tried", status="sent")
