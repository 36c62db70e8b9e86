"""What an operator may ask and change, while the daemon runs.

Recipients in an attempt are left alone: the attempt says what becomes of them.
"""

from __future__ import annotations

from collections.abc import Callable

from postroad.engine.bounces import Bounces
from postroad.engine.scheduler import Scheduler
from postroad.engine.sites import Sites
from postroad.mail.events import Operated, Removed
from postroad.mail.frozen import dataclass
from postroad.mail.lifecycle import Happening, ImpossibleStep, State, step
from postroad.mail.message import Change, Instant, Message, Recipient
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.ports import Clock, Events, ImpossibleOperation, Queue, QueueFilter, Spool

PAGE = 500
NAMED_IN_LOG = 20
BY_OPERATOR = Outcome(
    Kind.FAILED, Scope.RECIPIENT, Reason.CANCELLED, "5.7.0", "returned by the operator", Stage.LOCAL
)


@dataclass(frozen=True, slots=True)
class Operation:
    """What a verb does to a recipient, and from which states."""

    happening: Happening | None
    outcome: Outcome | None = None


OPERATIONS = {
    "retry": Operation(None),
    "hold": Operation(Happening.HELD),
    "release": Operation(Happening.RELEASED),
    "delete": Operation(Happening.CANCELLED),
    "bounce": Operation(Happening.FAILED, BY_OPERATOR),
}


class QueueControl:
    """`ports.Control`."""

    def __init__(
        self,
        *,
        queue: Queue,
        spool: Spool,
        scheduler: Scheduler,
        sites: Sites,
        bounces: Bounces,
        clock: Clock,
        events: Events,
        facts: Callable[[], dict[str, object]],
    ) -> None:
        """`facts` are what the daemon knows of itself: version, listeners, since when."""
        self._queue = queue
        self._spool = spool
        self._scheduler = scheduler
        self._sites = sites
        self._bounces = bounces
        self._clock = clock
        self._events = events
        self._facts = facts

    async def status(self) -> dict[str, object]:
        counts = await self._queue.counts()
        return {
            **self._facts(),
            **counts,
            "connections": self._sites.connections(),
            "paused": [
                {"site": site, "until": until, "reason": why} for site, until, why in self._sites.paused()
            ],
        }

    async def operate(self, verb: str, filter: QueueFilter, uid: int | None) -> list[tuple[str, str]]:
        operation = OPERATIONS.get(verb)
        if operation is None:
            raise ImpossibleOperation(f"unknown verb {verb!r}")
        done: list[tuple[str, str]] = []
        after: tuple[str, int] | None = None
        while page := await self._queue.select(filter, PAGE, after):
            last = page[-1][1]
            after = (last.message, last.n)
            # What its sender scheduled goes early only when an operator names it.
            named = bool(filter.ids) and operation.happening is None
            rows = [(recipient, None if named else _held_until(message)) for message, recipient in page]
            done += await self._change(operation, rows)
        ids = tuple(dict.fromkeys(id for id, _ in done))[:NAMED_IN_LOG]
        self._events.emit(Operated(verb, len(done), uid, ids))
        return done

    async def _change(
        self, operation: Operation, rows: list[tuple[Recipient, Instant | None]]
    ) -> list[tuple[str, str]]:
        now = self._clock.now()
        changed = [
            (row, change)
            for row, until in rows
            if (change := _changed(operation, row, now, until)) is not None
        ]
        for finished in await self._queue.change([change for _, change in changed]):
            if finished.recipients:
                self._bounces.put(finished)
            else:
                self._spool.release(finished.message)
                self._events.emit(Removed(finished.message.id))
        for row, change in changed:
            if change.state is State.WAITING:
                if change.due <= now:
                    self._sites.resume(row.hop)
                self._scheduler.due(row.hop, change.due)
        return [(row.message, str(row.address)) for row, _ in changed]


def _held_until(message: Message) -> Instant | None:
    return None if message.handling is None else message.handling.hold_until


def _changed(operation: Operation, row: Recipient, now: Instant, until: Instant | None) -> Change | None:
    """The row after the operation; None where its state, or its sender's schedule, does not allow it."""
    if row.state is State.ACTIVE:
        return None
    if operation.happening is None:
        if row.state is not State.WAITING or (until is not None and until > now):
            return None
        state = State.WAITING
    else:
        try:
            state = step(row.state, operation.happening)
        except ImpossibleStep:
            return None
    return Change(
        message=row.message,
        n=row.n,
        state=state,
        due=max(now, until or now) if state is State.WAITING else row.due,
        attempts=row.attempts,
        outcome=operation.outcome,
        at=now,
        first_greylisted=row.first_greylisted,
        hints_used=row.hints_used,
    )
