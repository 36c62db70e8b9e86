"""`postroad queue retry | hold | release | delete | bounce`: by the daemon, or where none runs by ourselves.

Never both: a daemon holds the lock of the spool as long as it lives, and who changes the
queue without one holds it meanwhile.
"""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence

from postroad.adapters import local_client
from postroad.cli.client import check_index, config_for, translated
from postroad.cli.filters import Conditions, chosen, conditions, queue_ids
from postroad.cli.text import CommandFailed, complain, count, listed, say
from postroad.config.model import Config
from postroad.mail.operations import OPERATIONS, changed, check_reason

# Ids in one request: some 30 KiB of a line that may have a MiB.
BATCH = 2000
ANSWER_TIMEOUT = 300.0

Rows = list[dict[str, object]]


def run(config: str, verb: str, args: Namespace) -> int:
    """0, or 66 when an id that was named could not be changed."""
    wanted = conditions(args)
    reason = _reason(verb, args)
    _consent(verb, wanted, args)
    ids = queue_ids(args.ids)
    if args.ids and not ids:
        # No id on stdin is nothing to do, never everything.
        return os.EX_OK
    if args.dry_run:
        import asyncio

        args.ids = ids
        rows = asyncio.run(_would_change(config_for(config), verb, args))
    else:
        rows = _change(config, verb, wanted, ids, reason)
    for one in rows:
        if args.json:
            print(json.dumps(one))
        else:
            say(f"{one['id']}  {one['recipient']}")
    if not args.json:
        tail = " would change; nothing was changed" if args.dry_run else ""
        say(f"{verb}: {count(len(rows), 'recipient')}{tail}")
    return _missed(verb, set(ids) - {str(one["id"]) for one in rows})


def _reason(verb: str, args: Namespace) -> str:
    reason = str(args.reason or "") if verb == "hold" else ""
    try:
        check_reason(reason)
    except ValueError as wrong:
        raise CommandFailed(f"--reason: {wrong}", os.EX_USAGE) from None
    return reason


def _consent(verb: str, wanted: Conditions, args: Namespace) -> None:
    """The whole queue is changed only on purpose."""
    if args.ids or wanted:
        if args.all:
            raise CommandFailed("--all goes with no id and no filter", os.EX_USAGE)
        return
    if not args.all:
        raise CommandFailed(f"queue {verb}: name ids, a filter, or --all", os.EX_USAGE)
    # To try again does no harm; the others are for good, or stop the mail.
    if not args.yes and verb != "retry" and not args.dry_run:
        raise CommandFailed(f"queue {verb} --all concerns the whole queue; add --yes", os.EX_USAGE)


async def _would_change(settings: Config, verb: str, args: Namespace) -> Rows:
    """By the very decision of the daemon, on what the index has now."""
    from postroad.cli.queue import reading

    wanted = chosen(args, settings)
    assert wanted is not None, "ids were asked for before"
    now, named = time.time(), bool(wanted.ids)
    async with reading(settings) as index:
        return [
            {"id": row.message, "recipient": str(row.address)}
            async for page in index.pages(wanted)
            for message, row in page
            if changed(OPERATIONS[verb], message, row, now, named=named) is not None
        ]


def _change(config: str, verb: str, wanted: Conditions, ids: Sequence[str], reason: str) -> Rows:
    settings = config_for(config)
    filters: list[dict[str, object]] = [{**wanted, "ids": list(batch)} for batch in _batches(ids)]
    try:
        return [row for filter in filters for row in _ask(settings, verb, filter, reason)]
    except local_client.DaemonDown as down:
        return _directly(config, settings, verb, filters, reason, str(down))


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    yield from (ids[n : n + BATCH] for n in range(0, max(1, len(ids)), BATCH))


def _ask(settings: Config, verb: str, filter: dict[str, object], reason: str) -> Rows:
    request: dict[str, object] = {"verb": verb, "filter": filter}
    if reason:
        request["reason"] = reason
    if filter == {"ids": []}:
        request["all"] = True
    try:
        return [
            said
            for said in local_client.ask(settings.socket_path, request, timeout=ANSWER_TIMEOUT)
            if "id" in said
        ]
    except (local_client.NotAnswered, local_client.Denied):
        with translated():
            raise
    return []


def _directly(
    config: str,
    settings: Config,
    verb: str,
    filters: Sequence[dict[str, object]],
    reason: str,
    down: str,
) -> Rows:
    """Nobody owns the queue: it is ours for the length of this command."""
    check_index(settings)
    from postroad import office
    from postroad.adapters.local_request import queue_filter
    from postroad.adapters.segment_lock import SpoolInUse
    from postroad.config import load
    from postroad.ports.storage import StorageBroken

    named = [queue_filter({"filter": filter, "all": True}) for filter in filters]
    try:
        done = office.operate(load(config) if verb == "bounce" else settings, verb, named, reason)
    except SpoolInUse as used:
        raise CommandFailed(
            f"{down}; {used}: it begins or ends just now, try again", os.EX_TEMPFAIL
        ) from None
    except StorageBroken as broken:
        raise CommandFailed(str(broken), os.EX_IOERR) from None
    except PermissionError as error:
        text = f"{error.filename}: {error.strerror}; be root or the user of the daemon"
        raise CommandFailed(text, os.EX_NOPERM) from None
    complain("the daemon is not running: the queue was changed without it")
    return [{"id": id, "recipient": recipient} for id, recipient in done]


_ELSE = {
    "retry": "held (then: queue release)",
    "hold": "held already",
    "release": "not held",
}


def _missed(verb: str, ids: set[str]) -> int:
    if not ids:
        return os.EX_OK
    reasons = ["not in the queue", "being delivered now"]
    if verb in _ELSE:
        reasons.insert(1, _ELSE[verb])
    complain(f"not changed: {listed(sorted(ids))}: {', '.join(reasons[:-1])}, or {reasons[-1]}")
    return os.EX_NOINPUT
