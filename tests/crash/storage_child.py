"""The storage path of a few messages, in a process that dies where it is told to.

    python -m tests.crash.storage_child DIRECTORY ARROW COUNT

ARROW names a call of the storage path; at its COUNT-th time the process kills itself,
"before:" or "after:" the call is made. Says on stdout what it promised to somebody:
`250 <id>` when a message is ours, `done <id>` when its delivery was recorded,
`settled <id>` when its bounce was queued. A message in three fails, the others are delivered.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from postroad.adapters.segments import Segments
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.mail.lifecycle import State
from postroad.ports.queue import Finished
from tests.crash.traps import install
from tests.support.build import change, delivered, failed, message, queue_id, recipient, record

MESSAGES = 6
DSN = 1000


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Trap:
    """Counts the calls of one name and dies at one of them."""

    def __init__(self, arrow: str, count: int) -> None:
        self._when, _, self.name = arrow.partition(":")
        self._left = count

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        if name != self.name:
            return call

        def trapped(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0 and self._when == "before":
                die()
            if self._left == 0 and self._when == "half":
                # Half of what was to be written is on its way to disk.
                call(arguments[0], memoryview(arguments[1])[: len(arguments[1]) // 2], arguments[2])
                die()
            answer = call(*arguments, **named)
            if self._left == 0:
                die()
            return answer

        return trapped


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


async def receive(spool: Segments, queue: SqliteQueue, number: int) -> None:
    """S0 to S3: the last message is a large one."""
    body = b"%d\r\n" % number
    if number == MESSAGES:
        file = spool.stage(queue_id(number))
        await file.write(body * 1000)
        given = record(number, file.finish(b"h" * 32))
    else:
        given = record(number, body)
    location = await spool.append(given)
    row = recipient(given.message, state=State.ACTIVE, attempts=1)
    await queue.add(replace(given.message, location=location), [row])
    say(f"250 {given.message.id}")


async def finish(spool: Segments, queue: SqliteQueue, number: int) -> None:
    """S3 to S5."""
    row = recipient(message(number), state=State.ACTIVE, attempts=1)
    outcome = failed() if number % 3 == 0 else delivered()
    (finished,) = await queue.record([change(row, outcome)])
    say(f"done {row.message}")
    if finished.recipients:
        await settle(spool, queue, finished, number)
    spool.release(finished.message)


async def settle(spool: Segments, queue: SqliteQueue, finished: Finished, number: int) -> None:
    """The bounce's record is durable before the transaction that queues it and removes its message."""
    notice = record(DSN + number, b"bounce\r\n", sender=None)
    placed = replace(notice.message, location=await spool.append(notice))
    told = [row.n for row in finished.recipients]
    await queue.settle(finished.message.id, told, [(placed, [recipient(placed)])])
    say(f"settled {finished.message.id}")


async def main(directory: Path, arrow: str, count: int) -> None:
    install(
        Trap(arrow, count).around, ("pwrite", "fdatasync", "fsync", "rename"), ("add", "record", "settle")
    )
    spool = Segments(directory / "spool", segment_size=1500)
    queue = SqliteQueue(directory / "queue.sqlite")
    spool.adopt({})
    async with asyncio.TaskGroup() as group:
        group.create_task(spool.run())
        group.create_task(queue.run())
        for number in range(1, MESSAGES + 1):
            await receive(spool, queue, number)
        for number in range(1, MESSAGES + 1):
            await finish(spool, queue, number)
        queue.close()
        spool.close()
    say("end")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
