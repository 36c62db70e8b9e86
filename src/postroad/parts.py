"""The parts of a daemon, built from a configuration: the one place that knows engine and adapters both.

Nothing runs here and nothing is opened but the state directory: `daemon` runs what is built.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from postroad import __version__
from postroad.adapters.accounts import PasswdAccounts
from postroad.adapters.dkim import DkimSigner
from postroad.adapters.dns import DnsResolver
from postroad.adapters.hub import EventHub
from postroad.adapters.local import LocalDoor, LocalSettings
from postroad.adapters.maildrop import MaildropDoor, MaildropSettings
from postroad.adapters.segments import Segments
from postroad.adapters.smtp import SmtpTransport
from postroad.adapters.smtpd import Doors, server_context
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.adapters.system import IdMaker, SystemClock
from postroad.config.model import Config, Listener
from postroad.engine.bounces import Bounces
from postroad.engine.control import QueueControl
from postroad.engine.destinations import Destinations, Ground
from postroad.engine.intake import Intake
from postroad.engine.ledger import Ledger
from postroad.engine.packing import Packer
from postroad.engine.scheduler import Scheduler
from postroad.engine.sites import Sites
from postroad.mail.address import Address
from postroad.mail.admission import AdmissionLimits
from postroad.mail.routing import DIRECT, hop_for
from postroad.mail.rules import default_rules
from postroad.mail.throttle import Limits


@dataclass(slots=True)
class Material:
    """What a configuration names and a reload reads again: all of it loaded, or an error raised."""

    signer: DkimSigner
    tls: ssl.SSLContext | None
    limits: dict[str, Limits]
    ground: Ground
    admission: AdmissionLimits
    local: LocalSettings
    maildrop: MaildropSettings


@dataclass(slots=True)
class Parts:
    """Everything that runs, in the order of its dependence."""

    clock: SystemClock
    events: EventHub
    spool: Segments
    queue: SqliteQueue
    scheduler: Scheduler
    sites: Sites
    destinations: Destinations
    ledger: Ledger
    packer: Packer
    bounces: Bounces
    intake: Intake
    accounts: PasswdAccounts | None
    doors: Doors
    local: LocalDoor
    maildrop: MaildropDoor
    material: Material


def material(config: Config) -> Material:
    """Load keys and certificates. Raises DkimKeyError, TlsError, OSError, each naming its file."""
    routes = config.routes
    submission = config.submission
    return Material(
        signer=DkimSigner(config.dkim),
        tls=server_context(config.tls),
        limits={
            DIRECT: _limits(config.delivery.limits, config),
            **{route.name: _limits(route.limits, config) for route in routes},
        },
        ground=Ground(
            port=config.delivery.port,
            allow_private=config.delivery.allow_private_addresses,
            own_names=frozenset({config.hostname.lower()}),
            own_addresses=_own_addresses(config.listeners, config.delivery.port),
        ),
        admission=AdmissionLimits(
            max_message_size=submission.max_message_size,
            max_header_size=submission.max_header_size,
            max_received=submission.max_received,
            max_recipients=submission.max_recipients,
        ),
        local=LocalSettings(
            origin=config.origin,
            max_message_size=submission.max_message_size,
            hop_of=lambda address: _hop_name(address, config),
        ),
        maildrop=MaildropSettings(config.origin, submission.max_message_size),
    )


def _hop_name(address: Address, config: Config) -> str:
    return str(hop_for(address, config.routes))


def _limits(limits: Limits, config: Config) -> Limits:
    """A site's pause is never longer than the operator's own schedule would wait."""
    schedule = config.retry.schedule
    return replace(
        limits,
        pause_first=min(limits.pause_first, schedule[0]),
        pause_longest=min(limits.pause_longest, max(schedule)),
    )


def _own_addresses(listeners: tuple[Listener, ...], port: int) -> frozenset[str]:
    """Where mail sent to `port` would come back in through a door of ours."""
    return frozenset(listener.host for listener in listeners if listener.port == port)


def build(config: Config, events: EventHub, fatal: Callable[[BaseException], None]) -> Parts:
    """All parts, connected. Raises what `material` raises, AccountsError, SpoolInUse, StorageBroken."""
    loaded = material(config)
    clock = SystemClock()
    chance = random.Random()  # seeded by the system
    rules = default_rules()
    accounts = PasswdAccounts(config.submission.accounts) if config.submission.accounts else None
    config.state_directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    spool = Segments(config.spool_path)
    queue = SqliteQueue(config.index_path)
    new_id = IdMaker(chance)
    packer = Packer(spool, loaded.signer, config.routes, config.retry)
    resolver = DnsResolver(config.dns.nameservers, config.dns.timeout, config.dns.max_in_flight)
    destinations = Destinations(resolver, clock, rules, chance, loaded.ground, config.routes)
    scheduler = Scheduler(destinations, queue, clock, events, chance, config.retry)
    bounces_box: list[Bounces] = []
    ledger = Ledger(
        queue,
        spool,
        clock,
        events,
        chance,
        config.retry,
        due=scheduler.due,
        finished=lambda finished: bounces_box[0].put(finished),
    )
    sites = Sites(
        destinations=destinations,
        queue=queue,
        spool=spool,
        transport=SmtpTransport(config.hostname, config.delivery.ca_file),
        ledger=ledger,
        clock=clock,
        events=events,
        rules=rules,
        chance=chance,
        limits=loaded.limits,
        max_connections=config.delivery.max_connections,
        due=scheduler.due,
    )
    scheduler.connect(sites, ledger)
    bounces = Bounces(
        packer=packer,
        queue=queue,
        spool=spool,
        ledger=ledger,
        scheduler=scheduler,
        clock=clock,
        events=events,
        new_id=new_id,
        chance=chance,
        hostname=config.hostname,
        retry=config.retry,
    )
    bounces_box.append(bounces)
    intake = Intake(
        hostname=config.hostname,
        origin=config.origin,
        limits=loaded.admission,
        packer=packer,
        spool=spool,
        queue=queue,
        scheduler=scheduler,
        clock=clock,
        events=events,
        new_id=new_id,
        fatal=fatal,
    )
    doors = Doors(
        config.listeners,
        config.submission,
        hostname=config.hostname,
        tls=lambda: loaded.tls,
        intake=intake,
        accounts=accounts,
        events=events,
        clock=clock,
        spool=spool,
        new_id=new_id,
    )
    started = time.time()

    def facts() -> dict[str, object]:
        return {
            "running": True,
            "version": __version__,
            "hostname": config.hostname,
            "listeners": list(doors.addresses),
            "since": started,
            "sessions": doors.sessions,
        }

    control = QueueControl(
        queue=queue,
        spool=spool,
        scheduler=scheduler,
        sites=sites,
        bounces=bounces,
        clock=clock,
        events=events,
        facts=facts,
    )
    local = LocalDoor(config.socket_path, control, intake, events, clock, loaded.local)
    maildrop = MaildropDoor(config.maildrop_path, intake, queue, new_id, clock, events, loaded.maildrop)
    return Parts(
        clock, events, spool, queue, scheduler, sites, destinations, ledger, packer,
        bounces, intake, accounts, doors, local, maildrop, loaded,
    )  # fmt: skip
