"""What a new mail server needs of its surroundings, looked at: resolver, names, port 25, clock.

Every look has an end, none raises, and each becomes a plain sentence, also without a network.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from postroad.adapters.dns import DnsResolver
from postroad.ports.resolver import AddressAnswer, MxAnswer, NoData, NoSuchName, TryLater

PATIENCE = 5.0
# adjtimex(2): nothing keeps the clock right.
TIME_ERROR = 5
# Of documentation (RFC 5737, RFC 3849): a route to them is that to the world, and nothing is sent.
ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
# Receives for many, so it is up: asked where the domain itself has no MX.
WELL_KNOWN = "gmail.com"


@dataclass(frozen=True, slots=True)
class Check:
    """One sentence; `good` None: nothing could be found out."""

    name: str
    good: bool | None
    text: str


@dataclass(slots=True)
class Findings:
    """What was found out of the world, besides the sentences."""

    checks: list[Check] = field(default_factory=list)
    addresses: tuple[str, ...] = ()
    spf: str | None = None
    mx: tuple[str, ...] = ()


def look(domain: str, hostname: str, nameservers: Sequence[tuple[str, int]] = (), port: int = 25) -> Findings:
    """All of it, in less than half a minute. `nameservers` empty: those of the system."""
    return asyncio.run(_look(domain, hostname, nameservers, port))


async def _look(domain: str, hostname: str, nameservers: Sequence[tuple[str, int]], port: int) -> Findings:
    found = Findings(addresses=own_addresses())
    try:
        resolver = DnsResolver(nameservers, PATIENCE)
    except ValueError as error:
        found.checks = [Check("resolver", False, f"{error}; mail cannot be delivered without one"), clock()]
        return found
    await _ask_for_domain(resolver, domain, found)
    if found.checks[0].good:
        found.checks += await asyncio.gather(
            _name(resolver, hostname, found.addresses), _port_25(resolver, found.mx, port)
        )
        found.checks[1:1] = [await _way_back(resolver, hostname, found.addresses)]
    else:
        found.checks.append(Check("port 25", None, "not tried: without a resolver there is nobody to try"))
    found.checks.append(clock())
    return found


def own_addresses() -> tuple[str, ...]:
    """From where this machine would send; private ones left out: the world sees others."""
    found = []
    for family, somewhere in ELSEWHERE:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            # A datagram socket that is connected has a source address and has sent nothing.
            probe.connect((somewhere, 25))
            address = str(probe.getsockname()[0])
            if ip_address(address).is_global:
                found.append(address)
    return tuple(found)


async def _ask_for_domain(resolver: DnsResolver, domain: str, found: Findings) -> None:
    answer, texts = await asyncio.gather(resolver.mx(domain), resolver.texts(domain))
    if isinstance(answer, TryLater):
        why = (
            f"no answer ({answer.text}); is this machine offline? Mail waits in the queue until there is one"
        )
        found.checks.append(Check("resolver", False, why))
        return
    if isinstance(answer, MxAnswer):
        ordered = sorted(answer.records, key=lambda record: record.preference)
        found.mx = tuple(record.host for record in ordered if record.host != ".")
    if isinstance(texts, tuple):
        found.spf = next((text for text in texts if text.lower().startswith("v=spf1")), None)
    text = "answers" + (f"; it knows no domain {domain}" if isinstance(answer, NoSuchName) else "")
    found.checks.append(Check("resolver", True, text))


async def _name(resolver: DnsResolver, hostname: str, own: Sequence[str]) -> Check:
    answer = await resolver.addresses(hostname)
    if isinstance(answer, TryLater):
        return Check("name", None, f"{hostname}: {answer.text}")
    if isinstance(answer, NoData | NoSuchName):
        return Check("name", False, f"{hostname} has no address in the DNS yet; see the records below")
    there = (*answer.v4, *answer.v6)
    if own and not set(own) & set(there):
        return Check("name", False, f"{hostname} leads to {', '.join(there)}, and this is {', '.join(own)}")
    return Check("name", True, f"{hostname} leads to {', '.join(there)}")


async def _way_back(resolver: DnsResolver, hostname: str, own: Sequence[str]) -> Check:
    if not own:
        text = "this machine has no public address of its own: ask who runs the network what PTR it sends by"
        return Check("PTR", None, text)
    named = []
    for address in own:
        answer = await resolver.pointers(address)
        if isinstance(answer, TryLater):
            return Check("PTR", None, f"{address}: {answer.text}")
        names = answer if isinstance(answer, tuple) else ()
        if hostname not in names:
            is_now = f"is {', '.join(names)}" if names else "is missing"
            return Check("PTR", False, f"of {address} {is_now}; large receivers want {hostname} there")
        named.append(address)
    return Check("PTR", True, f"of {', '.join(named)} is {hostname}")


async def _port_25(resolver: DnsResolver, mx: Sequence[str], port: int) -> Check:
    if not mx:
        answer = await resolver.mx(WELL_KNOWN)
        if isinstance(answer, MxAnswer):
            mx = [record.host for record in answer.records if record.host != "."]
    tried = ""
    for host in mx[:2]:
        addresses = await resolver.addresses(host)
        if not isinstance(addresses, AddressAnswer):
            continue
        for address in (*addresses.v4[:1], *addresses.v6[:1]):
            tried = await _greeting(address, port)
            if not tried:
                return Check("port 25", True, f"{host} answered: mail can go out")
    if not tried:
        return Check("port 25", None, "not tried: no receiver was found to try")
    text = f"nobody could be reached ({tried}); many providers block it: have it opened, or send by a relay"
    return Check("port 25", False, text)


async def _greeting(address: str, port: int) -> str:
    """ "" where a mail server greets, else why not."""
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                line = await reader.readline()
                writer.write(b"QUIT\r\n")
                return "" if line[:1] in (b"2", b"4", b"5") else f"{address} is no mail server"
            finally:
                writer.close()
    except TimeoutError:
        return f"{address} did not answer in {PATIENCE:g} s"
    except (OSError, ValueError) as error:
        return f"{address}: {getattr(error, 'strerror', None) or error}"


def clock() -> Check:
    """By what the kernel knows of it: asks nobody."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        # struct timex with modes 0: only asked.
        state = libc.adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        state = -1
    if state < 0:
        return Check("clock", None, "could not be asked")
    if state == TIME_ERROR:
        text = "nothing keeps it right (no NTP); signatures and certificates go wrong with it"
        return Check("clock", False, text)
    return Check("clock", True, "is kept right")
