"""`postroad why [ID | ADDRESS]`: the one constraint that binds, of the daemon, or of the index without it.

Without an argument the whole queue at a glance: the longest lines of waiting mail, and why one of each waits.
"""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from postroad.adapters import local_client
from postroad.cli.client import config_for, translated
from postroad.cli.filters import queue_id
from postroad.cli.text import CommandFailed, age, complain, say
from postroad.config.model import Config

if TYPE_CHECKING:
    from postroad.adapters.sqlite_reader import HopState, SqliteReader
    from postroad.mail.message import Message, Recipient

Row = dict[str, Any]
# As many as the daemon explains at a time.
MOST = 300
LINES = 20


def run(config: str, args: Namespace) -> int:
    """0, or 66 when nothing in the queue is meant."""
    settings = config_for(config)
    if args.what is None:
        return _overview(settings, as_json=args.json)
    filter = _filter(args.what, settings)
    rows = _of_daemon(settings, filter)
    running = rows is not None
    if rows is None:
        rows = _of_index(settings, filter)
    for row in rows:
        if args.json:
            print(json.dumps(row))
        else:
            for line in _told(row, time.time()):
                say(line)
    if len(rows) >= MOST and not args.json:
        say(f"these are the first {MOST}; all of them: postroad queue list")
    if rows and not running and not args.json:
        say("the daemon is not running: this is what the queue remembers")
    if rows:
        return os.EX_OK
    complain(f"{args.what}: nothing in the queue; where its mail would go: postroad plan ADDRESS")
    return os.EX_NOINPUT


def _overview(settings: Config, *, as_json: bool) -> int:
    from postroad.cli.queue import look

    lines = look(settings, _longest)
    running = True
    for state, owner in lines:
        rows: list[Row] | None = []
        if owner is not None:
            filter: dict[str, object] = {"ids": [owner[0].id], "to": str(owner[1].address)}
            rows = _of_daemon(settings, filter) if running else None
            running = rows is not None
            if rows is None:
                rows = _of_index(settings, filter)
        row = {
            "site": str(state.hop),
            "waiting": state.waiting,
            "active": state.active,
            "held": state.held,
            **(rows[0] if rows else {}),
        }
        if as_json:
            print(json.dumps(row))
            continue
        counted = ", ".join(f"{row[name]} {name}" for name in ("waiting", "active", "held") if row[name])
        say(f"{row['site']}: {counted}")
        if rows:
            for line in list(_told(rows[0], time.time()))[1:]:
                say(line)
    if not lines and not as_json:
        say("the queue is empty")
    return os.EX_OK


async def _longest(index: SqliteReader) -> list[tuple[HopState, tuple[Message, Recipient] | None]]:
    """The hops for which most waits, each with one who does."""
    states = (await index.hop_states())[:LINES]
    return [(state, await index.sample(state.hop)) for state in states]


def _filter(what: str, settings: Config) -> dict[str, object]:
    """An id, an address, or a local name as programs write it."""
    from postroad.mail.address import AddressError, parse_address
    from postroad.mail.queue_id import is_id

    if is_id(what):
        return {"ids": [queue_id(what)]}
    try:
        return {"to": str(parse_address(what, smtputf8=True, default_domain=_domain_for(what, settings)))}
    except AddressError as wrong:
        raise CommandFailed(f"{what}: {wrong}", os.EX_USAGE) from None


def _domain_for(name: str, settings: Config) -> str:
    if "@" in name:
        return settings.origin
    from postroad.config.alias_files import read as read_aliases

    return read_aliases(settings).names.domain_for(name, settings.origin)


def _of_daemon(settings: Config, filter: dict[str, object]) -> list[Row] | None:
    """None where none runs."""
    try:
        return list(local_client.ask(settings.socket_path, {"verb": "why", "filter": filter}))
    except local_client.DaemonDown:
        return None
    except (local_client.NotAnswered, local_client.Denied):
        with translated():
            raise
    return None


def _of_index(settings: Config, filter: dict[str, object]) -> list[Row]:
    from postroad.adapters.local_request import queue_filter
    from postroad.cli.queue import look
    from postroad.config.origin import origin_of
    from postroad.mail.local_names import LOCAL
    from postroad.mail.routing import DIRECT
    from postroad.mail.why import as_row, explain

    known = {DIRECT, LOCAL, *(route.name for route in settings.routes)}
    now = time.time()
    found = look(settings, lambda index: index.select(queue_filter({"filter": filter}), MOST))
    rows = []
    for message, row in found:
        route = row.hop.route
        why = explain(message, row, now, settings.retry, None, routed=route in known)
        origin = None if why.key is None else origin_of(settings, why.key, route)
        rows.append(as_row(message, row, why, origin))
    return rows


def _told(row: Row, now: float) -> Iterator[str]:
    yield f"{row['id']}  {row['sender'] or '<>'} -> {row['recipient']}: {row['constraint']}"
    yield f"  why       {row['text']}"
    if row["learned"]:
        by = f" ({row['learned_from']})" if row["learned_from"] else ""
        when = f", {_ago(row['learned_at'], now)}" if row["learned_at"] else ""
        yield f"  learned   {row['learned']}{by}{when}"
    if row["setting"]:
        value = f" = {row['value']}" if row["value"] else ""
        yield f"  decided   by {row['setting']}{value} ({row['origin']})"
    elif row["value"]:
        yield f"  value     {row['value']}"
    yield f"  next try  {_when(row['next_try'], now) if row['next_try'] else 'not by itself'}"
    yield f"  released  by {row['release']}"


def _seconds(stamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def _ago(stamp: str, now: float) -> str:
    return f"{age(now - _seconds(stamp))} ago"


def _when(stamp: str, now: float) -> str:
    left = _seconds(stamp) - now
    return f"{stamp}, in {age(left)}" if left >= 1 else "now"
