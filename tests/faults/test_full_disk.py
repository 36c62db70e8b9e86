"""A disk of 24 MiB that is full now and then: nothing is lost, and all goes on when there is room again."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from postroad.demo.process import HANGS_AFTER
from postroad.demo.world import Site, World
from tests.crash.load import Load, altered, arrived, letter
from tests.support.daemon import Daemon
from tests.support.disks import fill_up, small_disk
from tests.support.submitting import Client, hand_in

MIB = 1024 * 1024
RECIPIENT = "box@harbour.example"


@dataclass
class Place:
    daemon: Daemon
    site: Site
    disk: Path

    async def submit(self, mark: str) -> str:
        """The reply that decided it."""
        return await asyncio.to_thread(
            hand_in, self.daemon.port, "a@sender.example", [RECIPIENT], letter(mark)
        )

    async def until_arrived(self, marks: set[str]) -> None:
        await self.daemon.until(lambda: marks <= set(arrived(self.site)), what="all that was taken")


@asynccontextmanager
async def place(low_water: str, late: bool = False) -> AsyncIterator[Place]:
    closed = frozenset({"harbour.example"} if late else ())
    async with World([Site("harbour.example")], closed) as world:
        with tempfile.TemporaryDirectory(prefix="postroad-") as top:
            disk = small_disk(Path(top) / "disk", "24m")
            assert isinstance(disk, AbstractContextManager)
            with disk as path:
                site = world["harbour.example"]
                settings = {"state_directory": str(path / "state"), "queue": {"low_water": low_water}}
                async with Daemon({"harbour.example": site.port}, settings) as daemon:
                    yield Place(daemon, site, path)
                    assert await daemon.process.stop() == 0
                    assert await daemon.queue() == []
                    assert altered(site) == []


async def until_taken(here: Place, mark: str) -> None:
    """The room is looked at once a second."""
    async with asyncio.timeout(HANGS_AFTER):
        while not (await here.submit(mark)).startswith("250"):
            await asyncio.sleep(0.2)


async def test_below_the_low_water_mark_mail_is_refused_early_and_deliveries_go_on() -> None:
    async with place("8MiB", late=True) as here:
        assert (await here.submit("early-1")).startswith("250")
        ballast = fill_up(here.disk, leave=6 * MIB)
        async with asyncio.timeout(HANGS_AFTER):
            while (await here.submit("probe-1")).startswith("250"):
                await asyncio.sleep(0.2)
        with Client(here.daemon.port) as client:
            assert client.say("MAIL FROM:<a@sender.example>").startswith("452 4.3.1")
        await here.site.open()
        await here.until_arrived({"early-1"})
        ballast.unlink()
        await until_taken(here, "later-1")
        await here.until_arrived({"later-1"})


@pytest.mark.parametrize("leave", [0, 100_000, 700_000])
async def test_a_disk_that_is_full_while_receiving_loses_nothing(leave: int) -> None:
    """The mark is set so low that it does not help: writes themselves find no room."""
    async with place("1KiB") as here:
        load = Load(here.daemon.port, "a")
        await load.until(10)
        ballast = fill_up(here.disk, leave=leave)
        async with asyncio.timeout(HANGS_AFTER):
            while not load.last.startswith("452 4.3.1"):
                await asyncio.sleep(0.05)
        taken = set(await load.end())
        ballast.unlink()
        await until_taken(here, "later-1")
        await here.until_arrived(taken | {"later-1"})
        assert max(arrived(here.site).values()) == 1


async def test_compaction_that_finds_no_room_waits_for_it_and_disturbs_nobody() -> None:
    """Of two segments a third is long-lived: the copies of one do not fit."""
    bulky = b"z" * 998 + b"\r\n"
    async with World(
        [Site("harbour.example"), Site("island.example")], frozenset({"harbour.example", "island.example"})
    ) as world:
        ports = {name: world[name].port for name in ("harbour.example", "island.example")}
        with tempfile.TemporaryDirectory(prefix="postroad-") as top:
            disk = small_disk(Path(top) / "disk", "40m")
            assert isinstance(disk, AbstractContextManager)
            with disk as path:
                settings = {"state_directory": str(path / "state"), "queue": {"low_water": "1KiB"}}
                async with Daemon(ports, settings) as daemon:
                    spool = path / "state" / "spool"

                    def submit(number: int) -> None:
                        to = "box@island.example" if number % 3 == 0 else RECIPIENT
                        octets = b"Subject: m-%d\r\n\r\n" % number + bulky * 250
                        assert hand_in(daemon.port, "a@sender.example", [to], octets).startswith("250")

                    for number in range(72):
                        await asyncio.to_thread(submit, number)
                    ballast = fill_up(path, leave=3 * MIB)
                    await world["harbour.example"].open()
                    await daemon.event("storage-trouble", operation="compact")
                    before = len(list(spool.glob("*.seg")))
                    ballast.unlink()
                    async with asyncio.timeout(HANGS_AFTER):
                        while len(list(spool.glob("*.seg"))) >= before:
                            await asyncio.sleep(0.1)
                    await world["island.example"].open()
                    await daemon.until(lambda: len(daemon.events("removed")) == 72)
                    assert await daemon.process.stop() == 0
                    assert (await daemon.process.command("spool", "check"))[0] == 0
        assert [len(world[name].arrivals) for name in ports] == [48, 24]
        for site in (world[name] for name in ports):
            assert all(each.octets.endswith(bulky * 250) for each in site.arrivals)


async def test_outcomes_that_find_no_room_are_kept_and_written_later() -> None:
    async with place("1KiB", late=True) as here:
        for number in range(8):
            assert (await here.submit(f"a-{number}")).startswith("250")
        ballast = fill_up(here.disk)
        await here.site.open()
        await here.daemon.event("storage-trouble")
        ballast.unlink()
        await here.until_arrived({f"a-{number}" for number in range(8)})
        await here.daemon.until(lambda: len(here.daemon.events("removed")) == 8)
        assert max(arrived(here.site).values()) == 1
