"""The whole engine on fakes: memory for the disk, scripts for the network, virtual time.

async with engine({"example.org": Host(greylist(300))}) as post:
    id = await post.submit("b@example.org")
    await post.gone(id)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from postroad.adapters.system import IdMaker
from postroad.engine.destinations import Destinations, Ground
from postroad.engine.gate import Gate
from postroad.engine.intake import Intake
from postroad.engine.linting import Linter
from postroad.engine.mending import Fitness
from postroad.engine.movers import control_of, movers
from postroad.engine.packing import Packer
from postroad.engine.policies import Asked, Policies
from postroad.engine.recovery import recover
from postroad.engine.replays import Replays
from postroad.engine.rights import Rights
from postroad.mail.account import AccountPolicies
from postroad.mail.admission import AdmissionLimits
from postroad.mail.backoff import RetryPolicy
from postroad.mail.events import Event, InternalError, Notified, Removed, Tried
from postroad.mail.message import (
    Change,
    Content,
    Delivery,
    Envelope,
    Handling,
    Instant,
    Lane,
    Location,
    Message,
    Notify,
    Peer,
    Recipient,
    StagedBody,
    Submission,
)
from postroad.mail.outcome import Kind, Outcome
from postroad.mail.reply import Reply
from postroad.mail.routing import DIRECT, Hop, Route
from postroad.mail.rules import default_rules
from postroad.mail.throttle import Limits
from postroad.ports.queue import Finished, Notice, QueueFilter, Terms
from postroad.ports.spool import DamagedRecord
from tests.support.build import BODY, HEAD, address, content, envelope_recipient
from tests.support.loop import VirtualClock
from tests.support.memory_queue import MemoryQueue
from tests.support.memory_spool import MemorySpool, MemoryStored
from tests.support.scripted_network import Accepted, Host, ScriptedResolver, ScriptedTransport

HOSTNAME = "mail.example.com"
PEER = Peer("203.0.113.7", 40123, "client.example")
Zone = Mapping[str, Any]
EventType = TypeVar("EventType", bound=Event)
Value = TypeVar("Value")


class RecordingEvents:
    """`Events` that remembers, with the time; whoever waits for something looks again at each."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._happened = asyncio.Event()
        self.log: list[tuple[Instant, Event]] = []

    def emit(self, event: Event) -> None:
        self.log.append((self._clock.now(), event))
        self._happened.set()

    def of(self, type: type[EventType]) -> list[EventType]:
        return [event for _, event in self.log if isinstance(event, type)]

    def at(self, type: type[EventType]) -> list[Instant]:
        return [when for when, event in self.log if isinstance(event, type)]

    async def until(self, true: Callable[[], bool], within: float) -> None:
        try:
            async with asyncio.timeout(within):
                while not true():
                    self._happened.clear()
                    await self._happened.wait()
        except TimeoutError:
            recent = "\n".join(f"{when:.1f} {event}" for when, event in self.log[-20:])
            raise AssertionError(f"it did not happen in {within:g} s; the last events:\n{recent}") from None


class CommittingQueue(MemoryQueue):
    """Changes take effect at once and are answered a little later, as by a writer that commits in bursts."""

    def __init__(self, commit: float = 0.003) -> None:
        super().__init__()
        self.commit = commit

    async def add(self, message: Message, recipients: Sequence[Recipient]) -> None:
        await self._later(super().add(message, recipients))

    async def accept(self, message: Message, recipients: Sequence[Recipient], terms: Terms) -> None:
        await self._later(super().accept(message, recipients, terms))

    async def claim(self, hop: Hop, now: Instant, limit: int, until: Instant) -> list[Delivery]:
        return await self._later(super().claim(hop, now, limit, until))

    async def claim_all(self, hop: Hop, limit: int) -> list[Delivery]:
        return await self._later(super().claim_all(hop, limit))

    async def next_due(self, hop: Hop) -> Instant | None:
        return await self._later(super().next_due(hop))

    async def defer_hop(self, hop: Hop, outcome: Outcome, due: Instant, now: Instant) -> int:
        return await self._later(super().defer_hop(hop, outcome, due, now))

    async def settle(self, message: str, told: Collection[int], notices: Sequence[Notice]) -> bool:
        return await self._later(super().settle(message, told, notices))

    async def change(self, changes: Sequence[Change]) -> list[Finished]:
        return await self._later(super().change(changes))

    def record(self, changes: Sequence[Change]) -> Awaitable[list[Finished]]:
        return asyncio.ensure_future(self._later(super().record(changes)))

    async def _later(self, answer: Awaitable[Value]) -> Value:
        try:
            return await answer
        finally:
            await asyncio.sleep(self.commit)


class FragileSpool(MemorySpool):
    """Reading a message whose first recipient is in `damaged` raises DamagedRecord, in `poisoned` a bug."""

    def __init__(self) -> None:
        super().__init__()
        self.damaged: set[str] = set()
        self.poisoned: set[str] = set()

    async def read(self, location: Location, of: str | None = None) -> MemoryStored:
        first = str(self.records[location].recipients[0].address)
        if first in self.damaged:
            raise DamagedRecord(f"the record at {location} is damaged")
        if first in self.poisoned:
            raise ZeroDivisionError(first)
        return await super().read(location, of)


class NoSigner:
    """`Signer` without a key."""

    def domain_for(self, from_domain: str) -> str | None:
        return None

    async def sign(self, domain: str, content: Content) -> bytes:
        raise AssertionError("there is no key")


def zone_of(hosts: Iterable[str]) -> dict[str, dict[str, list[Any]]]:
    """Every host its own address; a name without "mx" in front is a domain served by mx.<name>."""
    zone: dict[str, dict[str, list[Any]]] = {}
    for n, host in enumerate(hosts, 1):
        zone[host] = {"A": [f"198.51.{n // 250}.{n % 250 + 1}"]}
        zone[host.partition(".")[2]] = {"MX": [(10, host)]}
    return zone


@dataclass
class Settings:
    """How an engine is built; what a test does not name is as the daemon's defaults are."""

    routes: tuple[Route, ...] = ()
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    limits: Limits = field(default_factory=Limits)
    max_connections: int = 500
    fitness: Fitness = field(default_factory=Fitness)
    accounts: AccountPolicies = field(default_factory=AccountPolicies)
    signs: Callable[[str], bool] | None = None
    policies: tuple[Asked, ...] = ()
    seed: int = 1
    ttl: float = 300.0
    connect_delay: float = 0.01
    queue: MemoryQueue = field(default_factory=CommittingQueue)
    spool: FragileSpool = field(default_factory=FragileSpool)


class Engine:
    """Everything that moves mail, and what a test wants to see of it."""

    def __init__(self, hosts: Mapping[str, Host], zone: Zone | None, settings: Settings) -> None:
        self.settings = settings
        self.clock = VirtualClock()
        self.events = RecordingEvents(self.clock)
        self.chance = random.Random(settings.seed)
        self.queue, self.spool = settings.queue, settings.spool
        self.resolver = ScriptedResolver(zone if zone is not None else zone_of(hosts), ttl=settings.ttl)
        self.transport = ScriptedTransport(self.clock, hosts, connect_delay=settings.connect_delay)
        self.fatal: list[BaseException] = []
        self.new_id = IdMaker(self.chance)
        self.signer = NoSigner()
        rules = default_rules()
        self.packer = Packer(self.spool, self.signer, settings.routes, settings.retry)
        self.destinations = Destinations(
            self.resolver, self.clock, rules, self.chance, self.ground(), settings.routes
        )
        self.moving = movers(
            self,
            self.destinations,
            self.transport,
            self.packer,
            rules=rules,
            hostname=HOSTNAME,
            retry=settings.retry,
            limits=self.limits(),
            max_connections=settings.max_connections,
        )
        self.scheduler, self.sites = self.moving.scheduler, self.moving.sites
        self.ledger, self.bounces = self.moving.ledger, self.moving.bounces
        self.control = control_of(
            self, self.moving, lambda key, route: f"{key} of {route}", lambda: {"running": True}
        )
        self._open_doors()

    def _open_doors(self) -> None:
        """Where mail comes in, as `postroad.parts` has it."""
        settings, clock, events, spool = self.settings, self.clock, self.events, self.spool
        self.rights = Rights(settings.accounts, "example.com", clock)
        self.replays = Replays(self.queue, clock, 172_800.0)
        self.rights.repeaters = self.replays
        self.intake = Intake(
            hostname=HOSTNAME,
            origin="example.com",
            limits=AdmissionLimits(10_000_000, 100_000, 50, 1000),
            packer=self.packer,
            spool=spool,
            queue=self.queue,
            scheduler=self.scheduler,
            clock=clock,
            events=events,
            new_id=self.new_id,
            fatal=self.fatal.append,
            fitness=settings.fitness,
            linter=Linter(events, settings.accounts, settings.signs),
            policies=Policies(spool, events, settings.policies, 1000),
        )
        self.gate = Gate(self.intake, self.rights, self.replays, spool, events)

    def ground(self) -> Ground:
        return Ground(25, False, frozenset({HOSTNAME}), frozenset({"203.0.113.1"}))

    def limits(self) -> dict[str, Limits]:
        return {DIRECT: self.settings.limits, **{route.name: route.limits for route in self.settings.routes}}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """As `postroad.daemon` does: recover, move, stop in order."""

        async def told() -> None:
            """The log of a test has what it was told."""

        async with asyncio.TaskGroup() as ground:
            ground.create_task(self.ledger.run())
            first_step = self.settings.retry.schedule[0]
            await recover(self.queue, self.bounces, self.clock, self.events, first_step, told)
            async with asyncio.TaskGroup() as movers:
                for mover in (self.sites, self.scheduler, self.bounces):
                    movers.create_task(mover.run())
                yield
                self.scheduler.close()
                self.sites.close()
                self.bounces.close()
            await self.ledger.close()

    # --- what people do ----------------------------------------------------------------

    async def offer(
        self,
        *to: str,
        sender: str = "a@example.com",
        notify: Notify | None = None,
        lane: Lane = Lane.NORMAL,
        body: bytes | StagedBody = BODY,
        handling: Handling | None = None,
        long_lines: bool = False,
    ) -> Reply:
        """Hand in one message; an empty sender is the null sender."""
        envelope = Envelope(
            address(sender) if sender else None,
            tuple(envelope_recipient(each, notify) for each in to),
            handling=handling,
        )
        octets = replace(content(HEAD, body), long_lines=long_lines or content(HEAD, body).long_lines)
        submission = Submission(envelope, octets, "user", PEER, self.clock.now(), lane)
        return await self.gate.accept(submission)

    async def submit(self, *to: str, **fields: Any) -> str:
        """Hand in one message that is accepted; its id."""
        reply = await self.offer(*to, **fields)
        assert reply.code == 250, reply
        return reply.text.rpartition(" ")[2]

    async def operate(self, verb: str, *ids: str, reason: str = "") -> list[tuple[str, str]]:
        return await self.control.operate(verb, QueueFilter(ids=ids), 0, reason)

    # --- what is to be seen ------------------------------------------------------------

    async def until(self, true: Callable[[], bool], within: float = 10.0) -> None:
        await self.events.until(true, within)

    async def gone(self, *ids: str, within: float = 10.0) -> None:
        """Wait until these messages have left the queue and the spool, or all have."""
        await self.until(
            lambda: (
                set(ids) <= set(self.removed()) if ids else not self.queue.messages and not self.spool.records
            ),
            within,
        )

    def arrived(self, to: str | None = None) -> list[Accepted]:
        """What receivers took, in order."""
        return [one for one in self.transport.accepted if to in (None, str(one.recipient))]

    def attempts(self, kind: Kind | None = None) -> list[Tried]:
        """The attempts that spoke with somebody or tried to."""
        return [
            event
            for event in self.events.of(Tried)
            if event.attempt.endpoint is not None
            and (kind is None or kind in [outcome.kind for outcome in event.attempt.outcomes])
        ]

    def rows(self, id: str) -> list[Recipient]:
        return [self.queue.rows[key] for key in sorted(self.queue.rows) if key[0] == id]

    def notices(self, id: str | None = None) -> list[Notified]:
        return [event for event in self.events.of(Notified) if id in (None, event.id)]

    def removed(self) -> list[str]:
        return [event.id for event in self.events.of(Removed)]

    def bugs(self) -> list[InternalError]:
        return self.events.of(InternalError)


def build(hosts: Mapping[str, Host], zone: Zone | None = None, **settings: Any) -> Engine:
    """`hosts` by name ("mx.example.org" serves example.org); `settings` are those of `Settings`."""
    return Engine(hosts, zone, Settings(**settings))


@asynccontextmanager
async def engine(
    hosts: Mapping[str, Host], zone: Zone | None = None, **settings: Any
) -> AsyncIterator[Engine]:
    """A running engine."""
    post = build(hosts, zone, **settings)
    async with post.running():
        yield post
