"""The power is cut at any moment, on a disk that keeps as little as it may: a model, without mounts.

A daemon's writes, syncs and names are recorded while it takes mail, delivers some, ends and
starts again. Then, for cuts anywhere in that record, the directory is made as a disk may have
it (see tests/support/lost_writes.py) and looked at as a start does. The same with a kind of
sync left out does lose, which shows that each is needed and that the test can see it.

POSTROAD_STATES says how many cuts (150); POSTROAD_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import tempfile
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

import pytest

from postroad.adapters.segment_audit import holds_mail
from postroad.adapters.segments import Segments
from postroad.adapters.sqlite_files import is_new
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.demo.process import DaemonProcess
from postroad.demo.world import Site, World
from postroad.ports.queue import QueueFilter
from postroad.ports.storage import StorageBroken
from tests.crash.load import MARK
from tests.support.daemon import Daemon
from tests.support.disks import preload_library
from tests.support.lost_writes import Call, Disk, read_record
from tests.support.running import running
from tests.support.submitting import Client

STATES = int(os.environ.get("POSTROAD_STATES", "150"))
SEED = int(os.environ.get("POSTROAD_SEED", "1"))
STAYS, GOES = "box@island.example", "box@harbour.example"
CLIENTS, EACH = 4, 15
PROMISE = re.compile(rb"queued as ([0-9A-Z]{12})")


def letter(mark: str) -> bytes:
    """Its body follows from its mark; some are so large that they get a file of their own."""
    lines = 30_000 if mark.endswith("7") else 40
    return f"From: <a@sender.example>\r\nSubject: {mark}\r\n\r\n".encode() + f"{mark} x\r\n".encode() * lines


@dataclass(frozen=True)
class Recorded:
    """`promises`: where in `calls` which id was about to have its 250; `stays` are those nobody takes."""

    calls: list[Call]
    under: str
    promises: list[tuple[int, str]]
    stays: frozenset[str]


_recorded: list[Recorded] = []


def hand_in(port: int, name: str) -> list[str]:
    """The ids of what is for a site that is down; every third message is for one that is up."""
    stays = []
    with Client(port) as client:
        for number in range(EACH):
            to = GOES if number % 3 == 1 else STAYS
            reply = client.transact("a@sender.example", [to], letter(f"{name}-{number}"))
            found = PROMISE.search(reply.encode())
            assert found, reply
            if to is STAYS:
                stays.append(found[1].decode())
    return stays


async def record() -> Recorded:
    """Two runs of a daemon, the same for all tests: the first ends in good order, the second is killed."""
    if _recorded:
        return _recorded[0]
    stays: set[str] = set()
    async with World(
        [Site("harbour.example"), Site("island.example")], frozenset({"island.example"})
    ) as world:
        daemon = Daemon({name: world[name].port for name in ("harbour.example", "island.example")})
        trace = daemon.directory / "trace"
        recorder = {
            "LD_PRELOAD": str(preload_library("tests/crash/recorder.c")),
            "RECORD_UNDER": str(daemon.directory),
            "RECORD_TO": str(trace),
        }
        try:
            for run in ("a", "b"):
                daemon.process = DaemonProcess(daemon.config, recorder)
                await daemon.process.start()
                clients = [asyncio.to_thread(hand_in, daemon.port, f"{run}{n}") for n in range(CLIENTS)]
                stays.update(*await asyncio.gather(*clients))
                await asyncio.sleep(0)
                if run == "a":
                    assert await daemon.process.stop() == 0
        finally:
            await daemon.process.kill()
        calls = read_record(trace)
    promises = [
        (at, found[1].decode())
        for at, call in enumerate(calls)
        if call.kind == "P" and (found := PROMISE.search(call.octets))
    ]
    assert len(promises) == 2 * CLIENTS * EACH
    _recorded.append(Recorded(calls, str(daemon.directory), promises, frozenset(stays)))
    return _recorded[0]


def cuts(many: Recorded, count: int, chance: random.Random) -> list[int]:
    """Just behind promises, in the first start, and anywhere."""
    behind = [at + 1 for at, _ in chance.sample(many.promises, min(count // 2, len(many.promises)))]
    # The first calls make the index.
    first = [chance.randrange(1, 40) for _ in range(count // 5)]
    rest = count - len(behind) - len(first)
    return sorted(behind + first + [chance.randrange(1, len(many.calls)) for _ in range(rest)])


async def missing_after(ignore: str, count: int) -> tuple[int, int]:
    """Of `count` cuts: how many messages had been promised, how many are not as they were. A start that
    is refused has lost all."""
    chance, many = random.Random(SEED), await record()
    places = [at for at, _ in many.promises]
    disk, fed, promised_in_all, lost = Disk(ignore), 0, 0, 0
    for cut in cuts(many, count, chance):
        for call in many.calls[fed:cut]:
            disk.feed(call)
        fed = cut
        promised = {id for _, id in many.promises[: bisect_left(places, cut)]} & many.stays
        promised_in_all += len(promised)
        with tempfile.TemporaryDirectory(prefix="postroad-") as top:
            disk.write(Path(top), many.under, chance)
            try:
                lost += len(promised - await sound(Path(top) / "state"))
            except (StorageBroken, ExceptionGroup):
                lost += max(1, len(promised))
    return promised_in_all, lost


async def sound(state: Path) -> set[str]:
    """What waits after a start on this directory, as it was handed in. Raises what a start raises."""
    state.mkdir(exist_ok=True)
    spool = Segments(state / "spool")
    index = state / "queue.sqlite"
    if is_new(index) and holds_mail(state / "spool"):
        raise StorageBroken("the index is gone")
    queue = SqliteQueue(index)
    found = set()
    async with running(spool, queue):
        spool.adopt(await queue.live())
        await queue.restart(0.0, 0.0)
        for owner in {owner.id: owner for owner, _ in await queue.select(QueueFilter(), 10_000)}.values():
            try:
                stored = await spool.read(owner.location)
                body = b"".join([chunk async for chunk in stored.chunks()])
            except OSError:
                continue
            mark = MARK.findall(stored.head)[0].decode()
            if body == letter(mark).partition(b"\r\n\r\n")[2]:
                found.add(owner.id)
    return found


@pytest.mark.timeout(600 + 4 * STATES)
async def test_no_cut_loses_or_alters_what_had_its_250() -> None:
    promised, lost = await missing_after("", STATES)
    print(f"{STATES} cuts: {promised} promised, {lost} lost")
    assert promised > STATES
    assert lost == 0


@pytest.mark.parametrize("ignore", ["S", "D"])
async def test_without_the_syncs_of_files_or_of_directories_the_same_cuts_do_lose(ignore: str) -> None:
    promised, lost = await missing_after(ignore, 30)
    assert 0 < lost <= promised + 30


async def test_the_daemon_starts_on_what_a_cut_left() -> None:
    chance, many = random.Random(SEED), await record()
    cut = many.promises[-20][0] + 1
    disk = Disk()
    for call in many.calls[:cut]:
        disk.feed(call)
    daemon = Daemon()
    disk.write(daemon.directory, many.under, chance)
    promised = {id for _, id in many.promises[:-20]} & many.stays
    async with daemon:
        assert promised <= {line["id"] for line in await daemon.queue()}
        assert await daemon.process.stop() == 0
        status, out, _ = await daemon.process.command("spool", "check")
        assert status == 0, out
