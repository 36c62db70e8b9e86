"""`postroad plan ADDRESS`: the way that mail for it would take, and with --connect what its hosts say."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any

from postroad.adapters import local_client
from postroad.cli.client import config_for
from postroad.cli.text import CommandFailed, listed, say
from postroad.config.model import Config
from postroad.mail.address import AddressError

Row = dict[str, Any]


def run(config: str, args: Namespace) -> int:
    """0: there is a way; 75: none now; 68: there will be none."""
    from postroad import planning

    settings = config_for(config)
    try:
        found: Row = planning.plan(settings, args.address, args.sender, connect=args.connect)
    except AddressError as wrong:
        raise CommandFailed(str(wrong), os.EX_USAGE) from None
    except ValueError as error:
        raise CommandFailed(str(error), os.EX_CONFIG) from None
    for way in found["ways"]:
        way["now"] = _now(settings, way)
    if args.json:
        print(json.dumps(found))
    else:
        for line in _told(found):
            say(line)
    outcomes = {way["outcome"] for way in found["ways"]}
    if "failed" in outcomes:
        return os.EX_NOHOST
    return os.EX_TEMPFAIL if "deferred" in outcomes else os.EX_OK


def _now(settings: Config, way: Row) -> Row | None:
    """What the daemon knows of this way just now; None where none runs or it may not be asked."""
    if way["route"] is None:
        return None
    request = {"verb": "way", "route": way["route"], "name": way["hop"]}
    try:
        return next(local_client.ask(settings.socket_path, request, timeout=10.0), None)
    except (local_client.DaemonDown, local_client.NotAnswered, local_client.Denied):
        return None


def _told(found: Row) -> Iterator[str]:
    yield f"{found['address']}{' is a local name' if found['local'] else ''}"
    for alias in found["aliases"]:
        yield f"  alias     {alias['name']} -> {', '.join(alias['to'])}"
    told: list[Row] = []
    for way in found["ways"]:
        yield from _way(way, found["address"], told)
        told.append(way)
    dkim = found["dkim"]
    keys = listed(f"{key['selector']}._domainkey.{dkim['signs']} ({key['origin']})" for key in dkim["keys"])
    yield f"  signed    From {dkim['from']}: {keys or 'by no key'}"


def _way(way: Row, address: str, told: Sequence[Row]) -> Iterator[str]:
    if way["recipient"] != address:
        yield f"{way['recipient']}"
    same = next((each for each in told if way.get("site") and each.get("site") == way["site"]), None)
    if same is not None:
        yield f"  route     as {same['recipient']}"
        return
    if way["route"] is not None:
        origin = f" ({way['route_origin']})" if way["route_origin"] else ""
        yield f"  route     {way['route']}{origin}: {way['hop']}"
    if way["outcome"] != "plan":
        yield f"  {way['outcome']:<9} {way['status']} {way['text']}"
        return
    yield f"  site      {way['site']}"
    yield f"  tls       {way['tls']} ({way['tls_origin']})"
    if way["login"]:
        yield f"  login     {way['login']}"
    for host in way["hosts"]:
        source = f" from {host['source']}" if host["source"] else ""
        yield f"  host      {host['preference']:>3} {host['host']}[{host['address']}]:{host['port']}{source}"
        if "connected" in host:
            yield f"            {_connected(host)}"
    yield from _limits(way["limits"])
    yield from _state(way["now"])


def _limits(limits: Sequence[Row]) -> Iterator[str]:
    """Those that stand at one place on a line."""
    for origin in dict.fromkeys(limit["origin"] for limit in limits):
        here = [f"{one['limit']} {one['value']:g}" for one in limits if one["origin"] == origin]
        yield f"  limits    {', '.join(here)} ({origin})"


def _connected(host: Row) -> str:
    if not host["connected"]:
        return f"no session, at {host['stage']}: {host['text']}"
    tls = f"{host['tls']}{', verified' if host['verified'] else ''}" if host["tls"] else "no TLS"
    steps = ", ".join(f"{each['step']} {each['seconds']:.3f} s" for each in host["steps"])
    return f"session: {tls}; {' '.join(host['offers'])}; {steps}"


def _state(now: Row | None) -> Iterator[str]:
    if now is None or now.get("site") is None:
        return
    yield f"  now       {now['connections']} of {now['window']} connections, {now['ready']} deliveries ready"
    if now["paused_until"]:
        yield f"  paused    until {now['paused_until']}: {now['paused_because']}"
