"""`postroad queue list | show | cat`: reads the index and the spool, beside the daemon or without it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from postroad.adapters import local_client
from postroad.adapters.sqlite_reader import SqliteReader
from postroad.cli import queue_view
from postroad.cli.client import config_for
from postroad.cli.filters import conditions, queue_id
from postroad.cli.text import CommandFailed, count, say
from postroad.config.model import Config
from postroad.ports import DamagedRecord, Finished, QueueFilter, StorageBroken

T = TypeVar("T")


def list_queue(config: str, args: Namespace) -> int:
    """What waits, page by page: a long queue is shown as it is read."""
    wanted = QueueFilter(**cast("dict[str, Any]", conditions(args)))
    settings, as_json = config_for(config), args.json
    return asyncio.run(_list_json(settings, wanted) if as_json else _list_text(settings, wanted))


def show(config: str, id: str, *, as_json: bool) -> int:
    settings = config_for(config)
    found = look(settings, lambda index: _find(index, id))
    if as_json:
        print(json.dumps(queue_view.details(found.message, found.recipients)))
    else:
        for line in queue_view.description(found.message, found.recipients, time.time()):
            say(line)
    return os.EX_OK


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
    try:
        # SQLite's own message would not tell the two apart.
        path.open("rb").close()
    except FileNotFoundError:
        raise CommandFailed(
            f"{path}: no queue; has the daemon ever run with this configuration?", os.EX_NOINPUT
        ) from None
    except OSError as error:
        raise CommandFailed(
            f"{path}: {error.strerror}; be root or the user of the daemon", os.EX_NOPERM
        ) from None
    try:
        async with SqliteReader(path) as index:
            yield index
    except StorageBroken as broken:
        raise CommandFailed(str(broken), os.EX_IOERR) from None


# --- looking -----------------------------------------------------------------------


async def _list_json(settings: Config, wanted: QueueFilter) -> int:
    async with reading(settings) as index:
        async for page in index.pages(wanted):
            print("\n".join(json.dumps(queue_view.row(*pair)) for pair in page))
    return os.EX_OK


async def _list_text(settings: Config, wanted: QueueFilter) -> int:
    messages: set[str] = set()
    recipients = 0
    async with reading(settings) as index:
        async for page in index.pages(wanted):
            now = time.time()
            for message, recipient in page:
                messages.add(message.id)
                for line in queue_view.listing(message, recipient, now):
                    say(line)
            recipients += len(page)
    if recipients:
        say(f"{count(recipients, 'recipient')} of {count(len(messages), 'message')}")
    else:
        say("the queue is empty" if wanted == QueueFilter() else "nothing in the queue matches")
    if not local_client.ping(settings.socket_path):
        say("the daemon is not running")
    return os.EX_OK


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
        stored = await spool.read(found.message.location)
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
