"""The one writer of the index: changes that wait become one transaction.

A *kind* of change is a function of the connection that takes the arguments of all
changes of its kind in a burst and answers them in that order. Nobody has heard the
answer of a change before its burst is committed, so kinds may be put together:
the order within a kind is kept, that between kinds is not promised.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

from postroad.adapters.group_commit import GroupCommit
from postroad.adapters.sqlite_files import BUSY_TIMEOUT, cure
from postroad.ports.storage import StorageBroken, StorageFull

Argument = TypeVar("Argument")
Result = TypeVar("Result")
Kind = Callable[[Sequence[Argument]], Sequence[Result]]
Work = tuple[Kind[Any, Any], Any]

# Seconds for those that come after one that has waited in vain.
HURRIED = 0.1
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
# Busy and locked: another program holds the write lock for long; nothing was changed.
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM)
_HARMLESS = (
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
    sqlite3.SQLITE_ERROR,
)


class SqliteWriter:
    """Bursts over one connection, which belongs to the writer's thread from `run` on."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        rolled_back: Callable[[], None],
        committed: Callable[[], None] = lambda: None,
    ) -> None:
        """In the thread `committed` is called after each transaction, `rolled_back` after one that was
        undone: what was remembered of it is void."""
        self._connection = connection
        self._rolled_back = rolled_back
        self._committed = committed
        # As it was opened.
        self._patience = BUSY_TIMEOUT
        self._commits = GroupCommit[Work, Any]("index", self._commit)

    def submit(self, kind: Kind[Argument, Result], argument: Argument) -> asyncio.Future[Result]:
        """The change is the writer's before this returns; answered once it is durable.

        Raises StorageFull (nothing changed), StorageBroken, or what `kind` raised.
        """
        return cast("asyncio.Future[Result]", self._commits.submit((kind, argument)))

    async def run(self) -> None:
        """Serve until `close`; raises StorageBroken when the index failed."""
        await self._commits.run()

    def busy_for(self) -> float:
        return self._commits.busy_for()

    def close(self) -> None:
        """Take no more; what waits is still committed."""
        self._commits.close()

    def end(self) -> None:
        """After `run`, with no reader of ours left: copies the log into the index, removes it. Blocks."""
        with suppress(sqlite3.Error):
            self._connection.close()

    # --- in the thread ---------------------------------------------------------

    def _commit(self, burst: Sequence[Work]) -> Sequence[Any]:
        try:
            return self._together(burst)
        except Exception as error:
            translated = _translate(error)
            locked = isinstance(error, sqlite3.Error) and _code(error) in _LOCKED
            if locked:
                # What holds it for so long may hold it for ever: those that come next wait less.
                self._wait_for_lock(HURRIED)
            if locked or len(burst) == 1:
                return [translated] * len(burst)
        # One of them is at fault, and fails alone. This pays for savepoints only when one is needed.
        return [self._commit([work])[0] for work in burst]

    def _together(self, burst: Sequence[Work]) -> Sequence[Any]:
        results: list[Any] = [None] * len(burst)
        self._connection.execute("BEGIN IMMEDIATE")
        self._wait_for_lock(BUSY_TIMEOUT)
        try:
            for kind, places in _by_kind(burst).items():
                answers = kind([burst[place][1] for place in places])
                for place, answer in zip(places, answers, strict=True):
                    results[place] = answer
            self._connection.execute("COMMIT")
        except BaseException:
            self._undo()
            raise
        self._committed()
        return results

    def _wait_for_lock(self, seconds: float) -> None:
        if seconds != self._patience:
            self._patience = seconds
            self._connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")

    def _undo(self) -> None:
        # A full disk makes SQLite roll back by itself, and a second ROLLBACK an error.
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._rolled_back()


def _by_kind(burst: Sequence[Work]) -> dict[Kind[Any, Any], list[int]]:
    places: dict[Kind[Any, Any], list[int]] = {}
    for place, (kind, _) in enumerate(burst):
        places.setdefault(kind, []).append(place)
    return places


def _code(error: sqlite3.Error) -> int:
    # Errors of the module itself (a closed connection, a value it cannot bind) have no code.
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _translate(error: Exception) -> Exception:
    """What to tell the one whose change it was; raises StorageBroken when nobody can go on."""
    if not isinstance(error, sqlite3.Error):
        return error
    code = _code(error)
    if code in _FULL:
        return StorageFull(f"index: {error}")
    if code in _HARMLESS:
        return ValueError(f"index: {error}")
    raise StorageBroken(f"index: {error}{cure(error)}") from error
