"""The world as a literal: zone data and hosts with rules, in place of DNS and SMTP.

    resolver = ScriptedResolver({"example.com": {"MX": [(10, "mx.example.com")]},
                                 "mx.example.com": {"A": ["192.0.2.1"]}})
    transport = ScriptedTransport(clock, {"mx.example.com": Host(greylist(300))})

A host without a rule that has an opinion accepts everything. Rules are asked in
order at every stage; the first that answers with a Reply or a Fault decides. Time
comes from the Clock and waits are `asyncio.sleep`, so a virtual loop serves.
Everything that happened is recorded: `transport.connections`, `transport.accepted`.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from postroad.mail.address import Address
from postroad.mail.commands import Capabilities, Unsendable
from postroad.mail.message import Envelope, Instant, Step, TlsFacts
from postroad.mail.outcome import Fault, Stage, Trouble
from postroad.mail.reply import Reply
from postroad.mail.routing import Endpoint, Route
from postroad.mail.tls import Requirement, TlsLevel
from postroad.mail.transaction import Exchange, Transaction
from postroad.ports.clock import Clock
from postroad.ports.queue import Witness
from postroad.ports.resolver import AddressAnswer, MxAnswer, MxRecord, NoData, NoSuchName, TryLater
from postroad.ports.spool import Stored
from postroad.ports.transport import ConnectFailed

# --- names ---------------------------------------------------------------------


class ScriptedResolver:
    """Answers from `zone` (name -> type -> data); names in `failing` answer TryLater.

    Both may be changed while it runs. `asked` is every question, in order; `delay` the
    seconds an answer takes.
    """

    def __init__(
        self,
        zone: Mapping[str, Mapping[str, Sequence[Any]]],
        *,
        failing: Iterable[str] = (),
        ttl: float = 300.0,
        delay: float = 0.0,
    ) -> None:
        self.zone = {name: dict(types) for name, types in zone.items()}
        self.failing = set(failing)
        self.ttl = ttl
        self.delay = delay
        self.asked: list[tuple[str, str]] = []

    async def mx(self, domain: str) -> MxAnswer | NoData | NoSuchName | TryLater:
        if _literal(domain):
            return NoData()
        types = await self._look(domain, "MX")
        if not isinstance(types, Mapping):
            return types
        if not types.get("MX"):
            return NoData()
        return MxAnswer(tuple(MxRecord(*record) for record in types["MX"]), self.ttl)

    async def addresses(self, host: str) -> AddressAnswer | NoData | NoSuchName | TryLater:
        literal = _literal(host)
        if literal:
            v4 = ipaddress.ip_address(literal).version == 4
            return AddressAnswer((literal,) if v4 else (), () if v4 else (literal,), self.ttl)
        types = await self._look(host, "A")
        if not isinstance(types, Mapping):
            return types
        v4s, v6s = tuple(types.get("A", ())), tuple(types.get("AAAA", ()))
        return AddressAnswer(v4s, v6s, self.ttl) if v4s or v6s else NoData()

    async def _look(self, name: str, type: str) -> Mapping[str, Sequence[Any]] | NoSuchName | TryLater:
        self.asked.append((name, type))
        await asyncio.sleep(self.delay)
        if name in self.failing:
            return TryLater(f"{type} {name}: SERVFAIL")
        return self.zone.get(name, NoSuchName())


def _literal(name: str) -> str | None:
    bare = name.removeprefix("[").removesuffix("]").removeprefix("IPv6:")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return None


# --- what a host says ------------------------------------------------------------

Said = Reply | Fault


@dataclass(frozen=True, slots=True)
class Moment:
    """What a rule may look at. `recipient` only at RCPT, `envelope` from MAIL on."""

    now: Instant
    stage: Stage
    connection: Connection
    envelope: Envelope | None = None
    recipient: Address | None = None


@dataclass(frozen=True)
class Rule:
    """At `stage`, `decide(moment)` answers Reply, Fault or None: no opinion. `delay` seconds pass first."""

    stage: Stage
    decide: Callable[[Moment], Said | None]
    delay: float = 0.0


def reply(text: str) -> Reply:
    """ "450 4.2.0 Greylisted" as a Reply."""
    code, _, rest = text.partition(" ")
    enhanced, _, words = rest.partition(" ")
    if enhanced.count(".") == 2 and enhanced[0] == code[0] and enhanced.replace(".", "").isdigit():
        return Reply(int(code), (words,), enhanced)
    return Reply(int(code), (rest,))


def say(stage: Stage, text: str, *, times: int | None = None, until: Instant | None = None) -> Rule:
    """This reply at this stage: always, the first `times` times, or before the instant `until`."""
    return _limited(stage, reply(text), times, until)


def fail(stage: Stage, fault: Fault, *, times: int | None = None, until: Instant | None = None) -> Rule:
    """This fault at this stage; at DOT the dot has left, at DATA it has not."""
    return _limited(stage, fault, times, until)


def _limited(stage: Stage, said: Said, times: int | None, until: Instant | None) -> Rule:
    left = [times]

    def decide(moment: Moment) -> Said | None:
        if until is not None and moment.now >= until:
            return None
        if left[0] is not None:
            if left[0] == 0:
                return None
            left[0] -= 1
        return said

    return Rule(stage, decide)


def greylist(seconds: float = 300.0, text: str = "450 4.2.0 Greylisted, please try again later") -> Rule:
    """Defer each (sender, recipient) until `seconds` after it was first seen, then accept it."""
    first: dict[tuple[Address | None, Address], Instant] = {}
    said = reply(text)

    def decide(moment: Moment) -> Said | None:
        assert moment.envelope is not None
        assert moment.recipient is not None
        seen = first.setdefault((moment.envelope.sender, moment.recipient), moment.now)
        return said if moment.now < seen + seconds else None

    return Rule(Stage.RCPT, decide)


def refuse(recipient: str, text: str = "550 5.1.1 No such user here") -> Rule:
    """Refuse this recipient, written as it is in the envelope."""
    said = reply(text)
    return Rule(Stage.RCPT, lambda moment: said if str(moment.recipient) == recipient else None)


def down(until: Instant | None = None, fault: Fault = Fault.REFUSED) -> Rule:
    """No connection, ever or until then."""
    return fail(Stage.CONNECT, fault, until=until)


def busy(limit: int, text: str = "421 4.3.2 Too many connections") -> Rule:
    """421 as greeting for every connection beyond `limit` open ones."""
    said = reply(text)
    return Rule(Stage.GREETING, lambda moment: said if moment.connection.together > limit else None)


def lost_after_dot(times: int | None = 1) -> Rule:
    """The connection goes between the final dot and its reply."""
    return fail(Stage.DOT, Fault.LOST, times=times)


def slow(stage: Stage, seconds: float) -> Rule:
    """Nothing is said at this stage for so long; later rules decide what."""
    return Rule(stage, lambda _moment: None, delay=seconds)


ALL_OFFERED = Capabilities(pipelining=True, eight_bit=True, smtputf8=True, dsn=True, size_offered=True)


@dataclass
class Host:
    """What stands behind an endpoint.

    `closes_after`: transactions after which the host closes the idle connection,
    unasked; `idle_limit`: seconds after which it does so. `tls`: offered, "broken"
    (the handshake fails) or None.
    """

    rules: Rule | Sequence[Rule] = ()
    capabilities: Capabilities = ALL_OFFERED
    tls: str | None = "offered"
    certificate_valid: bool = True
    closes_after: int | None = None
    idle_limit: float | None = None

    async def say(self, moment: Moment) -> Said | None:
        for rule in (self.rules,) if isinstance(self.rules, Rule) else self.rules:
            if rule.stage is moment.stage:
                if rule.delay:
                    await asyncio.sleep(rule.delay)
                said = rule.decide(moment)
                if said is not None:
                    return said
        return None


# --- connections -----------------------------------------------------------------


@dataclass(eq=False)
class Connection:
    """One connection that was tried. `together`: open ones of the host, this one with them."""

    endpoint: Endpoint
    opened: Instant
    requirement: Requirement
    plaintext: bool
    username: str | None = None
    together: int = 1
    established: bool = False
    closed: Instant | None = None
    transactions: list[tuple[Envelope, Transaction]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Accepted:
    """One recipient that was given a 2xx to the final dot."""

    at: Instant
    endpoint: Endpoint
    sender: Address | None
    recipient: Address
    content: bytes


class ScriptedTransport:
    """Hosts by name or, failing that, by address; an endpoint that is nobody's refuses connections."""

    def __init__(self, clock: Clock, hosts: Mapping[str, Host], *, connect_delay: float = 0.0) -> None:
        self.clock = clock
        self.hosts = dict(hosts)
        self.connect_delay = connect_delay
        self.connections: list[Connection] = []
        self.accepted: list[Accepted] = []
        self.open: dict[str, int] = defaultdict(int)
        self.most_open: dict[str, int] = defaultdict(int)

    @property
    def established(self) -> list[Connection]:
        return [connection for connection in self.connections if connection.established]

    @asynccontextmanager
    async def connect(
        self,
        endpoint: Endpoint,
        tls: Requirement,
        route: Route | None,
        *,
        plaintext: bool = False,
        hurried: bool = False,
    ) -> AsyncIterator[ScriptedSession]:
        name = endpoint.host if endpoint.host in self.hosts else endpoint.address
        username = None if route is None else route.username
        connection = Connection(endpoint, self.clock.now(), tls, plaintext, username)
        self.connections.append(connection)
        self.open[name] += 1
        connection.together = self.open[name]
        self.most_open[name] = max(self.most_open[name], self.open[name])
        try:
            host = self.hosts.get(name) or Host(down())
            facts = await self._establish(host, connection, 10.0 if hurried else 30.0)
            session = ScriptedSession(self, host, connection, facts)
            try:
                yield session
            finally:
                session.close()
        finally:
            self.open[name] -= 1
            connection.closed = self.clock.now()

    async def _establish(self, host: Host, connection: Connection, patience: float) -> TlsFacts | None:
        try:
            async with asyncio.timeout(patience):
                await asyncio.sleep(self.connect_delay)
                await self._step(host, connection, Stage.CONNECT)
        except TimeoutError:
            timeout = Trouble(Stage.CONNECT, Fault.TIMEOUT, "scripted: connection timed out")
            raise ConnectFailed(timeout, Stage.CONNECT) from None
        for stage in (Stage.GREETING, Stage.EHLO):
            await self._step(host, connection, stage)
        facts = self._secure(host, connection)
        if connection.username is not None:
            await self._step(host, connection, Stage.AUTH)
        connection.established = True
        return facts

    async def _step(self, host: Host, connection: Connection, stage: Stage) -> None:
        said = await host.say(Moment(self.clock.now(), stage, connection))
        if isinstance(said, Fault):
            raise ConnectFailed(Trouble(stage, said, f"scripted: {said}"), stage)
        if said is not None and said.kind != 2:
            raise ConnectFailed(said, stage)

    def _secure(self, host: Host, connection: Connection) -> TlsFacts | None:
        level = connection.requirement.level
        if level is TlsLevel.NONE or (level is TlsLevel.OPPORTUNISTIC and connection.plaintext):
            return None
        if host.tls is None:
            if level is TlsLevel.OPPORTUNISTIC:
                return None
            raise _no_tls(Fault.TLS_MISSING)
        verified = level is TlsLevel.VERIFIED
        if host.tls == "broken" or (verified and not host.certificate_valid):
            raise _no_tls(Fault.TLS)
        return TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", verified)


def _no_tls(fault: Fault) -> ConnectFailed:
    return ConnectFailed(Trouble(Stage.STARTTLS, fault, f"scripted: {fault}"), Stage.STARTTLS)


class ScriptedSession:
    """Drives the same `Exchange` as the real session; the host's rules supply the replies."""

    def __init__(
        self, transport: ScriptedTransport, host: Host, connection: Connection, tls: TlsFacts | None
    ) -> None:
        self._transport = transport
        self._host = host
        self._connection = connection
        self._tls = tls
        self._closed = asyncio.Event()
        self._needs_reset = False
        self._idle_timer: asyncio.TimerHandle | None = None
        self._now_idle()

    @property
    def endpoint(self) -> Endpoint:
        return self._connection.endpoint

    @property
    def capabilities(self) -> Capabilities:
        return self._host.capabilities

    @property
    def tls(self) -> TlsFacts | None:
        return self._tls

    @property
    def steps(self) -> tuple[Step, ...]:
        return (("connect", 0.01),)

    @property
    def usable(self) -> bool:
        return not self._closed.is_set()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    def close(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._closed.set()

    async def send(
        self, envelope: Envelope, stored: Stored, size: int, dotted: bool, witness: Witness
    ) -> Transaction:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        try:
            exchange = Exchange(envelope, self.capabilities, size, reset=self._needs_reset)
        except Unsendable as no:
            return Transaction(None, (None,) * len(envelope.recipients), trouble=no.trouble)
        content = await _content(stored)
        exchange.begin()
        if self._closed.is_set():
            exchange.fail(Fault.LOST, "the peer had closed the connection")
        elif self._needs_reset:
            exchange.receive(reply("250 2.0.0 Reset"))
        while not exchange.done:
            await self._answer(exchange, envelope, witness)
        if not exchange.needs_reset:
            witness.taken(exchange.refused)
        return self._finished(exchange, envelope, content)

    async def _answer(self, exchange: Exchange, envelope: Envelope, witness: Witness) -> None:
        stage = exchange.stage
        recipient = envelope.recipients[exchange.answered].address if stage is Stage.RCPT else None
        if exchange.content_due:
            witness.leaves()
            exchange.dot_sent()
            stage = Stage.DOT
        moment = Moment(self._transport.clock.now(), stage, self._connection, envelope, recipient)
        said = await self._host.say(moment)
        if isinstance(said, Fault):
            exchange.fail(said, f"scripted: {said}")
        else:
            exchange.receive(said or reply("354 Go ahead" if stage is Stage.DATA else "250 2.0.0 Ok"))

    def _finished(self, exchange: Exchange, envelope: Envelope, content: bytes) -> Transaction:
        result = exchange.result
        self._needs_reset = exchange.needs_reset
        self._connection.transactions.append((envelope, result))
        if result.dot is not None and result.dot.kind == 2:
            self._accept(envelope, result, content)
        if not exchange.in_step or len(self._connection.transactions) == self._host.closes_after:
            self._closed.set()
        else:
            self._now_idle()
        return result

    def _accept(self, envelope: Envelope, result: Transaction, content: bytes) -> None:
        now = self._transport.clock.now()
        for recipient, answer in zip(envelope.recipients, result.rcpts, strict=True):
            if answer is not None and answer.kind == 2:
                self._transport.accepted.append(
                    Accepted(now, self.endpoint, envelope.sender, recipient.address, content)
                )

    def _now_idle(self) -> None:
        if self._host.idle_limit is not None:
            loop = asyncio.get_running_loop()
            self._idle_timer = loop.call_later(self._host.idle_limit, self._closed.set)


async def _content(stored: Stored) -> bytes:
    if stored.body is not None:
        return stored.head + stored.body
    return stored.head + b"".join([chunk async for chunk in stored.chunks()])
