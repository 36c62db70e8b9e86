"""A compaction that dies at each of its steps in turn, each time in a directory of its own.

    python -m tests.crash.compaction_child DIRECTORY

For each step a directory `DIRECTORY/<number>` is made in which a spool and an index with a few
long-lived messages among many delivered ones are compacted, until the process is killed there.
Prints a line for each: its number and the step. The last, "end", is one in which nothing was killed.

A step is a call that changes the disk: before it, half of it where it writes, and after it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from postroad.adapters.segment_identity import keep_identity
from postroad.adapters.segments import Segments
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.engine.compaction import Compaction
from postroad.mail.events import Event
from postroad.mail.lifecycle import State
from tests.crash.traps import install
from tests.support.build import change, delivered, recipient, record
from tests.support.running import running

SEGMENT = 8_000
COUNT = 24
# One in so many is long-lived; of these every second has two recipients, the first of them delivered.
EVERY = 4


def body(number: int) -> bytes:
    return b"%06d" % number * 150 + b"\r\n"


class Trap:
    """Once armed, counts the steps and dies at the one it was made for."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.armed = False
        self.count = 0
        self.last = "end"

    def _is_it(self, name: str) -> bool:
        if not self.armed:
            return False
        self.count += 1
        if self.count == self.at:
            self.last = name
        return self.count == self.at

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def trapped(*arguments: Any, **named: Any) -> Any:
            if self._is_it(f"before {name}"):
                die(self)
            if name == "pwrite" and self._is_it("half of pwrite"):
                call(arguments[0], memoryview(arguments[1])[: len(arguments[1]) // 2], arguments[2])
                die(self)
            answer = call(*arguments, **named)
            if self._is_it(f"after {name}"):
                die(self)
            return answer

        return trapped


def die(trap: Trap) -> None:
    os.write(1, f"{trap.at} {trap.last}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)


class Silent:
    def emit(self, event: Event) -> None:
        raise AssertionError(event)


async def fill(directory: Path) -> None:
    """What there is to compact."""
    spool = Segments(directory / "spool", SEGMENT, recent=0)
    index = directory / "queue.sqlite"
    keep_identity(directory / "spool", 7, 1)
    queue = SqliteQueue(index, identity=(7, 1))
    async with running(spool, queue):
        for number in range(1, COUNT + 1):
            await add(spool, queue, number)


async def one(directory: Path, trap: Trap) -> None:
    spool, queue = Segments(directory / "spool", SEGMENT, recent=0), SqliteQueue(directory / "queue.sqlite")
    async with running(spool, queue):
        spool.adopt(await queue.live())
        trap.armed = True
        await Compaction(spool, queue, Silent(), grace=0.0, rate=1e12).compact()
    trap.armed = False


async def add(spool: Segments, queue: SqliteQueue, number: int) -> None:
    stays = number % EVERY == 0
    given = record(number, body(number))
    half = stays and number // EVERY % 2 == 0
    rows = [recipient(given.message, n=n, state=State.ACTIVE) for n in range(2 if half else 1)]
    location = await spool.append(replace(given, recipients=tuple(rows)))
    message = replace(given.message, location=location)
    await queue.add(message, rows)
    changes = [change(row, delivered()) for row in rows]
    if stays:
        changes[-1] = change(rows[-1], state=State.WAITING)
    finished = await queue.record(changes)
    if half:
        spool.done(message, [0])
    for each in finished:
        spool.release(each.message)


def main(top: Path) -> None:
    at = 0
    asyncio.run(fill(top / "full"))
    while True:
        at += 1
        shutil.copytree(top / "full", top / str(at))
        child = os.fork()
        if not child:
            trap = Trap(at)
            install(trap.around, ("pwrite", "fdatasync", "fsync", "rename", "unlink"), ("move",))
            asyncio.run(one(top / str(at), trap))
            os.write(1, f"{at} end\n".encode())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
