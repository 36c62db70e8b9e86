"""The index of the queue in one SQLite file: `Queue` over a writer and a reader."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from pathlib import Path

from postroad.adapters.sqlite_changes import Changes, Claim, Deferral
from postroad.adapters.sqlite_files import cure, open_writable, write_identity
from postroad.adapters.sqlite_log import KEPT, LogWatch
from postroad.adapters.sqlite_reader import SqliteReader
from postroad.adapters.sqlite_slate import Slate, SlateWitness, Span
from postroad.adapters.sqlite_writer import SqliteWriter
from postroad.mail.address import Address
from postroad.mail.idempotency import Known
from postroad.mail.message import Change, Delivery, Instant, Location, Message, Recipient
from postroad.mail.outcome import Outcome
from postroad.mail.quota import Charge
from postroad.mail.routing import Hop
from postroad.ports.queue import Finished, HopDue, Notice, QueueFilter, Restarted, Terms
from postroad.ports.storage import StorageBroken

# Rows of each lane that one transaction puts off: a dead destination with a hundred
# thousand recipients must not hold up everybody else's commit.
DEFER_SLICE = 2000
# Beside the index, in place of its suffix.
SLATE = ".slate"


class SqliteQueue:
    """`Queue`. A component: `run`, `close`. Raises StorageBroken where the file cannot be used.

    What is asked before `run` waits for it. What the slate has of the process before is
    recorded before anybody can ask.
    """

    def __init__(
        self,
        path: Path,
        trouble: Callable[[str], None] = lambda text: None,
        log_kept: int = KEPT,
        identity: tuple[int, int] | None = None,
    ) -> None:
        """`trouble` is told, on the loop, when SQLite's log grows far beyond `log_kept` octets.

        `identity`: of which queue, and of which run of it, the index is from now on.
        """
        connection = self._connection = open_writable(path, log_kept)
        self._log = LogWatch(path, log_kept)
        self._trouble = trouble
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changes = Changes(connection)
        try:
            self._slate = Slate(path.with_suffix(SLATE))
            self._heard = self._take_up(identity)
        except sqlite3.Error as error:
            connection.close()
            raise StorageBroken(f"{path}: {error}{cure(error)}") from error
        except OSError as error:
            connection.close()
            raise StorageBroken(f"{path.with_suffix(SLATE)}: {error}") from error
        except BaseException:
            connection.close()
            raise
        self._writer = SqliteWriter(connection, self._changes.forget, self._committed)
        self._reader = SqliteReader(path)

    async def run(self) -> None:
        """Serve until `close`; raises StorageBroken when the index failed."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._writer.run()
            with suppress(sqlite3.Error):
                await asyncio.to_thread(self._changes.forget_hops)
        finally:
            # The last to leave tidies up, and a reader may not.
            await self._reader.close()
            await asyncio.to_thread(self._writer.end)

    def _committed(self) -> None:
        """In the writer's thread."""
        text = self._log.look()
        if text is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._trouble, text)

    def _take_up(self, identity: tuple[int, int] | None) -> int:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        # Written at each start, so that the log tells from its beginning which queue it is of.
        if identity is not None:
            write_identity(connection, *identity)
        heard = self._changes.heard(self._slate.answered(), time.time())
        connection.execute("COMMIT")
        return heard

    def busy_for(self) -> float:
        """Seconds that the present transaction has taken so far."""
        return self._writer.busy_for()

    def close(self) -> None:
        """Take no more changes; those that wait are still committed."""
        self._writer.close()

    # --- changes -------------------------------------------------------------

    async def add(self, message: Message, recipients: Sequence[Recipient]) -> None:
        await self._writer.submit(self._changes.add, (message, recipients))

    async def accept(self, message: Message, recipients: Sequence[Recipient], terms: Terms) -> None:
        await self._writer.submit(self._changes.accept, ((message, recipients), terms))

    async def claim(self, hop: Hop, now: Instant, limit: int, until: Instant) -> list[Delivery]:
        return await self._writer.submit(self._changes.claim, Claim(hop, now, limit, until))

    async def claim_all(self, hop: Hop, limit: int) -> list[Delivery]:
        return await self._writer.submit(self._changes.claim, Claim(hop, inf, limit, None))

    async def expired(self, now: Instant, limit: int) -> list[Delivery]:
        return await self._writer.submit(self._changes.expired, (now, limit))

    def record(self, changes: Sequence[Change]) -> Awaitable[list[Finished]]:
        return self._writer.submit(self._changes.record, changes)

    async def change(self, changes: Sequence[Change]) -> list[Finished]:
        return await self._writer.submit(self._changes.change, changes)

    async def defer_hop(self, hop: Hop, outcome: Outcome, due: Instant, now: Instant) -> int:
        deferral = Deferral(hop, outcome, due, now, DEFER_SLICE)
        deferred = slice = await self._writer.submit(self._changes.defer, deferral)
        while slice >= DEFER_SLICE and due > now:
            slice = await self._writer.submit(self._changes.defer, deferral)
            deferred += slice
        return deferred

    async def settle(self, message: str, told: Collection[int], notices: Sequence[Notice]) -> bool:
        return await self._writer.submit(self._changes.settle, (message, told, notices))

    async def warned(self, message: str, notices: Sequence[Notice]) -> None:
        await self._writer.submit(self._changes.warned, (message, notices))

    async def move(self, moves: Sequence[tuple[Message, Location]]) -> list[Finished | None]:
        return await self._writer.submit(self._changes.move, moves)

    async def cut_off(self) -> dict[str, tuple[Address, ...]]:
        return await self._writer.submit(self._changes.cut_off, self._left())

    async def restart(self, now: Instant, wait: float) -> Restarted:
        found = await self._writer.submit(self._changes.restart, (now, wait, self._left()))
        self._slate.begin()
        return replace(found, heard=self._heard)

    def _left(self) -> list[Span] | None:
        left = self._slate.left()
        # What was answered and could not be recorded (see `heard`) comes twice for certain.
        return None if left is None else left + self._slate.answered()

    def witness(self) -> SlateWitness:
        return self._slate.witness()

    # --- looks ---------------------------------------------------------------

    async def next_due(self, hop: Hop) -> Instant | None:
        return await self._writer.submit(self._changes.next_due, hop)

    async def delayed(self, now: Instant, limit: int) -> list[Finished]:
        return await self._writer.submit(self._changes.delayed, (now, limit))

    async def unsettled(self, limit: int) -> list[Finished]:
        return await self._writer.submit(self._changes.unsettled, limit)

    async def known(self, account: str, name: str, now: Instant) -> Known | None:
        return await self._reader.known(account, name, now)

    async def keyed(self, now: Instant) -> list[str]:
        return await self._reader.keyed(now)

    async def charges(self, since: int) -> list[Charge]:
        return await self._reader.charges(since)

    async def hops(self) -> list[HopDue]:
        return await self._reader.hops()

    async def find(self, id: str) -> Finished | None:
        return await self._reader.find(id)

    async def select(
        self, filter: QueueFilter, limit: int, after: tuple[str, int] | None = None
    ) -> list[tuple[Message, Recipient]]:
        return await self._reader.select(filter, limit, after)

    async def counts(self) -> dict[str, int]:
        return await self._reader.counts()

    async def movable(self, segment: int) -> list[Message]:
        return await self._reader.movable(segment)

    async def places_in(self, segments: Sequence[int]) -> set[tuple[int, int]]:
        """(segment, offset) of every message in these segments, for `Segments.mark_strangers`."""
        return await self._reader.places_in(segments)

    async def live(self) -> dict[int, tuple[int, int]]:
        """Queued messages and the octets of their records by segment, for `Segments.adopt`."""
        return await self._reader.live()
