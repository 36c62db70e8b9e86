"""The power is cut under load: what the disk had received holds every message that had its 250.

The queue lies on an ext4 file system in a file, whose cache is written back only when
somebody syncs. The daemon is stopped, the file copied as it is, the daemon killed, the
copy mounted in place of the original, and the daemon started on it. The same without
syncs loses mail, which shows that the test can see a loss.

POSTROAD_CUTS says how many (5).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from postroad.demo.world import Site, World
from tests.crash.load import Load, again, altered, arrived
from tests.crash.test_kills import ambiguous, deliver_all
from tests.support.daemon import Daemon
from tests.support.disks import copy_image, image_disk, make_image, preloaded

CUTS = int(os.environ.get("POSTROAD_CUTS", "5"))
MEGABYTES = 96


class Machine:
    """A disk and a daemon on it."""

    def __init__(self, top: Path, site: Site, environment: Mapping[str, str]) -> None:
        self._top = top
        self._images = iter(top / f"disk{number}" for number in range(1000))
        self._image = next(self._images)
        self._environment = dict(environment)
        make_image(self._image, MEGABYTES)
        self._disk = ExitStack()
        state = str(top / "mnt" / "state")
        settings = {"state_directory": state, "queue": {"low_water": "4MiB"}}
        self.daemon = Daemon({"harbour.example": site.port}, settings)

    def _plug_in(self) -> None:
        disk = image_disk(self._image, self._top / "mnt")
        assert isinstance(disk, AbstractContextManager)
        self._disk.enter_context(disk)

    async def start(self) -> None:
        self._plug_in()
        await self.daemon.restart(self._environment)

    async def cut(self, load: Load) -> list[str]:
        """What had its 250 when the power went; the disk is then as it was in that moment."""
        os.kill(self.daemon.process.pid, signal.SIGSTOP)
        after = next(self._images)
        await asyncio.to_thread(copy_image, self._image, after)
        await self.daemon.process.kill()
        taken = await load.end()
        self._disk.close()
        self._image.unlink()
        self._image = after
        return taken

    async def stop(self) -> None:
        await self.daemon.process.kill()
        self._disk.close()


@asynccontextmanager
async def machine(site: Site, **environment: str) -> AsyncIterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="postroad-") as top:
        made = Machine(Path(top), site, environment)
        try:
            yield made
        finally:
            await made.stop()


@pytest.mark.timeout(600 + 30 * CUTS)
async def test_nothing_that_had_its_250_is_lost_when_the_power_is_cut() -> None:
    chance = random.Random(CUTS)
    taken: set[str] = set()
    async with World([Site("harbour.example")]) as world:
        site = world["harbour.example"]
        async with machine(site) as made:
            await made.start()
            for number in range(CUTS):
                load = Load(made.daemon.port, f"p{number}")
                await load.until(chance.randint(5, 60))
                taken.update(await made.cut(load))
                await made.start()
            await deliver_all(made.daemon, site, taken)
            assert (await made.daemon.process.command("spool", "check"))[0] == 0
        doubled, named = again(site), ambiguous(made.daemon)
        print(
            f"{CUTS} cuts: {len(taken)} taken, {len(taken - set(arrived(site)))} lost, {doubled.total()} came"
            f" again, {named.total()} were reported as ambiguous, {(doubled - named).total()} not among them"
        )
        assert taken <= set(arrived(site))
        assert altered(site) == []
        assert doubled <= named


async def test_without_syncs_the_same_cut_does_lose() -> None:
    """The negative control: mail whose receiver is down can only be where the disk has it."""
    async with World([Site("harbour.example")], frozenset({"harbour.example"})) as world:
        site = world["harbour.example"]
        async with machine(site, **preloaded(FAULTY_NO_SYNC="1")) as made:
            await made.start()
            load = Load(made.daemon.port, "n")
            await load.until(40)
            taken = await made.cut(load)
            await made.start()
            waiting = len(await made.daemon.queue())
        print(f"without syncs: {len(taken)} taken, {len(taken) - waiting} lost")
        assert waiting < len(taken)
