"""`postroad queue`: looking reads the index beside the daemon or without it; changing asks the daemon."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TypeVar

from postroad.adapters import local_client
from postroad.adapters.sqlite_reader import SqliteReader
from postroad.cli import queue_view
from postroad.cli.client import ask, config_for
from postroad.cli.text import CommandFailed, complain, count, listed, say
from postroad.config.model import Config
from postroad.config.problems import BadValue
from postroad.config.values import duration
from postroad.mail.address import AddressError, parse_address
from postroad.mail.queue_id import QueueIdError, parse_id
from postroad.ports import DamagedRecord, Finished, QueueFilter, StorageBroken

# Ids in one request: some 30 KiB of a line that may have a MiB.
BATCH = 2000
ANSWER_TIMEOUT = 300.0

T = TypeVar("T")


def filter_of(args: Namespace) -> QueueFilter:
    """The filters of the command line; CommandFailed for what can match nothing by its form."""
    return QueueFilter(
        to=_address(args.to, "--to"),
        sender=_address(args.sender, "--from"),
        domain=args.domain,
        state=args.state,
        older_than=_older(args.older),
    )


def list_queue(config: str, wanted: QueueFilter, *, as_json: bool) -> int:
    """What waits, page by page: a long queue is shown as it is read."""
    settings = config_for(config)
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


def change(config: str, verb: str, args: Namespace) -> int:
    """Ask the daemon; 66 when an id that was named could not be changed."""
    ids = _ids(args.ids)
    wanted = filter_of(args)
    if not ids and not args.ids and wanted == QueueFilter():
        _consent(verb, args)
    if args.all and (ids or wanted != QueueFilter()):
        raise CommandFailed("--all goes with no id and no filter", os.EX_USAGE)
    if args.ids and not ids:
        return os.EX_OK
    changed = _request(config_for(config), verb, wanted, ids)
    for one in changed:
        if args.json:
            print(json.dumps(one))
        else:
            say(f"{one['id']}  {one['recipient']}")
    if not args.json:
        say(f"{verb}: {count(len(changed), 'recipient')}")
    missed = set(ids) - {str(one["id"]) for one in changed}
    if missed:
        complain(
            f"not changed: {listed(sorted(missed))}: not in the queue, already so, or being delivered now"
        )
    return os.EX_NOINPUT if missed else os.EX_OK


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
    found = await index.find(_id(id))
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


# --- changing ----------------------------------------------------------------------


def _request(settings: Config, verb: str, wanted: QueueFilter, ids: Sequence[str]) -> list[dict[str, object]]:
    batches: list[Sequence[str]] = [ids[n : n + BATCH] for n in range(0, len(ids), BATCH)] or [()]
    changed = []
    for batch in batches:
        given = {key: value for key, value in asdict(wanted).items() if value is not None} | {
            "ids": list(batch)
        }
        # Consent to an empty filter was asked for on our side.
        request = {"verb": verb, "filter": given, "all": True}
        changed += [said for said in ask(settings.socket_path, request, ANSWER_TIMEOUT) if "id" in said]
    return changed


def _consent(verb: str, args: Namespace) -> None:
    if not args.all:
        raise CommandFailed(f"queue {verb}: name ids, a filter, or --all", os.EX_USAGE)
    # To try again does no harm; the others are for good, or stop the mail.
    if not args.yes and verb != "retry":
        raise CommandFailed(f"queue {verb} --all concerns the whole queue; add --yes", os.EX_USAGE)


def _ids(given: Sequence[str]) -> list[str]:
    """The ids of the command line, "-" replaced by those on stdin, each once."""
    found: dict[str, None] = {}
    for word in given:
        words = (line.split()[0] for line in sys.stdin if line.strip()) if word == "-" else (word,)
        for id in words:
            found[_id(id)] = None
    return list(found)


def _id(text: str) -> str:
    try:
        parse_id(text)
    except QueueIdError as wrong:
        raise CommandFailed(f"{text}: {wrong}", os.EX_USAGE) from None
    return text.upper()


def _address(text: str | None, option: str) -> str | None:
    if text is None or (option == "--from" and text in ("", "<>")):
        return text
    try:
        return str(parse_address(text, smtputf8=True))
    except AddressError as wrong:
        raise CommandFailed(f"{option}: {wrong}", os.EX_USAGE) from None


def _older(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return time.time() - duration(text)
    except BadValue as bad:
        raise CommandFailed(f"--older: {bad}", os.EX_USAGE) from None
