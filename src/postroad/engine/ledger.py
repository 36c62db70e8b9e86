"""What an attempt meant, written down: outcome and next time of every recipient, in one transaction.

When it is tried next is decided in `mail.backoff`. A change is in the writer's
hands before anything is awaited, so that nobody who is cancelled can lose a
reply that was heard.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from postroad.mail.backoff import Over, RetryPolicy, next_attempt
from postroad.mail.events import Removed, StorageTrouble, Tried
from postroad.mail.lifecycle import Happening, State, step
from postroad.mail.message import Attempt, Change, Delivery, Instant, Notify, Recipient
from postroad.mail.outcome import Kind, Outcome
from postroad.mail.routing import Hop
from postroad.ports.clock import Clock
from postroad.ports.events import Events
from postroad.ports.queue import Finished, Queue
from postroad.ports.spool import Spool
from postroad.ports.storage import StorageFull

RETRY_FULL_DISK = 1.0

_HAPPENING = {
    Kind.DELIVERED: Happening.DELIVERED,
    Kind.DEFERRED: Happening.DEFERRED,
    Kind.FAILED: Happening.FAILED,
}


class Ledger:
    def __init__(
        self,
        queue: Queue,
        spool: Spool,
        clock: Clock,
        events: Events,
        chance: random.Random,
        retry: RetryPolicy,
        due: Callable[[Hop, Instant], None],
        finished: Callable[[Finished], None],
    ) -> None:
        self._queue = queue
        self._spool = spool
        self._clock = clock
        self._events = events
        self._chance = chance
        self._retry = retry
        self._due = due
        self._finished = finished
        self._open: set[asyncio.Future[list[Finished]]] = set()
        self._owed: list[Change] = []
        self._trouble = asyncio.Event()
        self._broken: BaseException | None = None
        self._closing = False

    def reload(self, retry: RetryPolicy) -> None:
        self._retry = retry

    def attempted(self, attempt: Attempt, retry_at: Instant | None = None) -> asyncio.Future[list[Finished]]:
        """Store an attempt. The future is done when it is durable; nobody has to await it.

        `retry_at`: the site is paused until then, and what failed with it is tried
        when the pause ends, whatever its own schedule says.
        """
        changes = [
            self._after(attempt, recipient, outcome, retry_at)
            for recipient, outcome in zip(attempt.delivery.recipients, attempt.outcomes, strict=True)
        ]
        future = self._hand_over(changes, attempt.delivery)
        # Nothing that was tried is held: what is open, waits.
        next_due = tuple([change.due if change.state is State.WAITING else None for change in changes])
        # The last attempt of a message is told as its end.
        verdicts = tuple(
            [change.outcome or was for change, was in zip(changes, attempt.outcomes, strict=True)]
        )
        told = attempt if verdicts == attempt.outcomes else replace(attempt, outcomes=verdicts)
        self._events.emit(Tried(told, next_due))
        waiting = [due for due in next_due if due is not None]
        if waiting:
            self._due(attempt.delivery.hop, min(waiting))
        return future

    def _after(
        self, attempt: Attempt, recipient: Recipient, outcome: Outcome, retry_at: Instant | None
    ) -> Change:
        message, at = attempt.delivery.message, attempt.finished
        first, hints, due, attempts = (
            recipient.first_greylisted,
            recipient.hints_used,
            at,
            recipient.attempts,
        )
        if outcome.kind is Kind.DEFERRED:
            decision = next_attempt(
                self._retry,
                outcome,
                attempts=attempts,
                received_at=message.begins_at,
                expires_at=message.expires_at,
                first_greylisted=first,
                hints_used=hints,
                now=at,
                spread=self._chance.random(),
            )
            if isinstance(decision, Over):
                outcome = decision.outcome
            else:
                due = decision.due if retry_at is None else min(retry_at, message.expires_at)
                attempts = decision.attempts
                first, hints = decision.first_greylisted, decision.hints_used
        return Change(
            message=message.id,
            n=recipient.n,
            state=step(State.ACTIVE, _HAPPENING[outcome.kind]),
            due=due,
            attempts=attempts,
            outcome=outcome,
            at=at,
            first_greylisted=first,
            hints_used=hints,
            trace=None if outcome.kind is Kind.DELIVERED else attempt.trace(outcome),
        )

    def ended(self, delivery: Delivery, outcomes: tuple[Outcome, ...]) -> asyncio.Future[list[Finished]]:
        """Claimed recipients that end without an attempt: no such domain, too old, sent on."""
        return self.attempted(Attempt.unasked(delivery, outcomes, self._clock.now()))

    def put_back(
        self,
        deliveries: Sequence[Delivery],
        due: Instant,
        outcome: Outcome | None = None,
        *,
        counted: bool = True,
    ) -> None:
        """Claimed and not tried: waiting again, the attempt that the claim `counted` taken off.

        `outcome` is why, for people who ask; None keeps what was there.
        """
        changes = [
            Change(
                message=delivery.message.id,
                n=recipient.n,
                state=step(State.ACTIVE, Happening.RETURNED),
                due=due,
                attempts=recipient.attempts - counted,
                outcome=outcome,
                at=self._clock.now(),
                first_greylisted=recipient.first_greylisted,
                hints_used=recipient.hints_used,
            )
            for delivery in deliveries
            for recipient in delivery.recipients
        ]
        if changes:
            self._hand_over(changes)
        for hop in {delivery.hop for delivery in deliveries}:
            self._due(hop, due)

    def _hand_over(
        self, changes: Sequence[Change], delivery: Delivery | None = None
    ) -> asyncio.Future[list[Finished]]:
        future = asyncio.ensure_future(self._queue.record(changes))
        self._open.add(future)
        future.add_done_callback(partial(self._stored, changes, delivery))
        return future

    def _stored(
        self, changes: Sequence[Change], delivery: Delivery | None, future: asyncio.Future[list[Finished]]
    ) -> None:
        self._open.discard(future)
        if future.cancelled():
            return
        error = future.exception()
        if isinstance(error, StorageFull):
            self._owed.extend(changes)
            self._trouble.set()
        elif error is not None:
            self._broken = error
            self._trouble.set()
        else:
            closed = future.result()
            if delivery is not None and not closed:
                self._spool.done(delivery.message, _settled(delivery, changes))
            for finished in closed:
                self._close_book(finished)

    def _close_book(self, finished: Finished) -> None:
        if finished.recipients:
            self._finished(finished)
            return
        self._spool.release(finished.message)
        self._events.emit(Removed(finished.message.id))

    async def run(self) -> None:
        """Offers again what a full disk refused; ends with the error when storage broke."""
        while not self._closing:
            await self._trouble.wait()
            self._trouble.clear()
            if self._broken is not None:
                raise self._broken
            if self._owed and not self._closing:
                text = f"{len(self._owed)} outcomes wait for room on the disk"
                self._events.emit(StorageTrouble("record", text))
                await asyncio.sleep(RETRY_FULL_DISK)
                self._pay()

    def _pay(self) -> None:
        """Hand over again what was refused, all together."""
        owed, self._owed = self._owed, []
        if owed:
            self._hand_over(owed)

    async def close(self) -> None:
        """Returns when all that was handed over is durable, or cannot be.

        What a full disk refuses to the last stays claimed: the next start finds it.
        """
        await self._stored_all()
        self._pay()
        await self._stored_all()
        self._owed.clear()
        self._closing = True
        self._trouble.set()

    async def _stored_all(self) -> None:
        while self._open:
            await asyncio.wait(self._open)


def _settled(delivery: Delivery, changes: Sequence[Change]) -> list[int]:
    """Of a delivery's recipients those that are delivered, and of whom nobody is to be told."""
    return [
        change.n
        for recipient, change in zip(delivery.recipients, changes, strict=True)
        if change.state is State.DELIVERED and not (recipient.notify and Notify.SUCCESS in recipient.notify)
    ]
