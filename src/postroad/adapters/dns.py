"""The port `Resolver` by dnspython: answers as values, cached, each question in flight but once.

The cache is ours, since dnspython's keeps neither failures nor limits on a TTL:
a receiver that publishes ten seconds is asked once a minute, one that publishes a
week is noticed within the hour, and a broken server is not asked by every message.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rcode
import dns.resolver

from postroad.mail.address import AddressError, normalise_domain
from postroad.mail.frozen import dataclass
from postroad.mail.mx import written_address
from postroad.mail.printable import one_line, printable
from postroad.ports.resolver import AddressAnswer, MxAnswer, MxRecord, NoData, NoSuchName, TryLater

SHORTEST = 60.0
LONGEST = 3600.0
NEGATIVE = 60.0
FAILURE = 30.0
MAX_CACHED = 10_000
RESOLV_CONF = "/etc/resolv.conf"
# Fragments get lost on the way; what is larger comes by TCP (RFC 9715).
PAYLOAD = 1232

Nothing = NoData | NoSuchName | TryLater


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one type: their fields as text, preference first for MX."""

    rows: tuple[tuple[int, str], ...]
    ttl: float


class DnsResolver:
    """`nameservers` are IP addresses, or (address, port); empty: those of resolv.conf.

    `timeout` bounds a question with all its retries. Raises ValueError when there is
    no nameserver to be had.
    """

    def __init__(
        self,
        nameservers: Sequence[str | tuple[str, int]] = (),
        timeout: float = 5.0,
        max_in_flight: int = 128,
        resolv_conf: str = RESOLV_CONF,
    ) -> None:
        self._resolver = _configured(nameservers, resolv_conf)
        self._resolver.lifetime = timeout
        self._resolver.timeout = min(self._resolver.timeout, timeout / 2)
        self._resolver.use_edns(0, 0, PAYLOAD)
        self._timeout = timeout
        self._room = asyncio.Semaphore(max_in_flight)
        self._cache = Cache()
        self._in_flight: dict[tuple[str, str], asyncio.Event] = {}

    async def mx(self, domain: str) -> MxAnswer | Nothing:
        """The records as published; the null MX (RFC 7505) is one whose host is "."."""
        if written_address(domain) is not None:
            return NoData()
        found = await self._find(domain, "MX")
        if not isinstance(found, Records):
            return found
        return MxAnswer(tuple(MxRecord(preference, host) for preference, host in found.rows), found.ttl)

    async def addresses(self, host: str) -> AddressAnswer | Nothing:
        """A and AAAA; when only one of the two could be asked, what it brought."""
        address = written_address(host)
        if address is not None:
            v4 = isinstance(ip_address(address), IPv4Address)
            return AddressAnswer((address,) if v4 else (), () if v4 else (address,), LONGEST)
        v4s, v6s = await asyncio.gather(self._find(host, "A"), self._find(host, "AAAA"))
        return _together(v4s, v6s)

    async def texts(self, name: str) -> tuple[str, ...] | Nothing:
        """The TXT records of a name, the strings of each put together."""
        return _values(await self._find(name, "TXT"))

    async def pointers(self, address: str) -> tuple[str, ...] | Nothing:
        """The names of an address (PTR)."""
        return _values(await self._find(ip_address(address).reverse_pointer, "PTR"))

    async def _find(self, name: str, type: str) -> Records | Nothing:
        try:
            question = (absolute(name), type)
        except ValueError:
            return NoSuchName()
        while True:
            kept = self._cache.get(question)
            if kept is not None:
                return kept
            asked = self._in_flight.get(question)
            if asked is None:
                return await self._ask(question)
            # Whoever asks may be cancelled and leave nothing: then the next one asks.
            await asked.wait()

    async def _ask(self, question: tuple[str, str]) -> Records | Nothing:
        answered = self._in_flight[question] = asyncio.Event()
        try:
            async with self._room:
                answer = await self._query(*question)
            self._cache.put(question, answer)
            return answer
        finally:
            del self._in_flight[question]
            answered.set()

    async def _query(self, name: str, type: str) -> Records | Nothing:
        try:
            # dnspython has had bugs in its own time limit; this one holds anyway.
            async with asyncio.timeout(self._timeout + 1):
                answer = await self._resolver.resolve(name, type, search=False)
        except dns.resolver.NXDOMAIN:
            return NoSuchName()
        except dns.resolver.NoAnswer:
            return NoData()
        except (dns.exception.DNSException, OSError) as error:
            return TryLater(f"{type} {name.removesuffix('.')}: {_why(error)}")
        return _records(answer, type)


class Cache:
    """Answers by question until they expire; the longest unused go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], tuple[Records | Nothing, float]] = OrderedDict()

    def get(self, question: tuple[str, str]) -> Records | Nothing | None:
        """With the time that is left as its TTL."""
        found = self._kept.get(question)
        if found is None:
            return None
        answer, until = found
        left = until - asyncio.get_running_loop().time()
        if left <= 0:
            del self._kept[question]
            return None
        self._kept.move_to_end(question)
        return replace(answer, ttl=left) if isinstance(answer, Records) else answer

    def put(self, question: tuple[str, str], answer: Records | Nothing) -> None:
        if isinstance(answer, Records):
            seconds = answer.ttl
        else:
            seconds = FAILURE if isinstance(answer, TryLater) else NEGATIVE
        self._kept[question] = (answer, asyncio.get_running_loop().time() + seconds)
        if len(self._kept) > MAX_CACHED:
            self._kept.popitem(last=False)


def absolute(name: str) -> str:
    """The name in lower-case A-labels with its final dot; ValueError when it cannot be one.

    Looser than a mail domain: hosts with underscores exist and answer.
    """
    if not name.isascii():
        name = normalise_domain(name)
    if "\\" in name or not name.isprintable() or not name.strip("."):
        raise AddressError("not a name")
    try:
        return dns.name.from_text(name.lower()).to_text()
    except dns.exception.DNSException:
        raise AddressError("not a name") from None


def _configured(nameservers: Sequence[str | tuple[str, int]], resolv_conf: str) -> dns.asyncresolver.Resolver:
    if not nameservers:
        try:
            with open(resolv_conf) as lines:
                return dns.asyncresolver.Resolver(filename=lines)
        except (OSError, dns.resolver.NoResolverConfiguration) as error:
            raise ValueError(f"{resolv_conf}: no nameserver to ask: {error}") from None
    resolver = dns.asyncresolver.Resolver(configure=False)
    pairs = [(server, 53) if isinstance(server, str) else server for server in nameservers]
    resolver.nameservers = [dns.nameserver.Do53Nameserver(address, port) for address, port in pairs]
    return resolver


def _records(answer: dns.resolver.Answer, type: str) -> Records | NoData:
    if answer.rrset is None:
        return NoData()
    if type == "MX":
        rows = tuple((r.preference, r.exchange.to_text(omit_final_dot=True).lower()) for r in answer.rrset)
    elif type == "PTR":
        rows = tuple((0, r.target.to_text(omit_final_dot=True).lower()) for r in answer.rrset)
    elif type == "TXT":
        rows = tuple((0, printable(b"".join(r.strings).decode("utf-8", "replace"))) for r in answer.rrset)
    else:
        rows = tuple((0, r.address) for r in answer.rrset)
    ttl = float(answer.chaining_result.minimum_ttl)
    return Records(rows, min(max(ttl, SHORTEST), LONGEST))


def _why(error: Exception) -> str:
    if isinstance(error, dns.resolver.NoNameservers):
        # Per server: its name, TCP or not, port, the exception, the response.
        tried = error.kwargs.get("errors") or [(None, None, None, "no nameserver answered", None)]
        response = tried[-1][4]
        return (
            dns.rcode.to_text(response.rcode()) if response is not None else one_line(str(tried[-1][3]), 200)
        )
    if isinstance(error, dns.exception.Timeout | TimeoutError):
        return "timed out"
    return one_line(str(error) or type(error).__name__, 200)


def _values(answer: Records | Nothing) -> tuple[str, ...] | Nothing:
    return tuple(text for _, text in answer.rows) if isinstance(answer, Records) else answer


def _together(v4: Records | Nothing, v6: Records | Nothing) -> AddressAnswer | Nothing:
    found = [answer for answer in (v4, v6) if isinstance(answer, Records)]
    if found:
        return AddressAnswer(_texts(v4), _texts(v6), min(answer.ttl for answer in found))
    for kind in (TryLater, NoData):
        for answer in (v4, v6):
            if isinstance(answer, kind):
                return answer
    return NoSuchName()


def _texts(answer: Records | Nothing) -> tuple[str, ...]:
    return tuple(text for _, text in answer.rows) if isinstance(answer, Records) else ()
