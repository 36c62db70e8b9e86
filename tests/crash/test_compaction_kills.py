"""kill -9 at each step of a compaction: nothing lost, altered or doubled; what it left goes at the start."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from postroad.adapters.segments import Segments
from postroad.adapters.sqlite_audit import audit
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.cli.spool_check import check
from postroad.cli.spool_rebuild import rebuild
from postroad.demo.process import HANGS_AFTER
from postroad.ports.queue import QueueFilter
from tests.crash.compaction_child import COUNT, EVERY, SEGMENT, body
from tests.support.build import NOW, queue_id
from tests.support.running import running

OLD = range(EVERY, COUNT + 1, EVERY)


async def start(directory: Path) -> None:
    """As a daemon does; every message that waits is read, and is what was submitted."""
    spool, queue = Segments(directory / "spool", SEGMENT, recent=0), SqliteQueue(directory / "queue.sqlite")
    async with running(spool, queue):
        spool.adopt(await queue.live())
        await queue.restart(NOW, 60)
        if spool.crashed:
            segments = spool.wasteful()
            await spool.mark_strangers(segments, await queue.places_in(segments))
        found = await queue.select(QueueFilter(), 1000)
        assert [row.message for _, row in found] == [queue_id(number) for number in OLD]
        for number, (owner, row) in zip(OLD, found, strict=True):
            assert (await spool.read(owner.location, owner.id)).body == body(number)
            assert row.n == (number // EVERY + 1) % 2


async def test_wherever_a_compaction_is_killed_everything_is_there_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.crash.compaction_child", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_AFTER, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    steps = [line.partition(" ")[2] for line in done.stdout.splitlines()]
    assert steps[-1] == "end"
    names = ("pwrite", "fdatasync", "fsync", "move", "commit", "unlink")
    assert {f"{when} {name}" for name in names for when in ("before", "after")} <= set(steps)
    print(f"killed at {len(steps) - 1} steps")
    for number, step in enumerate(steps, start=1):
        directory = tmp_path / str(number)
        await rebuilt(directory, tmp_path / "rebuilt")
        await start(directory)
        report = check(directory / "queue.sqlite", directory / "spool")
        assert (step, report.messages, report.findings) == (step, len(OLD), [])
        live = {each.stem for each in (directory / "spool").glob("0*.seg")}
        assert live == segments_named(directory)
        assert {each.stem for each in (directory / "spool").glob("0*")} == live
        assert list((directory / "spool" / "stage").iterdir()) == []


def segments_named(directory: Path) -> set[str]:
    """Those in which the index has a message."""
    places = audit(directory / "queue.sqlite").places.values()
    return {f"{place.segment:08d}" for place in places}


async def rebuilt(directory: Path, copy: Path) -> None:
    """Were the index lost as well, a new one would have each of them once."""
    shutil.copytree(directory, copy)
    made = rebuild(copy / "queue.sqlite", copy / "spool", NOW)
    assert (made.messages, made.recipients) == (len(OLD), len(OLD))
    await start(copy)
    shutil.rmtree(copy)
