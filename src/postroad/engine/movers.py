"""What moves mail, connected: the daemon's, an office's that no daemon owns, and that of the tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Protocol

from postroad.engine.bounces import Bounces
from postroad.engine.control import QueueControl
from postroad.engine.destinations import Destinations
from postroad.engine.explaining import Explainer, Origin
from postroad.engine.forwarding import Forwarding
from postroad.engine.ledger import Ledger
from postroad.engine.packing import Packer
from postroad.engine.scheduler import Scheduler
from postroad.engine.sites import Sites
from postroad.mail.backoff import RetryPolicy
from postroad.mail.frozen import dataclass
from postroad.mail.rules import Rules
from postroad.mail.throttle import Limits
from postroad.ports.clock import Clock
from postroad.ports.events import Events
from postroad.ports.queue import Queue
from postroad.ports.queue_id import NewId
from postroad.ports.spool import Spool
from postroad.ports.transport import Transport


class Foundation(Protocol):
    """What everything stands on: time, chance, names, the log, and where mail is durable."""

    @property
    def clock(self) -> Clock: ...

    @property
    def chance(self) -> random.Random: ...

    @property
    def new_id(self) -> NewId: ...

    @property
    def events(self) -> Events: ...

    @property
    def spool(self) -> Spool: ...

    @property
    def queue(self) -> Queue: ...


@dataclass(frozen=True, slots=True)
class Movers:
    destinations: Destinations
    scheduler: Scheduler
    sites: Sites
    ledger: Ledger
    packer: Packer
    bounces: Bounces


def movers(
    base: Foundation,
    destinations: Destinations,
    transport: Transport,
    packer: Packer,
    *,
    rules: Rules,
    hostname: str,
    retry: RetryPolicy,
    limits: Mapping[str, Limits],
    max_connections: int,
) -> Movers:
    """`limits` as `Sites` has them. They tell each other what is due and what is finished."""
    queue, spool, clock, events, chance = base.queue, base.spool, base.clock, base.events, base.chance
    scheduler = Scheduler(destinations, queue, clock, events, chance, retry)
    ledger = Ledger(
        queue, spool, clock, events, chance, retry, scheduler.due, lambda finished: bounces.put(finished)
    )
    sites = Sites(
        destinations=destinations,
        queue=queue,
        spool=spool,
        transport=transport,
        ledger=ledger,
        clock=clock,
        events=events,
        rules=rules,
        chance=chance,
        limits=limits,
        max_connections=max_connections,
        due=scheduler.due,
    )
    forwarding = Forwarding(
        packer=packer,
        queue=queue,
        spool=spool,
        ledger=ledger,
        clock=clock,
        events=events,
        new_id=base.new_id,
    )
    scheduler.connect(sites, ledger, forwarding)
    bounces = Bounces(
        packer=packer,
        queue=queue,
        spool=spool,
        ledger=ledger,
        scheduler=scheduler,
        clock=clock,
        events=events,
        new_id=base.new_id,
        chance=chance,
        hostname=hostname,
        retry=retry,
    )
    return Movers(destinations, scheduler, sites, ledger, packer, bounces)


def control_of(
    base: Foundation, moving: Movers, origin: Origin, facts: Callable[[], dict[str, object]]
) -> QueueControl:
    """What operators reach them by."""
    explainer = Explainer(moving.destinations, moving.scheduler, moving.sites, base.clock, origin)
    return QueueControl(
        queue=base.queue,
        spool=base.spool,
        scheduler=moving.scheduler,
        sites=moving.sites,
        bounces=moving.bounces,
        clock=base.clock,
        events=base.events,
        facts=facts,
        explainer=explainer,
    )
