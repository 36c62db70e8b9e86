"""The index seen from beside: what it says lies where, and what in it can not be."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from urllib.parse import quote

from postroad.adapters.sqlite_files import BUSY_TIMEOUT, later_than, load_queries, read_identity
from postroad.mail.address import Address
from postroad.mail.message import Location, Recipient
from postroad.mail.queue_id import LIMIT, format_id
from postroad.ports.storage import StorageBroken

# Enough to know that an index is beyond mending.
MAX_DAMAGE = 20

# Statement by statement: rows of (message, what is wrong with it).
IMPOSSIBLE = ("bad_messages", "bad_states", "without_message", "without_recipients", "over", "shared_places")


@dataclass(slots=True)
class Index:
    """Places of all messages by id; what is impossible as (id, text); `damage` as SQLite says it.

    `identity`: which queue it is of and which run, 0: unknown. `envelopes`: see `envelope_of`.
    `later`: what is to be said of an index that a later version made.
    """

    places: dict[str, Location] = field(default_factory=dict)
    recipients: int = 0
    impossible: list[tuple[str, str]] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    identity: tuple[int, int] = (0, 0)
    envelopes: dict[str, int] = field(default_factory=dict)
    later: str = ""


def envelope_of(sender: Address | None, recipients: Iterable[Recipient]) -> int:
    """Sender and recipients as one number: a million of them shall fit into memory."""
    whom = [(each.n, each.address.local, each.address.domain) for each in recipients]
    return _envelope((sender and sender.local, sender and sender.domain), sorted(whom))


def _envelope(sender: tuple[object, object], recipients: list[tuple[int, str, str]]) -> int:
    return zlib.crc32(repr((sender, recipients)).encode("utf-8", "surrogatepass"))


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
        found.later = later_than(connection)
        for id, *place in connection.execute(sql["places"]):
            found.places[_named(id)] = Location(*place)
        found.envelopes = dict(_envelopes(connection, sql))
        (found.recipients,) = connection.execute(sql["count_recipients"]).fetchone()
        found.impossible = list(_impossible(connection, sql))
    return found


def _impossible(connection: sqlite3.Connection, sql: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name in IMPOSSIBLE:
        for message, text in connection.execute(sql[name]):
            yield _named(message), text


def _envelopes(connection: sqlite3.Connection, sql: dict[str, str]) -> Iterator[tuple[str, int]]:
    rows = groupby(connection.execute(sql["envelopes"]), key=itemgetter(0, 1, 2))
    for (message, local, domain), recipients in rows:
        yield _named(message), _envelope((local, domain), [row[3:] for row in recipients])


def _named(message: object) -> str:
    """As a queue id; a number that is none as it stands."""
    return format_id(message) if isinstance(message, int) and 0 <= message < LIMIT else repr(message)
