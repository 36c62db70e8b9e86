"""What the engine asks of the world, as Protocols, in the engine's words.

Each has one real adapter and a fake in `tests/support`; both pass the suite of
the same name in `tests/contracts`. Adapters turn their library's exceptions into
the values and errors named here; nothing of a library passes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from postroad.mail.address import Address
from postroad.mail.commands import Capabilities as Capabilities
from postroad.mail.frozen import dataclass
from postroad.mail.message import (
    Content,
    Envelope,
    Instant,
    Location,
    Message,
    Recipient,
    StagedBody,
    Step,
    Submission,
    TlsFacts,
)
from postroad.mail.mime import Octets
from postroad.mail.outcome import Stage, Trouble
from postroad.mail.reply import Reply
from postroad.mail.routing import Endpoint, Hop, Route
from postroad.mail.tls import Requirement
from postroad.mail.transaction import Transaction as Transaction
from postroad.ports_queue import Finished as Finished
from postroad.ports_queue import HopDue as HopDue
from postroad.ports_queue import MovingQueue as MovingQueue
from postroad.ports_queue import Notice as Notice
from postroad.ports_queue import Queue as Queue
from postroad.ports_queue import QueueFilter as QueueFilter
from postroad.ports_queue import Restarted as Restarted
from postroad.ports_queue import Terms as Terms
from postroad.ports_queue import Witness as Witness

if TYPE_CHECKING:
    # Named in signatures alone, and slow to load for commands that live some milliseconds.
    from postroad.mail.events import Event
    from postroad.mail.permit import Permit
    from postroad.mail.policy import Verdict, View
    from postroad.mail.why import Live, Why


class StorageFull(Exception):
    """No room to make a message durable; the submission is told 452 4.3.1. Nothing was kept."""


class StorageBroken(Exception):
    """A write or sync failed and what is on disk is unknown: the process must end, saying why."""


class Clock(Protocol):
    def now(self) -> Instant:
        """Seconds since 1970, UTC."""
        ...


class Events(Protocol):
    def emit(self, event: Event) -> None:
        """Synchronous, never fails, never blocks."""
        ...


# --- spool ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """What the spool keeps of a message: self-contained, so that the index can be rebuilt from it.

    `message.location` is meaningless in here (the record does not know where it
    will lie); `recipients` are as they were accepted.
    """

    message: Message
    recipients: tuple[Recipient, ...]
    content: Content


class Stored(Protocol):
    """A message's content, ready to be read: prefix and all, as it is sent.

    Small bodies are in memory, so that a delivery costs one read; large ones come
    in chunks read off the loop.
    """

    @property
    def head(self) -> bytes: ...

    @property
    def body(self) -> bytes | None:
        """The body where it is small, else None: then `chunks`."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body in order, at most 256 KiB a piece; raises OSError where the disk does.

        A wrong CRC raises DamagedRecord in place of the last piece, so that a
        damaged message can never be completed.
        """
        ...


class BodyFile(Protocol):
    """A large body on its way to disk, before the message is ours (`Spool.stage`)."""

    async def write(self, chunk: bytes) -> None:
        """Append; StorageFull when there is no room. Never blocks the loop."""
        ...

    def finish(self, relaxed_hash: bytes) -> StagedBody:
        """Close it; from here `Spool.append` owns the file."""
        ...

    def discard(self) -> None:
        """Remove what was written; harmless after `finish` was followed by `append`."""
        ...


class Spool(Protocol):
    async def append(self, record: Record) -> Location:
        """Durable when it returns: everything of the record is synced.

        Raises StorageFull (nothing kept) or StorageBroken (state unknown: end).
        Calls made while a sync runs share the next one.
        """
        ...

    def stage(self, id: str) -> BodyFile:
        """A file for a body too large for memory."""
        ...

    def staged(self, body: StagedBody) -> AbstractContextManager[Octets]:
        """What was staged, to be read before it is appended. Every use of it blocks: for threads only.

        Raises OSError where the disk does.
        """
        ...

    def discard(self, body: StagedBody) -> None:
        """A staged body that will not be appended is removed; harmless when repeated."""
        ...

    async def read(self, location: Location, of: str | None = None) -> Stored:
        """The content of a record; raises DamagedRecord where CRC or length disagree.

        And where it is not the record of the message `of`: what an index says that is not
        the spool's own, or is damaged, must not send one's mail to another.
        """
        ...

    def release(self, message: Message) -> None:
        """The message is settled; its space may be reclaimed when its segment is free.

        Noted beside the record in time, without a sync: an index made anew leaves it out.
        """
        ...

    def done(self, message: Message, recipients: Collection[int]) -> None:
        """These recipients of a message that goes on need nothing any more: noted as in `release`."""
        ...

    def low(self) -> bool:
        """Below the low-water mark: no new message is taken, what is left is for what we owe."""
        ...


class SparseSpool(Protocol):
    """What compaction asks of the spool besides."""

    def sparse(self, tried: Collection[int]) -> int | None:
        """The segment most worth emptying, of those not `tried`; None while little is wasted in all."""
        ...

    async def copy(self, location: Location, of: str) -> Location:
        """A second copy of a record of the message `of`, durable when it returns.

        Raises as `Spool.append`, and DamagedRecord.
        """
        ...

    def let_go(self, location: Location) -> None:
        """One of two copies is not needed; the message lives on in the other."""
        ...

    def done(self, message: Message, recipients: Collection[int]) -> None:
        """As `Spool.done`."""
        ...


class DamagedRecord(OSError):
    """A record whose length or CRC is wrong, or whose file is gone."""


# --- names ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MxRecord:
    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class NoData:
    """The name exists, records of this type do not."""


@dataclass(frozen=True, slots=True)
class NoSuchName:
    """NXDOMAIN."""


@dataclass(frozen=True, slots=True)
class TryLater:
    """No answer to rely on (SERVFAIL, timeout, refused): one printable line says why."""

    text: str


@dataclass(frozen=True, slots=True)
class MxAnswer:
    """MX records as published (order is the decision of `mail.mx`); `ttl` in seconds."""

    records: tuple[MxRecord, ...]
    ttl: float


@dataclass(frozen=True, slots=True)
class AddressAnswer:
    """IPv4 and IPv6 addresses of a host, as text; `ttl` in seconds."""

    v4: tuple[str, ...]
    v6: tuple[str, ...]
    ttl: float


class Resolver(Protocol):
    async def mx(self, domain: str) -> MxAnswer | NoData | NoSuchName | TryLater: ...

    async def addresses(self, host: str) -> AddressAnswer | NoData | NoSuchName | TryLater: ...


# --- transport -----------------------------------------------------------------

# `Capabilities` and `Transaction` are values of mail.transaction; the engine knows them from here.


class Session(Protocol):
    """An established SMTP session: greeted, EHLO done, TLS and AUTH as required."""

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def tls(self) -> TlsFacts | None: ...

    @property
    def steps(self) -> tuple[Step, ...]:
        """What setting it up took, stage by stage."""
        ...

    @property
    def usable(self) -> bool:
        """Whether another transaction may start: in step, not closed, no 421 seen."""
        ...

    async def send(
        self, envelope: Envelope, stored: Stored, size: int, dotted: bool, witness: Witness
    ) -> Transaction:
        """One transaction; never raises for what the peer does (see `Transaction.trouble`).

        `witness` is told before the end of the content leaves, and where the 2xx to it is read.
        Sends RSET by itself before the next transaction when the last one needs it.
        `envelope.recipients` at most what the peer takes.
        """
        ...

    async def wait_closed(self) -> None:
        """Returns when the peer closes or speaks out of turn while the session is idle."""
        ...


class ConnectFailed(Exception):
    """No session could be had of this endpoint; judged like any trouble or reply."""

    def __init__(self, what: Trouble | Reply, stage: Stage) -> None:
        super().__init__(str(what))
        self.what = what
        self.stage = stage


class Transport(Protocol):
    def connect(
        self, endpoint: Endpoint, tls: Requirement, route: Route | None, *, plaintext: bool = False
    ) -> AbstractAsyncContextManager[Session]:
        """Connect, greet, EHLO, STARTTLS and AUTH as asked; leaving the block says QUIT and closes.

        `plaintext`: skip an offered STARTTLS (opportunistic level only, after TLS
        failed before). Raises ConnectFailed.
        """
        ...


# --- the rest --------------------------------------------------------------------


class Signer(Protocol):
    def domain_for(self, from_domain: str) -> str | None:
        """The signing domain for a From domain: itself or the nearest parent that has a key; None: no key."""
        ...

    async def sign(self, domain: str, content: Content) -> bytes:
        """The DKIM-Signature field(s), CRLF-terminated, to be prepended; off the loop."""
        ...


class Policy(Protocol):
    async def consider(self, view: View) -> Verdict | None:
        """What is to become of a submission; None: it passes as it is.

        May raise anything and take any time: the caller has a limit and an answer for both.
        """
        ...


class Rights(Protocol):
    """Who may send what, for a door that wants to refuse early; intake asks in any case."""

    def permit(self, account: str) -> Permit:
        """What this account may do now; cheap, and not to be kept from one message to the next."""
        ...

    def mail(self, permit: Permit, sender: Address | None, size: int | None) -> Reply | None:
        """The answer to MAIL with this sender and announced size: None, or the refusal."""
        ...


class NewId(Protocol):
    def __call__(self, now: Instant) -> str:
        """A queue id: unique, rising with time, 12 characters of [0-9A-Z]."""
        ...


class Intake(Protocol):
    """The inward port that doors call."""

    async def accept(self, submission: Submission) -> Reply:
        """250 with the queue id once durable, or why not. Never raises but for cancellation."""
        ...


class ImpossibleOperation(Exception):
    """An operator asked for what cannot be done; the text is printable and says why."""


@dataclass(frozen=True, slots=True)
class Explained:
    """Why a recipient waits. `origin` is where the setting that decides stands, None: none does."""

    message: Message
    recipient: Recipient
    why: Why
    origin: str | None


class Control(Protocol):
    """The inward port of the operator's door."""

    async def status(self) -> dict[str, object]:
        """What runs and waits now, as JSON values with stable keys."""
        ...

    async def explain(self, filter: QueueFilter, limit: int) -> list[Explained]:
        """Why each open recipient that the filter names waits, at most so many."""
        ...

    def live(self, hop: Hop) -> Live:
        """How the way of a hop stands now."""
        ...

    def hops_of(self, site: str) -> list[str]:
        """The hops, as `QueueFilter.sites` names them, that lead to a site: an MX group or a host of it."""
        ...

    async def operate(self, verb: str, filter: QueueFilter, uid: int | None) -> list[tuple[str, str]]:
        """Do `verb` (retry, hold, release, delete, bounce) to every open recipient the filter names.

        Answers the changed ones as (id, recipient address); recipients in an attempt
        are skipped. An empty filter means the whole queue: the door has asked for
        consent. `uid` is who asked, for the log. Raises ImpossibleOperation.
        """
        ...
