"""What an operator may ask and change, while the daemon runs.

Recipients in an attempt are left alone: the attempt says what becomes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from postroad.engine.bounces import Bounces
from postroad.engine.explaining import Explainer
from postroad.engine.scheduler import Scheduler
from postroad.engine.sites import Sites
from postroad.mail.events import Operated, Removed
from postroad.mail.lifecycle import State
from postroad.mail.message import Change, Message, Recipient
from postroad.mail.operations import OPERATIONS, Operation, changed
from postroad.mail.routing import Hop
from postroad.mail.why import Live
from postroad.ports.clock import Clock
from postroad.ports.control import Explained, ImpossibleOperation
from postroad.ports.events import Events
from postroad.ports.queue import Queue, QueueFilter
from postroad.ports.spool import Spool

PAGE = 500
NAMED_IN_LOG = 20
# The state that a verb is about, where it is about one.
STATES = {"retry": "waiting", "release": "held"}


class QueueControl:
    """`ports.control.Control`."""

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
        explainer: Explainer,
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
        self._explainer = explainer

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

    async def operate(
        self, verb: str, filter: QueueFilter, uid: int | None, reason: str = ""
    ) -> list[tuple[str, str]]:
        operation = OPERATIONS.get(verb)
        if operation is None:
            raise ImpossibleOperation(f"unknown verb {verb!r}")
        filter = self._with_hops(filter)
        if filter.state is None:
            # The others would be read for nothing.
            filter = replace(filter, state=STATES.get(verb))
        done: list[tuple[str, str]] = []
        after: tuple[str, int] | None = None
        while page := await self._queue.select(filter, PAGE, after):
            last = page[-1][1]
            after = (last.message, last.n)
            done += await self._change(operation, page, named=bool(filter.ids), reason=reason)
        ids = tuple(dict.fromkeys(id for id, _ in done))[:NAMED_IN_LOG]
        self._events.emit(Operated(verb, len(done), uid, ids, reason if verb == "hold" else ""))
        return done

    async def explain(self, filter: QueueFilter, limit: int) -> list[Explained]:
        page = await self._queue.select(self._with_hops(filter), limit)
        return [self._explainer.explain(*pair) for pair in page]

    def live(self, hop: Hop) -> Live:
        return self._explainer.live(hop)

    def hops_of(self, site: str) -> list[str]:
        """The hops that lead to a site, by its MX group or one of its hosts, as a filter names them."""
        return [f"{hop.route}:{hop.name}" for hop in self._sites.hops_of(site)]

    def _with_hops(self, filter: QueueFilter) -> QueueFilter:
        """Sites are known to people by their MX hosts, and to the queue by their hops."""
        hops = [hop for site in filter.sites for hop in self.hops_of(site)]
        return replace(filter, sites=(*filter.sites, *hops)) if hops else filter

    async def _change(
        self, operation: Operation, page: Sequence[tuple[Message, Recipient]], *, named: bool, reason: str
    ) -> list[tuple[str, str]]:
        now = self._clock.now()
        done = [
            (message, row, change)
            for message, row in page
            if (change := changed(operation, message, row, now, named=named, reason=reason)) is not None
        ]
        over: set[str] = set()
        for finished in await self._queue.change([change for _, _, change in done]):
            if finished.recipients:
                self._bounces.put(finished)
            else:
                over.add(finished.message.id)
                self._spool.release(finished.message)
                self._events.emit(Removed(finished.message.id))
        self._note([each for each in done if each[0].id not in over])
        for _, row, change in done:
            if change.state is State.WAITING:
                if change.due <= now:
                    self._sites.resume(row.hop)
                self._scheduler.due(row.hop, change.due)
        return [(row.message, str(row.address)) for _, row, _ in done]

    def _note(self, done: Sequence[tuple[Message, Recipient, Change]]) -> None:
        """What an index made anew must know of messages that go on: who is held, who was dropped."""
        for message, row, change in done:
            if change.state is State.CANCELLED:
                self._spool.done(message, [row.n])
            elif State.HELD in (row.state, change.state):
                self._spool.hold(message, {row.n: change.held})
