"""`mailq` in the format of Postfix, read from the index: with the daemon up or down."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

from postroad.adapters.sqlite_reader import SqliteReader
from postroad.mail.lifecycle import State
from postroad.mail.message import Message, Recipient
from postroad.mail.reply import printable
from postroad.ports import QueueFilter, StorageBroken

EX_NOPERM, EX_UNAVAILABLE = 77, 69
HEADING = "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------"
# Where Postfix lets a reason end.
_REASON_END = 76

Pair = tuple[Message, Recipient]
Look = Callable[[SqliteReader | None], Awaitable[None]]


def print_queue(state_directory: str) -> int:
    """Every message with its open recipients on stdout."""
    return _with_index(state_directory, _print_pages)


def print_count(state_directory: str) -> int:
    """How many messages are queued (`-bP`)."""
    return _with_index(state_directory, _print_number)


def _with_index(state_directory: str, look: Look) -> int:
    path = Path(state_directory) / "queue.sqlite"
    try:
        return asyncio.run(_looked(path, look))
    except StorageBroken as broken:
        print(f"mailq: fatal: {printable(str(broken))}", file=sys.stderr)
        return EX_UNAVAILABLE
    except PermissionError:
        print(f"mailq: fatal: {path} may be read by root and the daemon's user", file=sys.stderr)
        return EX_NOPERM


async def _looked(path: Path, look: Look) -> int:
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError:
        # Nothing was ever queued.
        await look(None)
        return 0
    async with SqliteReader(path) as reader:
        await look(reader)
    return 0


async def _print_pages(reader: SqliteReader | None) -> None:
    listing = Listing()
    if reader is not None:
        async for page in reader.pages(QueueFilter()):
            for line in listing.page(page):
                print(line)
    for line in listing.end():
        print(line)


async def _print_number(reader: SqliteReader | None) -> None:
    print(0 if reader is None else (await reader.counts())["messages"])


class Listing:
    """The lines of a listing, page by page; a message may go on over pages."""

    def __init__(self) -> None:
        self._last: str | None = None
        self._octets = 0
        self._count = 0

    def page(self, pairs: Iterable[Pair]) -> Iterator[str]:
        for id, group in groupby(pairs, key=lambda pair: pair[0].id):
            rows = list(group)
            if id != self._last:
                yield HEADING if self._last is None else ""
                yield head_line(rows[0][0], [recipient for _, recipient in rows])
                self._octets += rows[0][0].size
                self._count += 1
                self._last = id
            for _, recipient in rows:
                yield from recipient_lines(recipient)

    def end(self) -> Iterator[str]:
        if self._last is None:
            yield "Mail queue is empty"
            return
        yield ""
        plural = "" if self._count == 1 else "s"
        yield f"-- {self._octets // 1024} Kbytes in {self._count} Request{plural}."


def head_line(message: Message, recipients: Iterable[Recipient]) -> str:
    """Id with its mark, size, arrival in local time, sender."""
    states = {recipient.state for recipient in recipients}
    mark = "*" if State.ACTIVE in states else "!" if State.HELD in states else ""
    arrival = time.strftime("%a %b %d %H:%M:%S", time.localtime(message.received_at))
    sender = str(message.sender) if message.sender is not None else "MAILER-DAEMON"
    return f"{message.id + mark:<17} {message.size:8d} {arrival:>19} {printable(sender)}"


def recipient_lines(recipient: Recipient) -> Iterator[str]:
    """Why it waits, if it was tried, and the address."""
    if recipient.last is not None:
        text = f"({printable(recipient.last.text)})"
        yield " " * max(0, _REASON_END + 2 - len(text)) + text
    yield " " * 47 + printable(str(recipient.address))
