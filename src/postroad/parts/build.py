"""All parts of a daemon, made and connected.

Nothing runs here and nothing is opened but what is in the state directory: `daemon` runs what is built.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from postroad import __version__
from postroad.adapters.accounts import PasswdAccounts
from postroad.adapters.dns import DnsResolver
from postroad.adapters.hub import EventHub
from postroad.adapters.local import LocalDoor
from postroad.adapters.maildrop import MaildropDoor
from postroad.adapters.segments import Segments
from postroad.adapters.smtp import SmtpTransport
from postroad.adapters.smtpd import Doors
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.adapters.system import IdMaker, SystemClock
from postroad.adapters.system_memory import give_back_soon
from postroad.config.model import Config
from postroad.engine.compaction import Compaction
from postroad.engine.control import QueueControl
from postroad.engine.destinations import Destinations
from postroad.engine.gate import Gate
from postroad.engine.intake import Intake
from postroad.engine.linting import Linter
from postroad.engine.movers import Movers, control_of, movers
from postroad.engine.packing import Packer
from postroad.engine.policies import Policies
from postroad.engine.replays import Replays
from postroad.engine.rights import Rights
from postroad.mail.descriptors import Share
from postroad.mail.events import StorageTrouble
from postroad.mail.message import Instant
from postroad.mail.rules import default_rules
from postroad.parts.index import open_index
from postroad.parts.logins import logins, password_accounts
from postroad.parts.material import Material, ground_of, material


@dataclass(frozen=True, slots=True)
class Foundation:
    """What everything stands on: time, chance, names, the log, and where mail is durable."""

    clock: SystemClock
    chance: random.Random
    new_id: IdMaker
    events: EventHub
    spool: Segments
    queue: SqliteQueue


@dataclass(frozen=True, slots=True)
class Entrances:
    """Where mail and operators come in."""

    intake: Intake
    linter: Linter
    policies: Policies
    rights: Rights
    replays: Replays
    accounts: PasswdAccounts | None
    smtp: Doors
    local: LocalDoor
    maildrop: MaildropDoor


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that runs, each layer built on the one before."""

    base: Foundation
    engine: Movers
    compaction: Compaction
    entrances: Entrances
    material: Material


def destinations_of(config: Config, chance: random.Random) -> Destinations:
    """What finds the ways out, by the nameservers of the configuration."""
    dns = config.dns
    resolver = DnsResolver(dns.nameservers, dns.timeout, dns.max_in_flight)
    return Destinations(resolver, SystemClock(), default_rules(), chance, ground_of(config), config.routes)


def transport_of(config: Config) -> SmtpTransport:
    """What connects, as the configuration says it."""
    return SmtpTransport(config.hostname, config.delivery.ca_file)


def build(
    config: Config,
    events: EventHub,
    fatal: Callable[[BaseException], None],
    shared: Share | None = None,
) -> Parts:
    """All parts, connected. Raises what `material` raises, AccountsError, SpoolInUse, StorageBroken."""
    loaded = material(config)
    config.state_directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    accounts = password_accounts(config)
    base = _foundation(config, events)
    engine = _engine(config, base, loaded)
    compaction = Compaction(base.spool, base.queue, base.events)
    entrances = _entrances(config, base, engine, loaded, accounts, fatal, shared)
    return Parts(base, engine, compaction, entrances, loaded)


def _foundation(config: Config, events: EventHub) -> Foundation:
    """Takes the lock first: who does not get it has touched nothing."""
    chance = random.Random()  # seeded by the system
    spool = Segments(config.spool_path, low_water=config.queue.low_water)
    return Foundation(
        clock=SystemClock(),
        chance=chance,
        new_id=IdMaker(chance),
        events=events,
        spool=spool,
        queue=open_index(config, lambda text: events.emit(StorageTrouble("index", text))),
    )


def build_office(
    config: Config, events: EventHub, loaded: Material
) -> tuple[Foundation, Movers, QueueControl]:
    """What changes a queue that no daemon owns: nothing that moves mail will run. Raises as `build`."""
    base = _foundation(config, events)
    engine = _engine(config, base, loaded)
    return base, engine, _control(base, engine, loaded, lambda: {"running": False})


def _control(
    base: Foundation, engine: Movers, loaded: Material, facts: Callable[[], dict[str, object]]
) -> QueueControl:
    # A reload puts another origin there.
    return control_of(base, engine, lambda key, route: loaded.origin(key, route), facts)


def _engine(config: Config, base: Foundation, loaded: Material) -> Movers:
    packer = Packer(base.spool, loaded.signer, config.routes, config.retry)
    packer.names = loaded.aliases.names
    return movers(
        base,
        destinations_of(config, base.chance),
        transport_of(config),
        packer,
        rules=default_rules(),
        hostname=config.hostname,
        retry=config.retry,
        limits=loaded.limits,
        max_connections=config.delivery.max_connections,
    )


def _entrances(
    config: Config,
    base: Foundation,
    engine: Movers,
    loaded: Material,
    accounts: PasswdAccounts | None,
    fatal: Callable[[BaseException], None],
    shared: Share | None,
) -> Entrances:
    clock, events, queue, new_id = base.clock, base.events, base.queue, base.new_id
    policies = Policies(base.spool, events, loaded.asked, loaded.admission.max_recipients)
    linter = Linter(events, config.accounts, loaded.signs)
    rights = Rights(config.accounts, config.origin, clock)
    replays = Replays(queue, clock, config.submission.idempotency_window)
    rights.repeaters = replays
    intake = Intake(
        hostname=config.hostname,
        origin=config.origin,
        limits=loaded.admission,
        packer=engine.packer,
        spool=base.spool,
        queue=queue,
        scheduler=engine.scheduler,
        clock=clock,
        events=events,
        new_id=new_id,
        fatal=fatal,
        fitness=loaded.fitness,
        linter=linter,
        policies=policies,
    )
    gate = Gate(intake, rights, replays, base.spool, events)
    smtp = Doors(
        config.listeners,
        config.submission,
        hostname=config.hostname,
        tls=lambda: loaded.tls,
        intake=gate,
        logins=logins(config, lambda: loaded.certificates, accounts, clock),
        login_delay=config.login.failure_delay,
        events=events,
        clock=clock,
        spool=base.spool,
        new_id=new_id,
        rights=rights,
        short_names=short_names(config),
        descriptors=shared,
        crowd_gone=give_back_soon,
    )
    control = _control(base, engine, loaded, _facts(config, smtp, clock.now()))
    local = LocalDoor(config.socket_path, control, gate, events, clock, loaded.local)
    maildrop = MaildropDoor(config.maildrop_path, gate, queue, new_id, clock, events, loaded.maildrop, intake)
    return Entrances(intake, linter, policies, rights, replays, accounts, smtp, local, maildrop)


def short_names(config: Config) -> frozenset[str]:
    """Our own domain, and those to which a route leads by name, where they have no dot."""
    routed = (name for route in config.routes for name in route.match)
    named = (config.origin.lower(), *(config.local.domains or ()), *routed)
    return frozenset(name for name in named if "." not in name and name != "*")


def _facts(config: Config, smtp: Doors, since: Instant) -> Callable[[], dict[str, object]]:
    def facts() -> dict[str, object]:
        return {
            "running": True,
            "version": __version__,
            "configuration": str(config.path),
            "hostname": config.hostname,
            "listeners": list(smtp.addresses),
            "since": since,
            "sessions": smtp.sessions,
            "tasks": len(asyncio.all_tasks()),
        }

    return facts
