"""The way that mail for an address would take now, found by the code that delivers; nothing is sent.

Local names, routes, MX lookups, endpoints and TLS requirement come from the very functions and
the very components of the daemon, built from the same configuration.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Sequence
from contextlib import suppress

from postroad.config.alias_files import read as read_aliases
from postroad.config.keys import LIMIT_FIELDS
from postroad.config.model import Config
from postroad.config.origin import origin_of
from postroad.engine.destinations import Destinations
from postroad.mail.address import Address, parse_address
from postroad.mail.classify import judge
from postroad.mail.dkim_fields import signing_domain
from postroad.mail.local_names import LocalNames, expand, waiting
from postroad.mail.message import EnvelopeRecipient
from postroad.mail.mx import Plan
from postroad.mail.outcome import Outcome
from postroad.mail.routing import DIRECT, Endpoint, Route, Routes
from postroad.mail.rules import default_rules
from postroad.parts.build import destinations_of, transport_of
from postroad.parts.material import site_limits
from postroad.ports.transport import ConnectFailed, Session, Transport

Facts = dict[str, object]


def plan(config: Config, address: str, sender: str | None, *, connect: bool) -> Facts:
    """What is known of the way, as JSON values. Raises AddressError; ValueError without a nameserver."""
    return asyncio.run(_plan(config, address, sender, connect=connect))


async def _plan(config: Config, text: str, sender: str | None, *, connect: bool) -> Facts:
    names = read_aliases(config).names
    origin = config.origin if "@" in text else names.domain_for(text, config.origin)
    address = parse_address(text, smtputf8=True, default_domain=origin)
    author = None if sender is None else parse_address(sender, smtputf8=True, default_domain=config.origin)
    expansion = expand((EnvelopeRecipient(address),), names)
    destinations = destinations_of(config, random.Random())
    transport = transport_of(config) if connect else None
    ways = [await _way(config, to.address, names, destinations, transport) for to in expansion.recipients]
    return {
        "address": str(address),
        "local": address.domain in names.domains,
        "aliases": [{"name": name, "to": list(to)} for name, to in expansion.renamed],
        "dkim": _dkim(config, author.domain if author else config.origin),
        "ways": ways,
    }


def _dkim(config: Config, domain: str) -> Facts:
    """Which keys sign a message whose From is in this domain."""
    signs = signing_domain(domain, {key.domain for key in config.dkim})
    keys = [(n, key) for n, key in enumerate(config.dkim) if key.domain == signs]
    places = [config.places.of("dkim", n) for n, _ in keys]
    return {
        "from": domain,
        "signs": signs,
        "keys": [
            {"selector": key.selector, "key": str(key.key), "origin": str(place) if place else None}
            for (_, key), place in zip(keys, places, strict=True)
        ],
    }


async def _way(
    config: Config,
    address: Address,
    names: LocalNames,
    destinations: Destinations,
    transport: Transport | None,
) -> Facts:
    if address.domain in names.domains:
        return {"recipient": str(address), "route": None, **_outcome(waiting(address.local, names))}
    hop = Routes(config.routes).hop_for(address)
    route = destinations.route(hop.route)
    assert route is not None, "it was just found"
    facts: Facts = {
        "recipient": str(address),
        "route": hop.route,
        "route_origin": None if hop.route == DIRECT else origin_of(config, "route", hop.route),
        "hop": hop.name,
    }
    found = await destinations.plan(hop)
    if isinstance(found, Outcome):
        return facts | _outcome(found)
    return facts | {
        "outcome": "plan",
        "site": str(found.site),
        "tls": found.site.tls.level.value,
        "tls_origin": origin_of(config, "route.tls", hop.route),
        "login": route.username,
        "hosts": [await _host(endpoint, found, route, transport) for endpoint in found.endpoints],
        "limits": _limits(config, hop.route),
    }


def _outcome(outcome: Outcome) -> Facts:
    return {"outcome": outcome.kind.value, "status": outcome.status, "text": outcome.text}


def _limits(config: Config, route: str) -> list[Facts]:
    limits = site_limits(config).get(route) or site_limits(config)[DIRECT]
    return [
        {
            "limit": key,
            "value": getattr(limits, field),
            "origin": origin_of(config, f"limits.{key}", route),
        }
        for key, field in LIMIT_FIELDS.items()
    ]


async def _host(endpoint: Endpoint, found: Plan, route: Route, transport: Transport | None) -> Facts:
    facts: Facts = {
        "host": endpoint.host,
        "address": endpoint.address,
        "port": endpoint.port,
        "preference": endpoint.preference,
        "source": _source(endpoint),
    }
    if transport is None:
        return facts
    try:
        async with transport.connect(endpoint, found.site.tls, route) as session:
            return facts | _greeted(session)
    except ConnectFailed as failed:
        outcome = judge(failed.stage, failed.what, endpoint, default_rules())
        return facts | {"connected": False, "stage": outcome.stage.value, "text": outcome.text}


def _greeted(session: Session) -> Facts:
    able, tls = session.capabilities, session.tls
    offers: Sequence[tuple[str, bool]] = (
        ("PIPELINING", able.pipelining),
        ("8BITMIME", able.eight_bit),
        ("SMTPUTF8", able.smtputf8),
        ("DSN", able.dsn),
        ("BINARYMIME", able.binary),
        ("REQUIRETLS", able.requiretls),
        ("MT-PRIORITY", able.mt_priority),
    )
    return {
        "connected": True,
        "tls": None if tls is None else f"{tls.version} {tls.cipher}",
        "verified": tls is not None and tls.verified,
        "offers": [name for name, offered in offers if offered],
        "size": able.size,
        "steps": [{"step": name, "seconds": round(seconds, 3)} for name, seconds in session.steps],
    }


def _source(endpoint: Endpoint) -> str | None:
    """The address that the system would connect from; asking that sends nothing."""
    family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((endpoint.address, endpoint.port))
        return str(probe.getsockname()[0])
    return None
