"""Looks at the index beside the daemon or without it: read-only, a page at a time.

Each page is a transaction of its own, so that no reader keeps the writer's log from
being copied back, however slowly its pages are consumed.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiosqlite

from postroad.adapters.sqlite_files import BUSY_TIMEOUT, cure, load_queries, load_steps
from postroad.adapters.sqlite_rows import Row, to_attempt, to_message, to_pair, to_recipient
from postroad.mail.address import AddressError, parse_address
from postroad.mail.frozen import dataclass
from postroad.mail.idempotency import Known
from postroad.mail.lifecycle import State
from postroad.mail.message import Instant, Message, Recipient, Trace
from postroad.mail.outcome import Outcome
from postroad.mail.queue_id import QueueIdError, format_id, parse_id
from postroad.mail.quota import Charge
from postroad.mail.routing import Hop
from postroad.ports.queue import Finished, HopDue, QueueFilter
from postroad.ports.storage import StorageBroken

PAGE = 500
FIRST_PAGE = 50

_OPEN_NAMES = {state.name.lower(): state for state in State if state.is_open}


@dataclass(frozen=True, slots=True)
class HopState:
    """What waits for a hop: open recipients by state, the earliest due time of the waiting ones."""

    hop: Hop
    waiting: int
    active: int
    held: int
    due: Instant | None


@dataclass(frozen=True, slots=True)
class Past:
    """An attempt that did not deliver: the `number`-th of recipient `n`."""

    n: int
    number: int
    trace: Trace
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Aged:
    """`count` open recipients that are `units` whole units old.

    `fresh`: not tried yet, and nothing is known to be in the way. `sender` is a domain, None:
    the null sender.
    """

    domain: str
    sender: str | None
    state: State
    fresh: bool
    units: int
    count: int


class SqliteReader:
    """Opens at the first look; `close` when done. Every look raises StorageBroken where it cannot be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sql = load_queries()
        self._connection: aiosqlite.Connection | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> SqliteReader:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._closed = True
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def pages(
        self, filter: QueueFilter, size: int = PAGE
    ) -> AsyncIterator[list[tuple[Message, Recipient]]]:
        """All open recipients that the filter names, in id order."""
        after: tuple[str, int] | None = None
        # Whoever looks sees something at once.
        limit = min(size, FIRST_PAGE)
        while page := await self.select(filter, limit, after):
            yield page
            after = page[-1][1].message, page[-1][1].n
            limit = size

    async def select(
        self, filter: QueueFilter, limit: int, after: tuple[str, int] | None = None
    ) -> list[tuple[Message, Recipient]]:
        """As `Queue.select`."""
        conditions = _conditions(filter)
        if conditions is None:
            return []
        message, n = after or ("0" * 12, -1)
        conditions |= {"message": parse_id(message), "n": n, "limit": limit}
        conditions["at"] = conditions["domain"] or conditions["to_domain"]
        name = "select_ids" if filter.ids else "select_at" if conditions["at"] else "select"
        return [to_pair(row) for row in await self._all(name, conditions)]

    async def find(self, id: str) -> Finished | None:
        """As `Queue.find`; None also for what is not an id."""
        number = _number(id)
        if number is None:
            return None
        rows = await self._all("find_message", (number,))
        recipients = await self._all("recipients_of", (number,))
        # Between the two looks the message may have been settled.
        if not rows or not recipients:
            return None
        return Finished(to_message(rows[0]), tuple(map(to_recipient, recipients)))

    async def attempts(self, id: str) -> list[Past]:
        """The attempts of a message that did not deliver, the latest of each recipient, oldest first."""
        rows = await self._all("attempts_of", (_number(id),))
        return [Past(n, number, *to_attempt(what)) for n, number, what in rows]

    async def ages(self, filter: QueueFilter, now: Instant, tick: float) -> list[Aged]:
        """What is open, by domains, state and age in units of `tick` seconds."""
        conditions = _conditions(filter)
        if conditions is None:
            return []
        rows = await self._all("ages", conditions | {"now": now, "tick": tick})
        return [
            Aged(domain, sender, State(s), fresh != 0, units, c)
            for domain, sender, s, fresh, units, c in rows
        ]

    async def counts(self) -> dict[str, int]:
        """As `Queue.counts`."""
        states = {row[0]: row[1] for row in await self._all("count_states")}
        (row,) = await self._all("count_messages")
        counted = {name: states.get(int(state), 0) for name, state in _OPEN_NAMES.items()}
        return {**counted, "messages": row[0]}

    async def hops(self) -> list[HopDue]:
        """As `Queue.hops`."""
        rows = await self._all("hops")
        return [HopDue(Hop(route, name, tls != 0), due) for route, name, tls, due in rows]

    async def known(self, account: str, name: str, now: Instant) -> Known | None:
        """As `Queue.known`."""
        rows = await self._all("known", (account, name, now))
        return Known(format_id(rows[0][0]), rows[0][1]) if rows else None

    async def keyed(self, now: Instant) -> list[str]:
        """As `Queue.keyed`."""
        return [row[0] for row in await self._all("keyed", (now,))]

    async def charges(self, since: int) -> list[Charge]:
        """As `Queue.charges`."""
        return [Charge(*row) for row in await self._all("charges", (since,))]

    async def hop_states(self) -> list[HopState]:
        """What is open, hop by hop, the most first."""
        found: dict[Hop, dict[State, tuple[int, Instant]]] = {}
        for route, name, tls, state, count, due in await self._all("hop_states"):
            found.setdefault(Hop(route, name, tls != 0), {})[State(state)] = count, due
        states = [_hop_state(hop, counted) for hop, counted in found.items()]
        return sorted(states, key=lambda each: -(each.waiting + each.active + each.held))

    async def sample(self, hop: Hop) -> tuple[Message, Recipient] | None:
        """One of those that wait for a hop."""
        rows = await self._all("sample", (hop.route, hop.name, hop.requiretls))
        return to_pair(rows[0]) if rows else None

    async def places_in(self, segments: Sequence[int]) -> set[tuple[int, int]]:
        """(segment, offset) of every message in these segments."""
        return {(row[0], row[1]) for row in await self._all("places_in", (json.dumps(segments),))}

    async def movable(self, segment: int) -> list[Message]:
        """As `MovingQueue.movable`."""
        return [to_message(row) for row in await self._all("movable", (segment,))]

    async def live(self) -> dict[int, tuple[int, int]]:
        """Messages of the queue and their octets by segment of the spool (see `Segments.adopt`)."""
        return {segment: (messages, octets) for segment, messages, octets in await self._all("live")}

    async def _all(self, name: str, values: Row | dict[str, Any] = ()) -> Sequence[Row]:
        try:
            connection = await self._open()
            return list(await connection.execute_fetchall(self._sql[name], values))
        except (sqlite3.Error, OSError) as error:
            raise StorageBroken(f"{self._path}: {error}{cure(error)}") from error
        except ValueError as error:
            # What aiosqlite says of a connection that was closed under its hands.
            if not self._closed:
                raise
            raise StorageBroken(f"{self._path} is closed") from error

    async def _open(self) -> aiosqlite.Connection:
        async with self._opening:
            if self._closed:
                raise StorageBroken(f"{self._path} is closed")
            if self._connection is None:
                # A connection that fails to open leaves its thread behind for a moment, which then
                # may find the loop closed. The usual failure is known before.
                self._path.stat()
                connection = await aiosqlite.connect(
                    f"file:{quote(str(self._path))}?mode=ro",
                    uri=True,
                    timeout=BUSY_TIMEOUT,
                    isolation_level=None,
                )
                try:
                    await self._check_version(connection)
                except BaseException:
                    await connection.close()
                    raise
                self._connection = connection
            return self._connection

    async def _check_version(self, connection: aiosqlite.Connection) -> None:
        """A look changes nothing, so it cannot bring an index up to date."""
        ((taken,),) = await connection.execute_fetchall("PRAGMA user_version")
        if 0 < taken < len(load_steps()):
            text = "the index is of an earlier version; a (re)start of the daemon brings it up to date"
            raise StorageBroken(f"{self._path}: {text}")


def _number(id: str) -> int | None:
    """None: no message can have that id."""
    try:
        return parse_id(id)
    except QueueIdError:
        return None


def _hop_state(hop: Hop, counted: dict[State, tuple[int, Instant]]) -> HopState:
    none: tuple[int, Instant | None] = (0, None)
    waiting, due = counted.get(State.WAITING, none)
    active, _ = counted.get(State.ACTIVE, none)
    held, _ = counted.get(State.HELD, none)
    return HopState(hop, waiting, active, held, due)


def _conditions(filter: QueueFilter) -> dict[str, Any] | None:
    """The filter as values of the query; None when it cannot match anything."""
    null_sender = filter.sender in ("", "<>")
    try:
        to = None if filter.to is None else parse_address(filter.to, smtputf8=True)
        named = None if null_sender else filter.sender
        sender = None if named is None else parse_address(named, smtputf8=True)
        state = None if filter.state is None else _OPEN_NAMES[filter.state]
    except (AddressError, KeyError):
        return None
    return {
        "ids": json.dumps([number for number in map(_number, filter.ids) if number is not None]),
        "state": state,
        "domain": filter.domain and filter.domain.lower(),
        "to_local": to and to.local,
        "to_domain": to and to.domain,
        "sender_local": sender and sender.local,
        "sender_domain": sender and sender.domain,
        "null_sender": 1 if null_sender else None,
        "older_than": filter.older_than,
        "sites": json.dumps([*filter.sites, *map(str.lower, filter.sites)]) if filter.sites else None,
    }
