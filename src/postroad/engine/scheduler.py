"""Due hops -> sites: a heap of (due, hop), and never more than a site can take.

Memory holds hops, never messages. A due hop is given its plan first, then a place
in the ring of its site; the site claims when it has room.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from itertools import count

from postroad.engine.backlog import FULL_DISK_WAIT
from postroad.engine.destinations import Destinations
from postroad.engine.forwarding import Forwarding
from postroad.engine.ledger import Ledger
from postroad.engine.places import Places, Unresolved
from postroad.engine.sites import Sites
from postroad.mail.backoff import Again, RetryPolicy, next_attempt
from postroad.mail.events import HopDeferred, HopFailed, StorageTrouble
from postroad.mail.local_names import LOCAL
from postroad.mail.message import Instant
from postroad.mail.outcome import Kind, Outcome
from postroad.mail.routing import Hop
from postroad.ports.clock import Clock
from postroad.ports.events import Events
from postroad.ports.queue import Queue
from postroad.ports.storage import StorageFull

MAX_LOOKUPS = 128
FAIL_SLICE = 500
# Void entries that the heap may hold besides as many as it has valid ones.
SLACK = 64


class Scheduler:
    def __init__(
        self,
        destinations: Destinations,
        queue: Queue,
        clock: Clock,
        events: Events,
        chance: random.Random,
        retry: RetryPolicy,
    ) -> None:
        self._destinations = destinations
        self._queue = queue
        self._clock = clock
        self._events = events
        self._chance = chance
        self._retry = retry
        self._sites: Sites
        self._ledger: Ledger
        self._forwarding: Forwarding
        self._heap: list[tuple[Instant, int, Hop]] = []
        self._due_at: dict[Hop, Instant] = {}
        self._order = count()
        self._looking_up: set[Hop] = set()
        self._again: set[Hop] = set()
        self._unresolved: dict[Hop, Unresolved] = {}
        self._woken = asyncio.Event()
        self._closing = False
        self._turns = 0
        self._turns_seen = -1

    def connect(self, sites: Sites, ledger: Ledger, forwarding: Forwarding) -> None:
        """These tell the scheduler what is due, and it needs them: the second half of building."""
        self._sites = sites
        self._ledger = ledger
        self._forwarding = forwarding

    def reload(self, retry: RetryPolicy) -> None:
        self._retry = retry

    @property
    def retry(self) -> RetryPolicy:
        return self._retry

    # --- what becomes due ------------------------------------------------------------

    def due(self, hop: Hop, at: Instant) -> None:
        """Something of this hop is due at `at`; the earliest such time counts."""
        known = self._due_at.get(hop)
        if known is not None and known <= at:
            return
        self._due_at[hop] = at
        heapq.heappush(self._heap, (at, next(self._order), hop))
        if len(self._heap) > 2 * len(self._due_at) + SLACK:
            self._compact()
        if self._heap[0][2] is hop:
            self._woken.set()

    def _compact(self) -> None:
        """Drop the entries that a later word made void."""
        self._heap = [(at, next(self._order), hop) for hop, at in self._due_at.items()]
        heapq.heapify(self._heap)

    def unresolved(self, hop: Hop, now: Instant) -> Unresolved | None:
        """Why and until when nobody asks for the way to this hop."""
        found = self._unresolved.get(hop)
        return found if found is not None and now < found.until else None

    def names_changed(self) -> None:
        """Who waits for an alias may have one now."""
        now = self._clock.now()
        for hop in [hop for hop in (*self._due_at, *self._unresolved) if hop.route == LOCAL]:
            self._unresolved.pop(hop, None)
            self.due(hop, now)

    def places(self) -> Places:
        """For the recipients of a message that is being accepted."""
        return Places(self._sites, self.unresolved, self.due)

    async def run(self) -> None:
        for entry in await self._queue.hops():
            self.due(entry.hop, entry.due)
        async with asyncio.TaskGroup() as group:
            while not self._closing:
                self._turns += 1
                self._serve_due(group)
                await self._sleep()

    def nudge(self) -> bool:
        """Have it look what is due; whether it has since the last nudge."""
        seen, self._turns_seen = self._turns_seen, self._turns
        self._woken.set()
        return self._turns != seen

    def close(self) -> None:
        self._closing = True
        self._woken.set()

    def _serve_due(self, group: asyncio.TaskGroup) -> None:
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now and len(self._looking_up) < MAX_LOOKUPS:
            at, _, hop = heapq.heappop(self._heap)
            if self._due_at.get(hop) != at:
                continue
            del self._due_at[hop]
            site = self._sites.known(hop)
            if site is not None:
                site.offer(hop)
            elif hop in self._looking_up:
                # What became due meanwhile may be more than the lookup will deal with.
                self._again.add(hop)
            else:
                self._looking_up.add(hop)
                group.create_task(self._look_up(hop))

    async def _sleep(self) -> None:
        """Until something is due, sooner when woken; a full set of lookups wakes by ending."""
        wait = None
        if self._heap and len(self._looking_up) < MAX_LOOKUPS:
            wait = max(0.0, self._heap[0][0] - self._clock.now())
        try:
            # An hour bounds what a stepped clock could make us oversleep.
            async with asyncio.timeout(min(wait, 3600.0) if wait is not None else None):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    # --- hops without a plan -----------------------------------------------------------

    async def _look_up(self, hop: Hop) -> None:
        try:
            if hop.route == LOCAL:
                await self._serve_local(hop)
                return
            plan = await self._destinations.plan(hop)
            if not isinstance(plan, Outcome):
                self._unresolved.pop(hop, None)
                self._sites.of(plan).offer(hop)
            elif plan.kind is Kind.FAILED:
                await self._fail(hop, plan)
            else:
                await self._defer(hop, plan)
        except StorageFull as error:
            self._events.emit(StorageTrouble("defer", str(error)))
            self.due(hop, self._clock.now() + FULL_DISK_WAIT)
        finally:
            self._looking_up.discard(hop)
            if hop in self._again:
                self._again.discard(hop)
                self.due(hop, self._clock.now())
            self._woken.set()

    async def _serve_local(self, hop: Hop) -> None:
        served = await self._forwarding.serve(hop)
        if isinstance(served, Outcome):
            await self._defer(hop, served)
            return
        self._unresolved.pop(hop, None)
        for onward in served:
            self.due(onward, self._clock.now())

    async def _fail(self, hop: Hop, outcome: Outcome) -> None:
        """There is no such way: all that waits for it fails with the same words."""
        self._unresolved.pop(hop, None)
        failed = 0
        while deliveries := await self._queue.claim_all(hop, FAIL_SLICE):
            for delivery in deliveries:
                failed += len(delivery.recipients)
                self._ledger.ended(delivery, (outcome,) * len(delivery.recipients))
        if failed:
            self._events.emit(HopFailed(str(hop), failed, outcome.text))

    async def _defer(self, hop: Hop, outcome: Outcome) -> None:
        """No answer now: all that is due waits together, and one lookup tries for all."""
        now = self._clock.now()
        wait = self._wait(hop, outcome, now)
        self._unresolved[hop] = wait
        count = await self._queue.defer_hop(hop, outcome, wait.until, now)
        if count:
            self._events.emit(HopDeferred(str(hop), count, wait.until, outcome.text))
        due = await self._queue.next_due(hop)
        if due is None:
            self._unresolved.pop(hop, None)
        else:
            self.due(hop, max(due, now + 1.0))

    def _wait(self, hop: Hop, outcome: Outcome, now: Instant) -> Unresolved:
        """How long nobody asks. Whoever asked before the time was up does not lengthen it."""
        running = self.unresolved(hop, now)
        if running is not None:
            return running
        known = self._unresolved.get(hop)
        tries = 1 if known is None else known.tries + 1
        decision = next_attempt(
            self._retry,
            outcome,
            attempts=tries,
            received_at=now,
            expires_at=math.inf,
            first_greylisted=None,
            hints_used=0,
            now=now,
            spread=self._chance.random(),
        )
        assert isinstance(decision, Again), "without an end there is always another try"
        return Unresolved(tries, decision.due, outcome)
