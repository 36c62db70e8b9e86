"""What it costs to make a message durable, and to forget it again.

    python benchmarks/storage.py [--messages N] [--tasks N] [--size OCTETS] [--directory DIR]

Each task appends a message to the spool, adds it to the index (both durable, where
the 250 would be given), then records its delivery, which removes it, and releases
its place. Prints messages a second and processor time a message, of the whole
process and of each thread's share in it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from postroad.adapters.segments import Segments
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.adapters.system import IdMaker
from postroad.mail.address import Address
from postroad.mail.lifecycle import State
from postroad.mail.message import Change, Content, Lane, Location, Message, Recipient
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.mail.reply import Reply
from postroad.mail.routing import DIRECT, Hop
from postroad.ports.spool import Record

NOWHERE = Location(0, 0, 0)
HOPS = [Hop(DIRECT, f"d{number}.example") for number in range(50)]
OUTCOME = Outcome(
    Kind.DELIVERED,
    Scope.RECIPIENT,
    Reason.OK,
    "2.0.0",
    "250 2.0.0 Ok: queued as 4XyZ",
    Stage.DOT,
    Reply(250, ("Ok: queued as 4XyZ",), "2.0.0"),
    "mx.example[192.0.2.1]:25",
)


def make(id: str, content: Content, now: float) -> Record:
    hop = random.choice(HOPS)
    message = Message(
        id,
        Address("bounces", "example.com"),
        "user",
        Lane.NORMAL,
        content.size,
        now,
        now + 432000,
        now + 14400,
        NOWHERE,
    )
    recipient = Recipient(id, 0, Address("somebody", hop.name), hop, State.ACTIVE, now + 600, attempts=1)
    return Record(message, (recipient,), content)


async def one(spool: Segments, queue: SqliteQueue, record: Record, now: float) -> None:
    location = await spool.append(record)
    message = record.message
    placed = Message(
        message.id,
        message.sender,
        message.account,
        message.lane,
        message.size,
        message.received_at,
        message.expires_at,
        message.warn_at,
        location,
    )
    await queue.add(placed, record.recipients)
    await spool.read(location)
    change = Change(message.id, 0, State.DELIVERED, now, 1, OUTCOME, now)
    for finished in await queue.record([change]):
        spool.release(finished.message)


async def measure(directory: Path, messages: int, tasks: int, size: int) -> None:
    spool, queue = Segments(directory / "spool"), SqliteQueue(directory / "queue.sqlite")
    new_id, now = IdMaker(), time.time()
    head = b"Subject: benchmark\r\n" * 25 + b"\r\n"
    content = Content(head, b"x" * max(0, size - len(head)), dotted=False, eight_bit=False)
    left = iter(range(messages))

    async def work() -> None:
        for _ in left:
            await one(spool, queue, make(new_id(now), content, now), now)

    async with asyncio.TaskGroup() as group:
        group.create_task(spool.run())
        group.create_task(queue.run())
        wall, process, loop = time.perf_counter(), time.process_time(), time.thread_time()
        async with asyncio.TaskGroup() as workers:
            for _ in range(tasks):
                workers.create_task(work())
        wall, process, loop = (
            time.perf_counter() - wall,
            time.process_time() - process,
            time.thread_time() - loop,
        )
        queue.close()
        spool.close()
    print(f"{messages} messages of {content.size} octets, {tasks} tasks")
    print(f"  messages a second       {messages / wall:10.0f}")
    print(f"  CPU a message, all      {process / messages * 1e6:10.1f} us")
    print(f"  CPU a message, loop     {loop / messages * 1e6:10.1f} us")
    print(f"  CPU a message, threads  {(process - loop) / messages * 1e6:10.1f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of durable storage a message.")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--directory", type=Path, help="on the disk to be measured")
    parser.add_argument("--uvloop", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        work = measure(Path(directory), options.messages, options.tasks, options.size)
        if options.uvloop:
            import uvloop

            uvloop.run(work)
        else:
            asyncio.run(work)


if __name__ == "__main__":
    main()
