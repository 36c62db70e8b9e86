"""The index seen from beside: what it says lies where, and what in it can not be."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from postroad.adapters.sqlite_files import BUSY_TIMEOUT, load_queries, read_identity
from postroad.mail.message import Location
from postroad.mail.queue_id import format_id
from postroad.ports.storage import StorageBroken

# Enough to know that an index is beyond mending.
MAX_DAMAGE = 20

# Statement by statement: rows of (message, what is wrong with it).
IMPOSSIBLE = ("bad_states", "without_message", "without_recipients", "over", "shared_places")


@dataclass(slots=True)
class Index:
    """Places of all messages by id; what is impossible as (id, text); `damage` as SQLite says it.

    `identity`: which queue it is of and which run, 0: unknown.
    """

    places: dict[str, Location] = field(default_factory=dict)
    recipients: int = 0
    impossible: list[tuple[str, str]] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    identity: tuple[int, int] = (0, 0)


def audit(path: Path) -> Index:
    """Read in one transaction; StorageBroken where the file is no index at all. Blocks."""
    try:
        uri = f"file:{quote(str(path))}?mode=ro"
        with closing(
            sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN")
            return _audit(connection)
    except sqlite3.Error as error:
        raise StorageBroken(f"{path}: {error}") from error


def _audit(connection: sqlite3.Connection) -> Index:
    sql, found = load_queries(), Index()
    lines = connection.execute(f"PRAGMA quick_check({MAX_DAMAGE})").fetchall()
    found.damage = [line for (line,) in lines if line != "ok"]
    if not found.damage:
        found.identity = read_identity(connection)
        for id, *place in connection.execute(sql["places"]):
            found.places[format_id(id)] = Location(*place)
        (found.recipients,) = connection.execute(sql["count_recipients"]).fetchone()
        found.impossible = list(_impossible(connection, sql))
    return found


def _impossible(connection: sqlite3.Connection, sql: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name in IMPOSSIBLE:
        for message, text in connection.execute(sql[name]):
            yield format_id(message), text
