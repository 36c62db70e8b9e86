"""What a long queue costs: a daemon with a million waiting recipients beside one with none.

    python benchmarks/backlog.py [--recipients 1000000] [--domains 100000] [--per-message 1]
                                 [--pairs 5] [--messages 3000] [--json FILE]

The backlog is made by the spool and the index themselves, record by record, as if every
message had been tried and deferred for hours. Then both daemons carry the same load to
the same sink, in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median

import uvloop

from cases import CASES
from children import Failed, until
from duels import Run, running, turn
from figures import Figure, report
from postroad.adapters.segments import Segments
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.adapters.system import IdMaker
from postroad.mail.address import Address
from postroad.mail.lifecycle import State
from postroad.mail.message import Content, Lane, Location, Message, Recipient
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.mail.reply import Reply
from postroad.mail.routing import DIRECT, Hop
from postroad.ports.spool import Record
from postroads import Postroad
from rivals import Wishes
from sinks import SmtpSink
from usage import MIB, rss

HOUR = 3600.0
# Records that wait for one sync together.
BURST = 4000
SENDER = Address("bounces", "sender.example")
CONTENT = Content(b"From: <news@sender.example>\r\nSubject: news\r\n\r\n", b"Hello.\r\n", False, False)
WHY = Outcome(
    Kind.DEFERRED,
    Scope.RECIPIENT,
    Reason.FULL,
    "4.2.2",
    "452 4.2.2 The mailbox is full, please try again later",
    Stage.RCPT,
    Reply(452, ("The mailbox is full, please try again later",), "4.2.2"),
    "mx.example[192.0.2.1]:25",
)


def backlog(options: argparse.Namespace) -> Iterator[Record]:
    """Messages tried an hour ago and due in hours; each domain has the same number of recipients."""
    now, new_id, chance = time.time(), IdMaker(), random.Random(1)
    for first in range(0, options.recipients, options.per_message):
        numbers = range(first, min(first + options.per_message, options.recipients))
        id = new_id(now - HOUR)
        yield Record(
            Message(
                id,
                SENDER,
                "news",
                Lane.NORMAL,
                CONTENT.size,
                now - HOUR,
                now + 100 * HOUR,
                now + 50 * HOUR,
                Location(0, 0, 0),
            ),
            tuple(
                recipient(id, n, number % options.domains, now + chance.uniform(6, 12) * HOUR, now)
                for n, number in enumerate(numbers)
            ),
            CONTENT,
        )


def recipient(id: str, n: int, domain: int, due: float, now: float) -> Recipient:
    name = f"d{domain}.backlog.example"
    return Recipient(
        id,
        n,
        Address(f"reader{n}", name),
        Hop(DIRECT, name),
        State.WAITING,
        due,
        attempts=3,
        last=WHY,
        last_attempt_at=now - HOUR / 2,
    )


def due_now(hop: Hop) -> Record:
    """A message to the sink that a daemon finds due when it starts."""
    now = time.time()
    id = IdMaker()(now)
    message = Message(id, SENDER, "news", Lane.NORMAL, CONTENT.size, now, now + HOUR, None, Location(0, 0, 0))
    to = Recipient(id, 0, Address("somebody", "receiver.example"), hop, State.WAITING, now)
    return Record(message, (to,), CONTENT)


async def fill(state: Path, records: Iterator[Record]) -> None:
    """Add the records to the queue in this directory, made where it is missing."""
    state.mkdir(mode=0o711, exist_ok=True)
    spool, queue = Segments(state / "spool"), SqliteQueue(state / "queue.sqlite")

    async def add(record: Record) -> None:
        location = await spool.append(record)
        await queue.add(replace(record.message, location=location), record.recipients)

    async with asyncio.TaskGroup() as ground:
        ground.create_task(spool.run())
        ground.create_task(queue.run())
        spool.adopt(await queue.live())
        while burst := list(islice(records, BURST)):
            await asyncio.gather(*map(add, burst))
        queue.close()
        spool.close()


def first_dispatch(postroad: Postroad, sink: SmtpSink) -> tuple[float, float]:
    """Seconds from the start of the process to READY, and to the arrival of what was due."""
    uvloop.run(fill(postroad.directory / "state", iter([due_now(Hop("relay-1", f"127.0.0.1:{sink.port}"))])))
    before, start = sink.count(), time.perf_counter()
    postroad.start()
    ready = time.perf_counter() - start
    until(lambda: sink.count() > before, 60, "what was due arrives")
    return ready, time.perf_counter() - start


def listing(postroad: Postroad, domain: str, expected: int) -> float:
    """Seconds of `queue list --json --domain`, the command's own start included; the median of three."""
    command = [sys.executable, "-m", "postroad", "--config", str(postroad.config)]
    took = []
    for _ in range(3):
        start = time.perf_counter()
        words = [*command, "queue", "list", "--json", "--domain", domain]
        out = subprocess.run(words, check=True, capture_output=True, timeout=120).stdout
        took.append(time.perf_counter() - start)
        found = [json.loads(line)["recipient"] for line in out.splitlines()]
        if len(found) != expected:
            raise Failed(f"{domain} has {expected} recipients, the list {len(found)}")
    return median(took)


def measure(options: argparse.Namespace, stack: contextlib.ExitStack) -> list[Figure]:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postroad-backlog-")))
    directory.chmod(0o755)
    sink = SmtpSink(directory)
    stack.enter_context(running(sink))
    empty = Postroad(Wishes(sink.port), match="receiver.example")
    stack.enter_context(running(empty))
    full = Postroad(Wishes(sink.port), match="receiver.example")
    stack.callback(full.stop)
    start = time.perf_counter()
    uvloop.run(fill(full.directory / "state", backlog(options)))
    print(f"filled in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    ready, dispatched = first_dispatch(full, sink)
    resident = rss(full.pids())
    each = len(range(0, options.recipients, options.domains))
    listed = listing(full, "d0.backlog.example", each)
    runs = duel(empty, full, sink, options, directory)
    return [
        Figure("waiting recipients", options.recipients, ""),
        Figure("start to READY", ready, "s"),
        Figure("start to first dispatch", dispatched, "s", 3),
        Figure("RSS after the start", resident / MIB, "MiB", 300),
        Figure("RSS under load, most", max(run.rss for run in runs[1]) / MIB, "MiB", 300),
        Figure(f"queue list --json of one domain ({each})", listed, "s", 0.5),
        *ratios(*runs),
    ]


def duel(
    empty: Postroad, full: Postroad, sink: SmtpSink, options: argparse.Namespace, directory: Path
) -> tuple[list[Run], list[Run]]:
    """Warm up both, then in turn."""
    found: tuple[list[Run], list[Run]] = ([], [])
    for number in range(options.pairs + 1):
        for daemon, done in zip((empty, full), found, strict=True):
            waiting = 0 if daemon is empty else len(range(0, options.recipients, options.per_message))
            run = turn(daemon, CASES[0], sink, options.messages, directory, waiting)
            if number:
                done.append(run)
                told = "empty" if daemon is empty else "full"
                print(f"  {told:6} {run.rate:6.0f}/s  {run.cpu * 1000:.2f} ms CPU a message", file=sys.stderr)
    return found


def ratios(empty: list[Run], full: list[Run]) -> list[Figure]:
    pairs = list(zip(empty, full, strict=True))
    rate = median(b.rate / a.rate for a, b in pairs)
    cpu = median(b.cpu / a.cpu for a, b in pairs)
    return [
        Figure("through rate, empty queue", median(run.rate for run in empty), "/s"),
        Figure("through rate, full queue", median(run.rate for run in full), "/s"),
        Figure("full : empty, through rate", rate, "", 0.9, least=True),
        Figure("CPU a message, empty queue", median(run.cpu for run in empty) * 1000, "ms"),
        Figure("CPU a message, full queue", median(run.cpu for run in full) * 1000, "ms"),
        Figure("full : empty, CPU a message", cpu, "", 1.15),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipients", type=int, default=1_000_000)
    parser.add_argument("--domains", type=int, default=100_000)
    parser.add_argument("--per-message", type=int, default=1, help="recipients of each message")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--messages", type=int, default=3000, help="of each run")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        found = measure(options, stack)
    return report(found, options.json)


if __name__ == "__main__":
    sys.exit(main())
