"""One site: its throttle, what is ready for it, and when a connection opens or claims are made.

The counter, not the connections, enforces the limit: a slot is taken before the
connect and given back when the socket is closed. Plan, then room, then claim:
nothing is taken from the queue that could not be sent now.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Sequence

from postroad.engine.backlog import Backlog
from postroad.engine.connection import Connection
from postroad.engine.doorstep import Doorstep, Unreachable, unforeseen
from postroad.engine.idlers import Idlers
from postroad.engine.ready import Ready
from postroad.engine.surroundings import Surroundings
from postroad.mail import throttle
from postroad.mail.events import InternalError, SitePaused, SiteResumed
from postroad.mail.health import PATIENCE
from postroad.mail.message import Attempt, Delivery, Instant, Lane, Recipient
from postroad.mail.mx import Plan
from postroad.mail.outcome import GREYLISTING, Kind, Outcome, Reason, Scope
from postroad.mail.routing import Endpoint, Hop, Route
from postroad.mail.throttle import Full, Go, Limits, NotBefore
from postroad.mail.why import Live
from postroad.ports.storage import StorageBroken

# Claimed deliveries a site may hold in memory, twice as many with urgent ones;
# below the low mark it claims more.
READY_MOST = 256
READY_LOW = 16
# What is claimed at once: as many recipients as one transaction takes.
SLICE = 100
# What is ready waits so long for the open connections before another opens.
IMPATIENT_AFTER = 1.0


class Site:
    __slots__ = (
        "_around",
        "_backlog",
        "_closing",
        "_connecting",
        "_doorstep",
        "_idlers",
        "_impatience",
        "_limits",
        "_ready",
        "_reserved",
        "_route",
        "_state",
        "plan",
    )

    def __init__(self, plan: Plan, route: Route, limits: Limits, around: Surroundings) -> None:
        self.plan = plan
        self._route = route
        self._limits = limits
        self._around = around
        self._state = throttle.opened(limits)
        self._doorstep = Doorstep(
            around.transport, around.rules, around.clock, patience=min(PATIENCE, limits.pause_first * 5)
        )
        self._ready = Ready(SLICE)
        self._reserved = 0
        self._backlog = Backlog(around, self._room_for_claims, self.put)
        self._idlers = Idlers(around.connections)
        self._connecting: set[asyncio.Task[None]] = set()
        self._impatience: asyncio.TimerHandle | None = None
        self._closing = False

    def reload(self, route: Route, limits: Limits) -> None:
        """Other limits or credentials: for connections opened from now on."""
        if route != self._route:
            self.resume()
        self._route = route
        self._limits = limits

    # --- what the scheduler and intake ask ----------------------------------------

    @property
    def is_idle(self) -> bool:
        """Nothing here worth remembering: it may be forgotten."""
        return not (
            self._state.busy
            or self._ready.count
            or self._reserved
            or not self._backlog.is_idle
            or self._state.paused_until is not None
            or self._state.cap is not None
        )

    @property
    def busy(self) -> int:
        """Connections open or opening."""
        return self._state.busy

    def live(self) -> Live:
        """How it stands, for who asks why something waits."""
        state, slots = self._state, self._around.connections
        return Live(
            site=str(self.plan.site),
            pause=self.paused(),
            busy=state.busy,
            window=throttle.allowed(state, self._limits, self._around.clock.now()),
            limit=self._limits.connections,
            capped=state.capped if state.cap is not None else None,
            capped_at=state.capped_at,
            ready=self._ready.count,
            full=slots.full,
            most=slots.most,
        )

    def in_line(self, recipient: Recipient) -> bool:
        """Whether it is claimed, and no connection has taken it yet."""
        return self._ready.holds(recipient)

    def paused(self) -> NotBefore | None:
        """When and why not before, while the site is paused."""
        if self._state.paused_until is None:
            return None
        answer = throttle.room(self._state, self._limits, self._around.clock.now())
        return answer if isinstance(answer, NotBefore) else None

    def reserve(self, lane: Lane) -> bool:
        """Whether a message that is being accepted may be put here already claimed.

        Not past others: what waits in the queue for this site goes first. Urgent mail
        passes: it would else wait behind everything that is claimed already.
        """
        if self._closing or self._state.paused_until is not None:
            return False
        urgent = lane is Lane.TRANSACTIONAL
        if len(self._backlog) and not urgent:
            return False
        if self._ready.count + self._reserved >= READY_MOST * (1 + urgent):
            return False
        self._reserved += 1
        return True

    def unreserve(self) -> None:
        self._reserved -= 1

    def put(self, delivery: Delivery) -> None:
        """A claimed delivery: to a connection that idles, or to the ready ones."""
        self._line_up(delivery, self._ready.put)

    def offer(self, hop: Hop) -> None:
        """A due hop takes its turn in the ring of those that share this site."""
        if self._closing:
            return
        self._backlog.add(hop)
        pause = self.paused()
        if pause is None:
            self._backlog.refill()
        else:
            self._backlog.put_off(pause)

    def resume(self) -> None:
        """An operator asks for a try now: one probe, whatever was held against the site."""
        self._doorstep.forget()
        self._state = throttle.woken(self._state, self._around.clock.now())

    # --- what a connection asks ------------------------------------------------------

    def take(self, door: str) -> Delivery | None:
        if self._closing:
            return None
        delivery = self._ready.take(door)
        if self._ready.count < READY_LOW:
            self._backlog.refill()
        return delivery

    def wait(self, door: str) -> asyncio.Future[Delivery]:
        waiter = self._idlers.wait(door)
        if self._closing:
            waiter.cancel()
        return waiter

    def stop_waiting(self, waiter: asyncio.Future[Delivery]) -> None:
        self._idlers.stop_waiting(waiter)

    def give_back(self, delivery: Delivery) -> None:
        self._line_up(delivery, self._ready.put_first)

    def _line_up(self, delivery: Delivery, put: Callable[[Delivery, str | None], None]) -> None:
        if self._closing or self.paused() is not None:
            self._return([delivery])
            return
        door = self._door_of(delivery)
        if not self._idlers.give(delivery, door):
            put(delivery, door)
            self._open_connections()

    def _door_of(self, delivery: Delivery) -> str | None:
        """The door that greylisted it: a retry must knock there, for the others may not know of it."""
        last = delivery.recipients[0].last
        if last is None or last.reason not in GREYLISTING or len(self.plan.endpoints) < 2:
            return None
        return last.host

    def learned(self, outcomes: Sequence[Outcome], endpoint: Endpoint) -> None:
        was_paused = self._state.paused_until is not None
        if outcomes[0].kind is Kind.DELIVERED or any(o.kind is Kind.DELIVERED for o in outcomes):
            self._state = throttle.succeeded(self._state, self._limits)
            self._doorstep.served(endpoint)
        elif trouble := next((o for o in outcomes if _is_site_trouble(o)), None):
            if trouble.reply is None:
                self._doorstep.lost(endpoint)
            pause = self._troubled(trouble)
            if pause is not None:
                self._rest(pause)
        else:
            self._state = throttle.answered(self._state)
        if was_paused and self._state.paused_until is None:
            self._around.events.emit(SiteResumed(str(self.plan.site)))
        self._go_on()

    # --- connections -----------------------------------------------------------------

    def _go_on(self) -> None:
        if self._ready.count:
            self._open_connections()
        else:
            self._backlog.refill()

    def _open_connections(self, impatient: bool = False) -> None:
        """Open while there is more ready than the open ones will soon have taken."""
        while not self._closing and self._ready.count:
            if not impatient and self._soon_taken():
                self._be_patient()
                return
            if not self._has_room():
                # Who idles now does so at a door through which nothing that waits may go.
                self._idlers.send_one_away()
                return
            impatient = False
            self._state = throttle.started(self._state)
            self._around.spawn(self._connection())

    def _has_room(self) -> bool:
        """Whether one more may open. Bulk mail alone leaves the last place to what is more urgent."""
        now = self._around.clock.now()
        room = throttle.room(self._state, self._limits, now)
        if not isinstance(room, Go):
            return False
        if room.slots > 1 or self._ready.has(Lane.TRANSACTIONAL) or self._ready.has(Lane.NORMAL):
            return True
        return throttle.allowed(self._state, self._limits, now) < 2

    def _soon_taken(self) -> bool:
        """Less than two deliveries for each connection; with urgent mail, less than one."""
        busy, waiting = self._state.busy, self._ready.count
        return waiting < busy or (waiting < 2 * busy and not self._ready.has(Lane.TRANSACTIONAL))

    def _be_patient(self) -> None:
        """Should nothing be taken for a while (a transaction may last ten minutes), one more opens."""
        if self._impatience is None:
            loop = asyncio.get_running_loop()
            self._impatience = loop.call_later(IMPATIENT_AFTER, self._lose_patience, self._ready.takes)

    def _lose_patience(self, takes: int) -> None:
        self._impatience = None
        # One that is still connecting will take what waits.
        self._open_connections(impatient=takes == self._ready.takes and not self._connecting)

    async def _connection(self) -> None:
        try:
            async with self._around.connections.one(self._ready.lane):
                if not self._closing and self._ready.count:
                    await self._connect_and_work()
        finally:
            self._state = throttle.finished(self._state)
        self._go_on()

    async def _connect_and_work(self) -> None:
        around = self._around
        started = around.clock.now()
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        self._connecting.add(task)
        try:
            wanted = self._ready.bound
            async with self._doorstep.session(self.plan, self._route, wanted) as session:
                self._connecting.discard(task)
                if wanted is not None and str(session.endpoint) != wanted:
                    self._ready.unbind(wanted)
                took = around.clock.now() - started
                connection = Connection(self, session, took, self._limits, around)
                await connection.run()
        except Unreachable as failed:
            self._unreachable(failed, started)
        except StorageBroken:
            raise
        except Exception as error:
            # A bug that one site brings out is trouble of that site.
            around.events.emit(InternalError("connection", repr(error), traceback.format_exc()))
            self._unreachable(unforeseen(error, around.rules), started)
        finally:
            self._connecting.discard(task)

    def _unreachable(self, failed: Unreachable, started: Instant) -> None:
        """Every endpoint failed. When that pauses the site, one delivery is told it was tried."""
        if failed.outcome.kind is Kind.FAILED:
            # No endpoint is what the senders require: nothing that waits here will ever be sent.
            for delivery in self._ready.clear():
                self._tell(delivery, failed.outcome, failed.endpoint, started)
            return
        pause = self._troubled(failed.outcome)
        if pause is not None:
            ready = self._ready.clear()
            for delivery in ready[:1]:
                self._tell(delivery, failed.outcome, failed.endpoint, started, retry_at=pause.at)
            self._return(ready[1:])
            self._rest(pause)

    def _tell(
        self,
        delivery: Delivery,
        outcome: Outcome,
        endpoint: Endpoint | None,
        started: Instant,
        retry_at: Instant | None = None,
    ) -> None:
        around = self._around
        attempt = Attempt(
            delivery=delivery,
            endpoint=endpoint,
            tls=None,
            started=started,
            finished=around.clock.now(),
            outcomes=(outcome,) * len(delivery.recipients),
        )
        around.ledger.attempted(attempt, retry_at=retry_at)

    # --- trouble and pauses ------------------------------------------------------------

    def _troubled(self, outcome: Outcome) -> NotBefore | None:
        """The pause that begins with this trouble of the site, if one does."""
        around = self._around
        now = around.clock.now()
        before = self.paused()
        if outcome.reason is Reason.CONNECTIONS:
            self._state = throttle.too_many(self._state, now, outcome)
        else:
            self._state = throttle.troubled(self._state, outcome, self._limits, now, around.chance.random())
        pause = self.paused()
        if pause is None or pause == before:
            return None
        around.events.emit(SitePaused(str(self.plan.site), pause.at, outcome.text))
        return pause

    def _rest(self, pause: NotBefore) -> None:
        """Until the pause ends all that waits is in the queue, and says why."""
        self._return(self._ready.clear())
        self._backlog.put_off(pause)

    def _return(self, deliveries: Sequence[Delivery]) -> None:
        """Back to the queue, not counted: until the pause ends, or at once when we are closing."""
        pause = self.paused()
        due = pause.at if pause is not None else self._around.clock.now()
        self._around.ledger.put_back(deliveries, due, pause.why if pause is not None else None)

    # --- claims ------------------------------------------------------------------------

    def _room_for_claims(self) -> int:
        if self._closing or self._ready.count >= READY_LOW:
            return 0
        answer = throttle.room(self._state, self._limits, self._around.clock.now())
        if isinstance(answer, NotBefore) or (isinstance(answer, Full) and self._state.probing):
            return 0
        # A paused site is asked with a single message.
        return 1 if self._state.paused_until is not None else SLICE

    def close(self) -> None:
        """No new work: what is ready goes back to the queue, idle connections say QUIT.

        Who knocks at a door that may never open carries nothing: it is not waited for.
        """
        self._closing = True
        self._return(self._ready.clear())
        self._backlog.clear()
        if self._impatience is not None:
            self._impatience.cancel()
        for task in self._connecting:
            task.cancel()
        self._idlers.send_all_away()


def _is_site_trouble(outcome: Outcome) -> bool:
    if outcome.kind is not Kind.DEFERRED:
        return False
    return outcome.reason is Reason.CONNECTIONS or outcome.scope in (Scope.SESSION, Scope.HOST, Scope.SITE)
