"""How an SMTP session comes about: connect, greeting, EHLO, STARTTLS, AUTH, each step over aiosmtplib."""

from __future__ import annotations

import asyncio
import errno
import ssl
from dataclasses import replace
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path

from aiosmtplib.auth import auth_crammd5_verify, auth_login_encode, auth_plain_encode
from aiosmtplib.esmtp import parse_esmtp_extensions

from postroad.adapters.smtp_session import Timeouts
from postroad.adapters.smtp_watched import Watched, agreed, at, leave, trouble
from postroad.mail.commands import Capabilities
from postroad.mail.frozen import dataclass
from postroad.mail.message import Step, TlsFacts
from postroad.mail.outcome import Fault, Stage, Trouble
from postroad.mail.printable import one_line
from postroad.mail.reply import Reply
from postroad.mail.routing import Endpoint, Route
from postroad.mail.tls import Requirement, TlsLevel
from postroad.ports.transport import ConnectFailed

_HELO_INSTEAD = (500, 502, 504)
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class Offer:
    """What an EHLO reply offered; `auth` are mechanisms in upper case."""

    capabilities: Capabilities
    starttls: bool = False
    auth: tuple[str, ...] = ()


def offer(reply: Reply) -> Offer:
    """The EHLO keywords we use: RFC 1870, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 6710, 8689, 9422."""
    extensions, mechanisms = parse_esmtp_extensions("\n".join(reply.lines))
    limits = dict(part.upper().partition("=")[::2] for part in extensions.get("limits", "").split())
    capabilities = Capabilities(
        pipelining="pipelining" in extensions,
        eight_bit="8bitmime" in extensions,
        smtputf8="smtputf8" in extensions,
        dsn="dsn" in extensions,
        size=_number(extensions.get("size", "")),
        rcpt_max=_number(limits.get("RCPTMAX", "")),
        mail_max=_number(limits.get("MAILMAX", "")),
        rcpt_domain_max=_number(limits.get("RCPTDOMAINMAX", "")),
        size_offered="size" in extensions,
        binary="chunking" in extensions and "binarymime" in extensions,
        requiretls="requiretls" in extensions,
        mt_priority="mt-priority" in extensions,
    )
    return Offer(capabilities, "starttls" in extensions, tuple(name.upper() for name in mechanisms))


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 19 else 0


class TlsContexts:
    """One SSLContext a level, made when first needed: loading the roots takes tens of milliseconds."""

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file

    def at(self, level: TlsLevel) -> ssl.SSLContext:
        return self._verifying if level is TlsLevel.VERIFIED else self._unverifying

    @cached_property
    def _verifying(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    @cached_property
    def _unverifying(self) -> ssl.SSLContext:
        # Weak keys and old key exchanges are still better than the plain text that
        # would come instead: without verification nothing is promised anyway.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("DEFAULT@SECLEVEL=1")
        return context


@dataclass(frozen=True, slots=True)
class Established:
    """A session ready for transactions, its transport still with aiosmtplib's protocol."""

    transport: asyncio.Transport
    capabilities: Capabilities
    tls: TlsFacts | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Connector:
    """Makes sessions: everything they have in common. `source_address` is a local IP address to bind."""

    hostname: str
    contexts: TlsContexts
    timeouts: Timeouts
    source_address: str | None = None

    async def establish(
        self, endpoint: Endpoint, tls: Requirement, route: Route | None, *, plaintext: bool, hurried: bool
    ) -> Established:
        """Raises ConnectFailed; then, and when cancelled, the connection is closed."""
        watched = await self._connect(endpoint, self.timeouts.hurried if hurried else self.timeouts.connect)
        try:
            return await self._converse(watched, endpoint, tls.level, route, plaintext)
        except BaseException as error:
            leave(watched, error)
            raise

    async def _connect(self, endpoint: Endpoint, seconds: float) -> Watched:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(seconds):
                _, watched = await loop.create_connection(
                    Watched, endpoint.address, endpoint.port, local_addr=self._local(endpoint)
                )
        except OSError as error:
            fault, text = _unconnected(error)
            raise ConnectFailed(Trouble(Stage.CONNECT, fault, text), Stage.CONNECT) from None
        watched.steps.append((Stage.CONNECT.value, loop.time() - began))
        return watched

    def _local(self, endpoint: Endpoint) -> tuple[str, int] | None:
        """Where to bind; an address of the other family is no use to this endpoint."""
        source = self.source_address
        if source is None or ip_address(source).version != ip_address(endpoint.address).version:
            return None
        return source, 0

    async def _converse(
        self, watched: Watched, endpoint: Endpoint, level: TlsLevel, route: Route | None, plaintext: bool
    ) -> Established:
        with at(Stage.GREETING, watched):
            agreed(await watched.greeting(self.timeouts.greeting), Stage.GREETING)
        offered = await self._hello(watched)
        facts = None
        if _wants_tls(level, offered, plaintext):
            facts = await self._secure(watched, endpoint, level)
            offered = await self._hello(watched)
        if route is not None and route.username is not None:
            await self._authenticate(watched, endpoint, route, offered, facts is not None, level)
        return Established(
            watched.carrier, _believed(offered.capabilities, facts), facts, tuple(watched.steps)
        )

    async def _hello(self, watched: Watched) -> Offer:
        """EHLO, or HELO where the peer does not know EHLO (RFC 5321 3.2)."""
        name, seconds = self.hostname.encode("ascii"), self.timeouts.ehlo
        with at(Stage.EHLO, watched):
            reply = await watched.ask(b"EHLO", name, timeout=seconds)
            if reply.code not in _HELO_INSTEAD:
                return offer(agreed(reply, Stage.EHLO))
            agreed(await watched.ask(b"HELO", name, timeout=seconds), Stage.EHLO)
        return Offer(Capabilities())

    async def _secure(self, watched: Watched, endpoint: Endpoint, level: TlsLevel) -> TlsFacts:
        context = self.contexts.at(level)
        with at(Stage.STARTTLS, watched):
            await watched.secure(context, _certificate_name(endpoint), self.timeouts.starttls)
        tls: ssl.SSLObject = watched.carrier.get_extra_info("ssl_object")
        cipher = tls.cipher()
        return TlsFacts(tls.version() or "", cipher[0] if cipher else "", level is TlsLevel.VERIFIED)

    async def _authenticate(
        self,
        watched: Watched,
        endpoint: Endpoint,
        route: Route,
        offered: Offer,
        secured: bool,
        level: TlsLevel,
    ) -> None:
        """A password never crosses a network in clear, whatever the configuration says."""
        private = level is TlsLevel.NONE and ip_address(endpoint.address).is_loopback
        if not (secured or private):
            raise trouble(Stage.AUTH, Fault.NO_AUTH, "credentials are not sent without TLS")
        username, password = route.username or "", route.password or ""
        with at(Stage.AUTH, watched):
            reply = await _log_in(watched, offered.auth, username, password, self.timeouts.auth)
            agreed(reply, Stage.AUTH)


async def _log_in(
    watched: Watched, mechanisms: tuple[str, ...], username: str, password: str, seconds: float
) -> Reply:
    """The last reply of the best mechanism both sides know (RFC 4954)."""
    if "PLAIN" in mechanisms:
        token = auth_plain_encode(username, password)
        return await watched.ask(b"AUTH", b"PLAIN", token, timeout=seconds)
    if "LOGIN" in mechanisms:
        name, secret = auth_login_encode(username, password)
        reply = await watched.ask(b"AUTH", b"LOGIN", name, timeout=seconds)
        return await watched.ask(secret, timeout=seconds) if reply.code == 334 else reply
    if "CRAM-MD5" in mechanisms:
        reply = await watched.ask(b"AUTH", b"CRAM-MD5", timeout=seconds)
        if reply.code != 334:
            return reply
        return await watched.ask(auth_crammd5_verify(username, password, reply.text), timeout=seconds)
    offered = one_line(" ".join(mechanisms), 100) or "nothing"
    raise trouble(Stage.AUTH, Fault.NO_AUTH, f"no known AUTH mechanism; the receiver offers {offered}")


def _believed(capabilities: Capabilities, facts: TlsFacts | None) -> Capabilities:
    """REQUIRETLS is promised by nobody whose certificate was not verified (RFC 8689 2)."""
    if capabilities.requiretls and (facts is None or not facts.verified):
        return replace(capabilities, requiretls=False)
    return capabilities


def _wants_tls(level: TlsLevel, offered: Offer, plaintext: bool) -> bool:
    if level is TlsLevel.NONE or (level is TlsLevel.OPPORTUNISTIC and (plaintext or not offered.starttls)):
        return False
    if not offered.starttls:
        raise trouble(Stage.STARTTLS, Fault.TLS_MISSING, "TLS is required; the receiver does not offer it")
    return True


def _certificate_name(endpoint: Endpoint) -> str:
    """What SNI says and the certificate must name; an IP address where the host is one."""
    name = endpoint.host.removesuffix(".")
    return name.strip("[]").removeprefix("IPv6:") or endpoint.address


def _unconnected(error: OSError) -> tuple[Fault, str]:
    if isinstance(error, TimeoutError):
        return Fault.TIMEOUT, "connection timed out"
    if isinstance(error, ConnectionRefusedError):
        return Fault.REFUSED, "connection refused"
    if isinstance(error, ConnectionError):
        return Fault.LOST, "connection reset"
    fault = Fault.INTERNAL if error.errno in _OUT_OF_DESCRIPTORS else Fault.UNREACHABLE
    return fault, one_line(error.strerror or type(error).__name__, 200)
