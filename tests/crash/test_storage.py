"""Kill the process at each arrow from S0 (nothing) to S5 (settled), then look at what is left.

    S1 written   S2 synced   S3 queued, 250 given   S4 finished   S5 settled

SIGKILL leaves the kernel's pages as they are, so this proves the order of the calls
and what a start makes of each state; that a sync was asked for before each promise
is shown by the order in which the promises and syncs were made.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from postroad.adapters.segments import Segments
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.demo.process import HANGS_AFTER
from postroad.ports.queue import Finished, QueueFilter
from tests.crash.storage_child import DSN, MESSAGES
from tests.support.build import queue_id, recipient, record
from tests.support.requires import require
from tests.support.running import running

NUMBERS = {queue_id(number): number for number in range(1, MESSAGES + 1)}

ARROWS = [
    ("before:pwrite", 2),  # S0; the first pwrite is the pid of the lock
    ("half:pwrite", 3),  # S1, torn
    ("before:fdatasync", 1),  # S1
    ("after:fdatasync", 2),  # S2
    ("before:fsync", 3),  # a new segment without a durable name
    ("after:rename", 1),  # a large body in place, its record not written
    ("before:add", 3),  # S2
    ("after:add", 3),  # S2: rows written, not committed
    ("before:commit", 2),
    ("after:commit", 2),  # S3, the 250 not given
    ("before:record", 1),  # S3
    ("after:record", 2),  # S3: outcome written, not committed
    ("after:record", 3),
    ("after:commit", MESSAGES + 1),  # S5 at once: delivered, nobody to be told
    ("after:commit", MESSAGES + 3),  # S4: a failure, not settled
    ("before:settle", 1),  # S4, the bounce's record is in the spool
    ("after:settle", 1),  # S4: settled, not committed
    ("after:commit", MESSAGES + 4),  # S5, nobody knows yet
    ("before:settle", 2),
    ("never:", 1),
]


@dataclass(frozen=True)
class Said:
    """What the child promised before it died, as numbers of messages."""

    queued: set[int]
    done: set[int]
    settled: set[int]
    ended: bool


def run_child(directory: Path, arrow: str, count: int) -> Said:
    command = [sys.executable, "-m", "tests.crash.storage_child", str(directory), arrow, str(count)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_AFTER, check=False)
    assert child.stderr == ""
    assert child.returncode == (0 if arrow == "never:" else -9)
    words = [line.split() for line in child.stdout.splitlines()]
    told = {
        verb: {NUMBERS[line[1]] for line in words if line[0] == verb} for verb in ("250", "done", "settled")
    }
    return Said(told["250"], told["done"], told["settled"], ["end"] in words)


@pytest.mark.parametrize(("arrow", "count"), ARROWS)
async def test_a_crash_loses_nothing_promised_and_invents_nothing(
    tmp_path: Path, arrow: str, count: int
) -> None:
    said = run_child(tmp_path, arrow, count)
    spool, queue = Segments(tmp_path / "spool"), SqliteQueue(tmp_path / "queue.sqlite")
    async with running(spool, queue):
        await queue.restart(0.0, 0.0)
        spool.adopt(await queue.live())
        unsettled = await queue.unsettled(100)
        left = {row.message: owner for owner, row in await queue.select(QueueFilter(), 100)}
        # Everything the index names can be read, and is what was submitted.
        for id, owner in left.items():
            stored = await spool.read(owner.location)
            assert b"".join([chunk async for chunk in stored.chunks()]) == expected_body(id)
        open_numbers = {NUMBERS[id] for id in left if id in NUMBERS}
        finished = {NUMBERS[each.message.id] for each in unsettled}
        bounces = {number for number in NUMBERS.values() if queue_id(DSN + number) in left}
        assert_consistent(said, open_numbers, finished, bounces)
        await settle_all(spool, queue, unsettled)
        assert await queue.unsettled(100) == []
        assert await open_ids(queue) == {
            *(queue_id(number) for number in open_numbers),
            *(queue_id(DSN + number) for number in bounces | finished),
        }


def expected_body(id: str) -> bytes:
    number = NUMBERS.get(id)
    if number is None:
        return b"bounce\r\n"
    return b"%d\r\n" % number * (1000 if number == MESSAGES else 1)


def assert_consistent(said: Said, open_: set[int], finished: set[int], bounces: set[int]) -> None:
    # What was promised is there until its delivery was heard, and what was heard is never tried again.
    assert said.queued - said.done <= open_ | finished | bounces | in_flight(said)
    assert not open_ & said.done
    # Only the one message whose 250 was on its way may be queued without it.
    assert len((open_ | finished | bounces) - said.queued) <= 1
    # A failure has one bounce: to be made still, or queued, never both.
    assert not finished & bounces
    assert {number for number in said.done if number % 3 == 0} <= finished | bounces
    assert said.settled <= bounces
    assert not bounces & open_
    if said.ended:
        assert bounces == {number for number in NUMBERS.values() if number % 3 == 0}
        assert not open_ | finished


def in_flight(said: Said) -> set[int]:
    """The delivery whose record was committed, but not heard, when the process died."""
    left = said.queued - said.done
    return {min(left)} if left and len(said.queued) == MESSAGES else set()


async def settle_all(spool: Segments, queue: SqliteQueue, unsettled: list[Finished]) -> None:
    """Twice, as a second crash in between would make it."""
    for each in unsettled:
        number = NUMBERS[each.message.id]
        notice = record(DSN + number, b"bounce\r\n", sender=None)
        for _ in range(2):
            await spool.append(notice)
            told = [row.n for row in each.recipients]
            await queue.settle(each.message.id, told, [(notice.message, [recipient(notice.message)])])


async def open_ids(queue: SqliteQueue) -> set[str]:
    return {row.message for _, row in await queue.select(QueueFilter(), 100)}


async def test_what_a_crash_left_of_a_body_is_gone_after_the_next_start(tmp_path: Path) -> None:
    run_child(tmp_path, "after:rename", 1)
    spool, queue = Segments(tmp_path / "spool"), SqliteQueue(tmp_path / "queue.sqlite")
    async with running(spool, queue):
        assert list((tmp_path / "spool").glob("*.body")) != []
        spool.adopt(await queue.live())
    assert list((tmp_path / "spool").glob("*.body")) == []


def test_each_promise_comes_after_the_syncs_that_carry_it(tmp_path: Path) -> None:
    """The system calls in order: content, then its sync; index, then its sync; then the 250."""
    trace = tmp_path / "trace"
    command = [sys.executable, "-m", "tests.crash.storage_child", str(tmp_path), "never:", "1"]
    strace = [
        require("strace", "strace"),
        "-f",
        "-y",
        "-e",
        "trace=pwrite64,fdatasync,fsync,write",
        "-o",
        str(trace),
    ]
    subprocess.run([*strace, *command], check=True, capture_output=True, timeout=HANGS_AFTER)
    dirty: set[str] = set()
    promises = 0
    for line in trace.read_text("utf-8", "replace").splitlines():
        call = line.split(maxsplit=1)[1]
        name, _, rest = call.partition("(")
        path = rest.partition("<")[2].partition(">")[0]
        if name == "pwrite64" and ("/stage/" in path or path.endswith((".seg", "-wal"))):
            dirty.add(path)
        elif name in ("fdatasync", "fsync"):
            dirty.discard(path)
        elif name == "write" and '"250 ' in rest:
            promises += 1
            assert dirty == set(), f"promised with {dirty} unsynced"
    assert promises == MESSAGES
