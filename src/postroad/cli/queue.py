"""`postroad queue list | show | cat`: reads the index and the spool, beside the daemon or without it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from postroad.adapters import local_client, maildrop_view
from postroad.adapters.maildrop_names import messages, refused
from postroad.adapters.sqlite_reader import SqliteReader
from postroad.cli import queue_view
from postroad.cli.client import check_index, config_for
from postroad.cli.filters import chosen, conditions, queue_id
from postroad.cli.postqueue import Listing, as_json, refused_note, whole
from postroad.cli.text import CommandFailed, complain, count, listed, say
from postroad.config.model import Config
from postroad.mail.message import Message, Recipient
from postroad.mail.printable import printable
from postroad.ports.queue import Finished, QueueFilter
from postroad.ports.spool import DamagedRecord
from postroad.ports.storage import StorageBroken

T = TypeVar("T")

# nice(2) of a list once it has begun.
PATIENT = 10


def list_queue(config: str, args: Namespace) -> int:
    """What waits, page by page: a long queue is shown as it is read."""
    settings = config_for(config)
    wanted = chosen(args, settings)
    if wanted is not None:
        asyncio.run(_FORMATS["json" if args.json else args.format](settings, wanted))
    return os.EX_OK


def show(config: str, args: Namespace) -> int:
    """Messages with all that is known; 66 when an id that was named is not there."""
    settings = config_for(config)
    if not args.ids and not conditions(args):
        raise CommandFailed("queue show: name ids, or a filter", os.EX_USAGE)
    wanted = chosen(args, settings)
    shown = set() if wanted is None else asyncio.run(_show(settings, wanted, json_lines=args.json))
    missing = [id for id in (wanted.ids if wanted else ()) if id not in shown]
    if not missing:
        return os.EX_OK
    complain(f"{listed(missing)}: not in the queue")
    return os.EX_NOINPUT


def cat(config: str, id: str) -> int:
    """The octets as they are sent, on stdout."""
    asyncio.run(_cat(config_for(config), id))
    return os.EX_OK


def look(settings: Config, work: Callable[[SqliteReader], Awaitable[T]]) -> T:
    """What `work` finds in the index."""

    async def run() -> T:
        async with reading(settings) as index:
            return await work(index)

    return asyncio.run(run())


@asynccontextmanager
async def reading(settings: Config) -> AsyncIterator[SqliteReader]:
    """The index, read-only; inside, its troubles are CommandFailed."""
    path = settings.index_path
    check_index(settings)
    try:
        async with SqliteReader(path) as index:
            yield index
    except StorageBroken as broken:
        raise CommandFailed(str(broken), os.EX_IOERR) from None


# --- looking -----------------------------------------------------------------------


async def _list_json(settings: Config, wanted: QueueFilter) -> None:
    async with reading(settings) as index:
        await print_pages(index.pages(wanted), lambda *pair: [json.dumps(queue_view.row(*pair))])


async def print_pages(
    pages: AsyncIterator[Sequence[tuple[Message, Recipient]]],
    lines: Callable[[Message, Recipient], Iterable[str]],
) -> None:
    """Each page is out before the next is read."""
    async for page in pages:
        print("\n".join(line for pair in page for line in lines(*pair)), flush=True)
        step_back()


def step_back() -> None:
    """What is left of a long list comes after the mail of this machine."""
    if os.nice(0) < PATIENT:
        os.nice(PATIENT - os.nice(0))


async def _list_text(settings: Config, wanted: QueueFilter) -> None:
    ids: set[str] = set()
    recipients = 0

    def lines(message: Message, recipient: Recipient) -> Iterable[str]:
        nonlocal recipients
        recipients += 1
        ids.add(message.id)
        return map(printable, queue_view.listing(message, recipient, time.time()))

    async with reading(settings) as index:
        await print_pages(index.pages(wanted), lines)
    if recipients:
        say(f"{count(recipients, 'recipient')} of {count(len(ids), 'message')}")
    else:
        say("the queue is empty" if wanted == QueueFilter() else "nothing in the queue matches")
    if kept := _refused(settings):
        say(kept)
    if not local_client.ping(settings.socket_path):
        say("the daemon is not running")
        if dropped := len(messages(settings.maildrop_path)):
            say(f"{count(dropped, 'message')} in {settings.maildrop_path} for it to take up")
        if wanted.sites and not recipients:
            say('without it a site is known by its next hop alone, as in the list behind "via"')


async def _list_mailq(settings: Config, wanted: QueueFilter) -> None:
    listing = Listing()
    async with reading(settings) as index:
        async for each in whole(index.pages(wanted)):
            print("\n".join(listing.message(*each)))
            step_back()
    for each in _dropped(settings, wanted):
        print("\n".join(listing.message(*each)))
    print("\n".join(listing.end()))
    # Programs read the last line of the list.
    if kept := _refused(settings):
        complain(kept)


async def _list_postqueue_json(settings: Config, wanted: QueueFilter) -> None:
    async with reading(settings) as index:
        async for each in whole(index.pages(wanted)):
            print(as_json(*each))
            step_back()
    for each in _dropped(settings, wanted):
        print(as_json(*each))


def _refused(settings: Config) -> str | None:
    """That there is something which no list shows."""
    number = len(refused(settings.maildrop_path))
    return refused_note(number, str(settings.maildrop_path)) if number else None


def _dropped(settings: Config, wanted: QueueFilter) -> Iterable[tuple[Message, list[Recipient]]]:
    """What no daemon has taken up yet: part of the whole queue, and not to be chosen from."""
    whole_queue = wanted == QueueFilter()
    return maildrop_view.waiting(settings.maildrop_path, settings.origin) if whole_queue else ()


_FORMATS = {
    "table": _list_text,
    "json": _list_json,
    "mailq": _list_mailq,
    "postqueue-json": _list_postqueue_json,
}


async def _show(settings: Config, wanted: QueueFilter, *, json_lines: bool) -> set[str]:
    """The ids of the messages that were shown."""
    shown: set[str] = set()
    async with reading(settings) as index:
        named = wanted == QueueFilter(ids=wanted.ids)
        ids = wanted.ids if named else [message.id async for message, _ in whole(index.pages(wanted))]
        for id in ids:
            found, past = await index.find(id), await index.attempts(id)
            if found is None:
                continue
            if json_lines:
                print(json.dumps(queue_view.details(found.message, found.recipients, past)))
            else:
                if shown:
                    print()
                for line in queue_view.description(found.message, found.recipients, past, time.time()):
                    say(line)
            shown.add(id)
    return shown


async def _find(index: SqliteReader, id: str) -> Finished:
    found = await index.find(queue_id(id))
    if found is None:
        raise CommandFailed(f"{id}: not in the queue", os.EX_NOINPUT)
    return found


async def _cat(settings: Config, id: str) -> None:
    from postroad.adapters.segment_reader import SegmentReader

    async with reading(settings) as index:
        found = await _find(index, id)
    spool = SegmentReader(settings.spool_path)
    try:
        stored = await spool.read(found.message.location, found.message.id)
        sys.stdout.buffer.write(stored.head)
        async for chunk in stored.chunks():
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except DamagedRecord as damaged:
        raise CommandFailed(f"{id}: {damaged}", os.EX_DATAERR) from None
    except FileNotFoundError:
        raise CommandFailed(f"{id}: its content is gone; it was delivered just now", os.EX_NOINPUT) from None
    finally:
        spool.close()
