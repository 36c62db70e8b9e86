"""`mailq` in the format of Postfix, read from the index: with the daemon up or down."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from postroad.adapters import maildrop_view
from postroad.adapters.maildrop_names import messages, refused
from postroad.adapters.sqlite_reader import SqliteReader
from postroad.cli.postqueue import Listing, refused_note, whole
from postroad.cli.sendmail_select import Selector, matches
from postroad.mail.message import Message, Recipient
from postroad.mail.printable import printable
from postroad.ports.queue import QueueFilter
from postroad.ports.storage import StorageBroken

EX_NOPERM, EX_UNAVAILABLE = 77, 69
Look = Callable[[SqliteReader | None], Awaitable[None]]


def print_queue(state_directory: str, origin: str, select: Sequence[Selector] = ()) -> int:
    """The messages that are meant, with their open recipients, on stdout; also those of the maildrop."""
    if not _is_up(state_directory):
        print("mailq: warning: Mail system is down -- accessing queue directly", file=sys.stderr)
    maildrop = Path(state_directory) / "maildrop"
    dropped = maildrop_view.waiting(maildrop, origin)
    exit = _with_index(state_directory, partial(_print_pages, select, dropped))
    if number := len(refused(maildrop)):
        print(f"mailq: warning: {printable(refused_note(number, str(maildrop)))}", file=sys.stderr)
    return exit


def _is_up(state_directory: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(Path(state_directory) / "postroad.sock")) == 0


def ids_of(state_directory: str, select: Sequence[Selector]) -> tuple[list[str], int]:
    """The ids of the messages that are meant; the exit code where they cannot be had."""
    found: list[str] = []

    async def look(reader: SqliteReader | None) -> None:
        if reader is not None:
            async for message, recipients in whole(reader.pages(QueueFilter())):
                if matches(message, recipients, select):
                    found.append(message.id)

    exit = _with_index(state_directory, look)
    return found, exit


def print_count(state_directory: str) -> int:
    """How many messages are queued (`-bP`)."""
    dropped = len(messages(Path(state_directory) / "maildrop"))
    return _with_index(state_directory, partial(_print_number, dropped))


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


async def _print_pages(
    select: Sequence[Selector],
    dropped: Iterator[tuple[Message, list[Recipient]]],
    reader: SqliteReader | None,
) -> None:
    listing = Listing()
    if reader is not None:
        async for message, recipients in whole(reader.pages(QueueFilter())):
            if matches(message, recipients, select):
                print("\n".join(listing.message(message, recipients)))
    for message, recipients in dropped:
        if matches(message, recipients, select):
            print("\n".join(listing.message(message, recipients)))
    for line in listing.end():
        print(line)


async def _print_number(dropped: int, reader: SqliteReader | None) -> None:
    print(dropped + (0 if reader is None else (await reader.counts())["messages"]))
