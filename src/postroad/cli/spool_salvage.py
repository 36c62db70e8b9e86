"""What an old index still says, for the new one: what no segment has and no mail hangs on.

Each kind is read whole before any of it is written: half a table would be a lie. A row that
makes no sense is left out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from postroad.adapters.sqlite_files import load_queries, open_writable
from postroad.adapters.sqlite_rows import hold_text, to_attempt, to_hold, to_outcome
from postroad.mail.message import Hold
from postroad.mail.queue_id import LIMIT, format_id

Row = tuple[Any, ...]
# More than any schedule makes of a message's life.
MOST_ATTEMPTS = 100_000


@dataclass(slots=True)
class Salvaged:
    """`tried`: recipients whose attempts are known still; `held`: who is held. `read`: it could be."""

    tried: int = 0
    held: int = 0
    read: bool = False


def salvage(index: Path, fresh: Path) -> Salvaged:
    """Carry charges, keys, attempts and holds over, as far as the old index can be read."""
    salvaged = Salvaged()
    if not index.exists():
        return salvaged
    sql = load_queries()
    connection = open_writable(fresh)
    try:
        for read, write in (("all_charges", "charge"), ("all_keys", "keep_key")):
            with suppress(sqlite3.Error), connection:
                rows = _rows(index, sql[read])
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(sql[write], rows)
        with suppress(sqlite3.Error), connection:
            tries, holds = _rows(index, sql["all_tries"]), _holds(index)
            released = _released(index, connection.execute(sql["all_held"]).fetchall())
            connection.execute("BEGIN IMMEDIATE")
            salvaged.tried = connection.executemany(sql["carry_tries"], _sound(tries)).rowcount
            connection.executemany(sql["carry_release"], released)
            salvaged.held = connection.executemany(sql["carry_hold"], holds).rowcount
            salvaged.read = True
        with suppress(sqlite3.Error), connection:
            rows = [row for row in _rows(index, sql["all_attempts"]) if _decodes(to_attempt, row[3])]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(sql["carry_attempt"], rows)
    finally:
        connection.close()
    return salvaged


def open_messages(index: Path) -> set[str]:
    """Ids of what waits by an old index; none where it cannot be read."""
    with suppress(sqlite3.Error):
        return {
            format_id(id)
            for (id,) in _rows(index, load_queries()["open_messages"])
            if isinstance(id, int) and 0 <= id < LIMIT
        }
    return set()


def _rows(index: Path, query: str) -> list[Row]:
    with closing(sqlite3.connect(f"file:{quote(str(index))}?mode=ro", uri=True)) as old:
        return old.execute(query).fetchall()


def _holds(index: Path) -> list[Row]:
    """(message, n, the hold or None where it is not told, what then counts)."""
    sql = load_queries()
    try:
        rows = _rows(index, sql["all_held"])
    except sqlite3.OperationalError:
        rows = _rows(index, sql["all_held_before"])
    return [
        (message, n, held if held is not None and _decodes(to_hold, held) else None, hold_text(Hold()))
        for message, n, held in rows
    ]


def _released(index: Path, held: Sequence[Row]) -> list[Row]:
    """Of what the segments say is held that which the old index knows to be let go."""
    query = load_queries()["let_go"]
    with closing(sqlite3.connect(f"file:{quote(str(index))}?mode=ro", uri=True)) as old:
        return [row[:2] for row in held if old.execute(query, row[:2]).fetchone()]


def _sound(rows: Sequence[Row]) -> Iterator[Row]:
    """(message, n, attempts, first greylisted, hints used, warned, last outcome, last attempt at)."""
    for row in rows:
        _, _, attempts, first_greylisted, hints_used, warned, last, last_attempt_at = row
        counts = (attempts, hints_used, warned)
        times = (first_greylisted, last_attempt_at)
        if (
            all(isinstance(one, int) and 0 <= one <= MOST_ATTEMPTS for one in counts)
            and all(one is None or isinstance(one, int | float) for one in times)
            and (last is None or _decodes(to_outcome, last))
        ):
            yield row


def _decodes(decode: Any, text: object) -> bool:
    try:
        decode(text)
    except (msgspec.MsgspecError, TypeError):
        return False
    return True
