"""One SMTP connection to a site: a worker that pulls deliveries until there is a reason to stop."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from typing import Protocol

from postroad.engine import delivery as transactions
from postroad.engine.surroundings import Surroundings
from postroad.mail.classify import judge
from postroad.mail.events import InternalError, StorageTrouble
from postroad.mail.message import Attempt, Delivery, Instant, Seconds
from postroad.mail.outcome import Fault, Kind, Outcome, Reason, Stage, Trouble
from postroad.mail.routing import Endpoint
from postroad.mail.throttle import Limits
from postroad.ports.queue import Finished
from postroad.ports.storage import StorageBroken
from postroad.ports.transport import Session

_UNWELCOME = frozenset({Reason.BLOCK, Reason.SPAM, Reason.POLICY, Reason.AUTH})


class Work(Protocol):
    """What a connection needs of its site."""

    def take(self, door: str) -> Delivery | None:
        """The next delivery that may go through this door, an `Outcome.host`, if one is ready."""
        ...

    def wait(self, door: str) -> asyncio.Future[Delivery]:
        """Resolved with a delivery when one comes, cancelled when the connection is to end."""
        ...

    def stop_waiting(self, waiter: asyncio.Future[Delivery]) -> None: ...

    def give_back(self, delivery: Delivery) -> None:
        """Not tried: to be sent over another connection, at once."""
        ...

    def learned(self, outcomes: Sequence[Outcome], endpoint: Endpoint) -> None:
        """What a delivery says about the site, and about this host of it."""
        ...


class Connection:
    def __init__(
        self, work: Work, session: Session, connected: Seconds, limits: Limits, around: Surroundings
    ) -> None:
        """`connected`: what it took to open."""
        self._work = work
        self._session = session
        self._connected = connected
        self._limits = limits
        self._spool = around.spool
        self._ledger = around.ledger
        self._witness = around.queue.witness()
        self._clock = around.clock
        self._events = around.events
        self._rules = around.rules
        self._door = str(session.endpoint)
        self._opened: Instant = around.clock.now()
        most = limits.messages_per_connection
        self._most_uses = min(session.capabilities.mail_max or most, most)
        self._most_domains = session.capabilities.rcpt_domain_max
        self._domains: set[str] = set()
        self._uses = 0
        # Of no use any more, whatever the peer thinks.
        self._spoiled = False

    async def run(self) -> None:
        """Deliver until nothing comes, the connection is worn out or it is of no use any more."""
        try:
            await self._deliver_all()
        finally:
            self._witness.close()

    async def _deliver_all(self) -> None:
        stored: asyncio.Future[list[Finished]] | None = None
        while not self._worn_out():
            delivery = self._work.take(self._door) or await self._next()
            if delivery is not None and self._most_domains:
                delivery = self._within_domains(delivery)
            if delivery is None:
                break
            # An outcome is durable before the delivery after the next begins: one
            # commit's worth may be repeated after a crash, never more.
            if stored is not None and not stored.done():
                await _ended(stored)
            self._uses += 1
            stored = await self._deliver(delivery, self._clock.now())
            if self._spoiled or not self._session.usable:
                break

    def _within_domains(self, delivery: Delivery) -> Delivery | None:
        """What of it this session may still be asked to take; the rest is for another session."""
        fits: list[int] = []
        rest: list[int] = []
        for n, recipient in enumerate(delivery.recipients):
            domain = recipient.address.domain
            fit = domain in self._domains or len(self._domains) < self._most_domains
            if fit:
                self._domains.add(domain)
            (fits if fit else rest).append(n)
        if not rest:
            return delivery
        self._spoiled = True
        self._work.give_back(delivery.only(rest))
        return delivery.only(fits) if fits else None

    def _worn_out(self) -> bool:
        if self._uses >= self._most_uses:
            return True
        return self._clock.now() - self._opened >= self._limits.connection_lifetime

    async def _next(self) -> Delivery | None:
        waiter = self._work.wait(self._door)
        closed = asyncio.ensure_future(self._session.wait_closed())
        try:
            await asyncio.wait(
                (waiter, closed), timeout=self._limits.idle_timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            closed.cancel()
            self._work.stop_waiting(waiter)
            if waiter.done() and not waiter.cancelled() and not self._session.usable:
                self._work.give_back(waiter.result())
        if not waiter.done() or waiter.cancelled() or not self._session.usable:
            return None
        return waiter.result()

    async def _deliver(self, delivery: Delivery, started: Instant) -> asyncio.Future[list[Finished]] | None:
        """The one place that survives a bug: a poisonous message must not stop the mail."""
        most = self._limits.recipients_per_transaction
        try:
            try:
                stored = await self._spool.read(delivery.message.location, delivery.message.id)
            except OSError as error:
                return self._unreadable(delivery, started, error)
            outcomes, gone = await transactions.send(
                self._session, delivery, stored, self._rules, most, started, self._witness
            )
            if gone and self._uses > 1:
                self._work.give_back(delivery)
                return None
            return self._tell(delivery, started, outcomes)
        except StorageBroken:
            raise
        except Exception as error:
            self._events.emit(InternalError("delivery", repr(error), traceback.format_exc()))
            # Who knows what was said and heard: the session is not used again.
            self._spoiled = True
            text = f"internal error: {type(error).__name__}"
            return self._gave_up(delivery, started, Trouble(Stage.LOCAL, Fault.INTERNAL, text))

    def _unreadable(
        self, delivery: Delivery, started: Instant, error: OSError
    ) -> asyncio.Future[list[Finished]]:
        text = f"cannot read {delivery.message.id} from the spool: {error}"
        self._events.emit(StorageTrouble("read", text))
        return self._gave_up(delivery, started, Trouble(Stage.LOCAL, Fault.INTERNAL, text))

    def _tell(
        self, delivery: Delivery, started: Instant, outcomes: Sequence[Outcome | None]
    ) -> asyncio.Future[list[Finished]] | None:
        verdicts = tuple([outcome for outcome in outcomes if outcome is not None])
        if len(verdicts) < len(outcomes):
            tried = [n for n, outcome in enumerate(outcomes) if outcome is not None]
            left = [n for n, outcome in enumerate(outcomes) if outcome is None]
            self._work.give_back(delivery.only(left))
            if not tried:
                return None
            delivery = delivery.only(tried)
        future = self._ledger.attempted(self._attempt(delivery, started, verdicts))
        self._work.learned(verdicts, self._session.endpoint)
        if verdicts[0].kind is Kind.FAILED and _is_unwelcome(verdicts[0]):
            self._spoiled = True
        return future

    def _gave_up(
        self, delivery: Delivery, started: Instant, trouble: Trouble
    ) -> asyncio.Future[list[Finished]]:
        outcome = judge(trouble.stage, trouble, None, self._rules)
        return self._ledger.attempted(self._attempt(delivery, started, (outcome,) * len(delivery.recipients)))

    def _attempt(self, delivery: Delivery, started: Instant, outcomes: tuple[Outcome, ...]) -> Attempt:
        return Attempt(
            delivery=delivery,
            endpoint=self._session.endpoint,
            tls=self._session.tls,
            started=started,
            finished=self._clock.now(),
            outcomes=outcomes,
            connected=self._connected if self._uses == 1 else 0.0,
            uses=self._uses,
            steps=self._session.steps if self._uses == 1 else (),
        )


def _is_unwelcome(outcome: Outcome) -> bool:
    """Whether the peer wants nothing of this sender, and nothing more is to be tried with it now."""
    return outcome.stage is Stage.MAIL and outcome.reason in _UNWELCOME


async def _ended(future: asyncio.Future[list[Finished]]) -> None:
    """Until it is done, however; cancelling the wait leaves it alone. `asyncio.wait` costs 20 us."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def rouse(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    future.add_done_callback(rouse)
    await waiter
