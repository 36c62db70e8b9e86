"""The real submission door on a loopback port, with a world behind it that is easy to look at."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

import trustme

from postroad.adapters.smtpd import Doors
from postroad.adapters.smtpd_auth import Logins
from postroad.config.model import Listener, SubmissionConfig
from postroad.demo.process import HANGS_AFTER
from postroad.engine.rights import Rights
from postroad.mail.account import AccountPolicies
from postroad.mail.descriptors import Share
from postroad.mail.events import Event, SessionEnded
from postroad.mail.message import Instant, StagedBody, Submission
from postroad.mail.reply import Reply
from postroad.mail.scram import Verifier, imitation
from tests.support.memory_spool import MemorySpool

_Event = TypeVar("_Event")

NOW = 1_795_000_000.0
QUEUED = Reply(250, ("Queued as 000000000001",), "2.0.0")

MAIL = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n"
MESSAGE = b"Subject: s\r\n\r\nhi\r\n.\r\n"


class StillClock:
    def now(self) -> Instant:
        return NOW


@dataclass
class EventList:
    """`Events` that remembers."""

    seen: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.seen.append(event)

    def of(self, kind: type[_Event]) -> list[_Event]:
        return [event for event in self.seen if isinstance(event, kind)]


@dataclass
class FakeIntake:
    """`Intake` that keeps what it gets and says `reply`; `gate`, when given, is waited for first."""

    reply: Reply = QUEUED
    gate: Callable[[], Awaitable[object]] | None = None
    error: Exception | None = None
    submissions: list[Submission] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self, submission: Submission) -> Reply:
        self.asked.set()
        if self.gate is not None:
            await self.gate()
        if self.error is not None:
            raise self.error
        self.submissions.append(submission)
        return self.reply


@dataclass
class FakeAccounts:
    """`Accounts` in a dictionary; `broken` makes the next check fail as a bug would."""

    secrets: dict[str, bytes] = field(default_factory=lambda: {"alice": b"wonderland"})
    broken: bool = False
    verifiers: dict[str, Verifier] = field(default_factory=dict)

    async def verify(self, login: str, secret: bytes) -> str | None:
        if self.broken:
            raise RuntimeError("the accounts of the test are broken")
        return login if self.secrets.get(login) == secret else None

    def __contains__(self, login: str) -> bool:
        return login in self.secrets

    @property
    def offers_scram(self) -> bool:
        return bool(self.verifiers)

    def scram(self, login: str) -> Verifier:
        return self.verifiers.get(login) or imitation(b"lasting", login, next(iter(self.verifiers.values())))


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@cache
def client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@dataclass
class House:
    """A door and what is behind it."""

    doors: Doors
    intake: FakeIntake
    accounts: FakeAccounts | None
    events: EventList
    spool: MemorySpool

    @property
    def port(self) -> int:
        return int(self.doors.addresses[0].rpartition(":")[2])

    def body(self, submission: Submission) -> bytes:
        """Head and body as one, wherever the body lies."""
        body = submission.content.body
        rest = self.spool.waiting[body.name] if isinstance(body, StagedBody) else body
        return submission.content.head + rest


@asynccontextmanager
async def house(
    *,
    tls: str = "starttls",
    auth: str = "required",
    listener: Listener | None = None,
    passed: Sequence[tuple[str, socket.socket]] = (),
    intake: FakeIntake | None = None,
    accounts: FakeAccounts | None = None,
    no_accounts: bool = False,
    logins: Logins | None = None,
    context: Callable[[], ssl.SSLContext | None] = server_tls,
    config: SubmissionConfig | None = None,
    policies: AccountPolicies | None = None,
    drain_seconds: float = 30.0,
    descriptors: Share | None = None,
) -> AsyncIterator[House]:
    """A door that listens; it is closed, and every session waited for, at the end of the block."""
    intake = intake or FakeIntake()
    known = None if no_accounts else accounts or FakeAccounts()
    events = EventList()
    spool = MemorySpool()
    counter = iter(range(1, 10_000))
    doors = Doors(
        [listener or Listener("127.0.0.1", 0, tls, auth)],
        config or SubmissionConfig(),
        hostname="mail.example.com",
        tls=context,
        intake=intake,
        logins=logins or Logins(known),
        events=events,
        clock=StillClock(),
        spool=spool,
        new_id=lambda now: f"{next(counter):012d}",
        rights=Rights(policies or AccountPolicies(), "example.com", StillClock()),
        drain_seconds=drain_seconds,
        login_delay=0.0,
        descriptors=descriptors,
    )
    await doors.start(passed)
    try:
        yield House(doors, intake, known, events, spool)
    finally:
        doors.close()
        await doors.wait_closed()


class Client:
    """A client that writes octets and reads whole replies, each one text, its lines joined by newlines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """The next reply; "" where the server closed instead."""
        lines = []
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), HANGS_AFTER)).decode()
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    async def say(self, octets: bytes | str) -> str:
        """Send one command, a CRLF added to text, and read its reply."""
        self.send(octets)
        return await self.reply()

    def send(self, octets: bytes | str) -> None:
        self.writer.write(octets if isinstance(octets, bytes) else octets.encode() + b"\r\n")

    async def start_tls(self) -> None:
        await self.writer.start_tls(client_tls(), server_hostname="localhost")

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        return await asyncio.wait_for(self.reader.read(), HANGS_AFTER)

    def half_close(self) -> None:
        self.writer.write_eof()

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def client(house: House, *, tls: bool = False) -> AsyncIterator[Client]:
    """A connected client that has not read the greeting yet; `tls`: from the first octet on."""
    options = {"ssl": client_tls(), "server_hostname": "localhost"} if tls else {}
    address = house.doors.addresses[0]
    if address.startswith("unix:"):
        streams = await asyncio.open_unix_connection(address.removeprefix("unix:"), limit=2**20)
    else:
        host = address.rpartition(":")[0].strip("[]")
        host = {"::": "::1"}.get(host, host)
        streams = await asyncio.open_connection(host, house.port, limit=2**20, **options)  # type: ignore[arg-type]
    one = Client(*streams)
    try:
        yield one
    finally:
        await one.close()


async def send(one: Client) -> list[str]:
    """A whole message after the greeting; the replies to MAIL, RCPT, DATA and the dot."""
    one.send(MAIL)
    said = [await one.reply() for _ in range(3)]
    return said if not said[2].startswith("354") else [*said, await one.say(MESSAGE)]


# What an unhurried client says of one message, and what it needs of a login.
ENVELOPE = b"HELO c\r\n" + MAIL
ALICE = "AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ="


async def into_data(one: Client) -> None:
    """Up to and including the 354."""
    await one.reply()
    one.send(ENVELOPE)
    assert [(await one.reply())[:3] for _ in range(4)] == ["250", "250", "250", "354"]


async def how_it_ended(place: House) -> list[str]:
    async with asyncio.timeout(HANGS_AFTER):
        while not place.events.of(SessionEnded):
            await asyncio.sleep(0)
    return [event.how for event in place.events.of(SessionEnded)]
