"""What the engine asks of the world, as Protocols, in the engine's words.

Each has one real adapter and a fake in `tests/support`; both pass the suite of
the same name in `tests/contracts`. Adapters turn their library's exceptions into
the values and errors named here; nothing of a library passes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from postroad.mail.address import Address
from postroad.mail.events import Event
from postroad.mail.frozen import dataclass
from postroad.mail.idempotency import Kept, Known
from postroad.mail.message import (
    Change,
    Content,
    Delivery,
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
from postroad.mail.outcome import Outcome, Stage, Trouble
from postroad.mail.permit import Permit
from postroad.mail.policy import Verdict, View
from postroad.mail.quota import Charge
from postroad.mail.reply import Reply
from postroad.mail.routing import Endpoint, Hop, Route
from postroad.mail.tls import Requirement
from postroad.mail.transaction import Capabilities as Capabilities
from postroad.mail.transaction import Transaction as Transaction


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

    async def read(self, location: Location) -> Stored:
        """The content of a record; raises DamagedRecord where CRC or length disagree."""
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

    async def copy(self, location: Location) -> Location:
        """A second copy of a record, durable when it returns; raises as `Spool.append`, and DamagedRecord."""
        ...

    def let_go(self, location: Location) -> None:
        """One of two copies is not needed; the message lives on in the other."""
        ...

    def done(self, message: Message, recipients: Collection[int]) -> None:
        """As `Spool.done`."""
        ...


class DamagedRecord(OSError):
    """A record whose length or CRC is wrong, or whose file is gone."""


# --- queue ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HopDue:
    """A hop with waiting recipients and the earliest time one of them is due."""

    hop: Hop
    due: Instant


@dataclass(frozen=True, slots=True)
class Finished:
    """A message with something to settle, and all its recipients as they stand."""

    message: Message
    recipients: tuple[Recipient, ...]


# A notification with its recipients, ready to be added.
Notice = tuple[Message, Sequence[Recipient]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What is written with a message in the transaction that accepts it: counted to whom, under which key."""

    charge: Charge | None
    kept: Kept | None


class Queue(Protocol):
    """The index of the queue. Every change is one transaction, durable when awaited.

    Changes are handed to the writer before the first await of their method, so
    that a cancelled caller loses nothing.
    """

    async def add(self, message: Message, recipients: Sequence[Recipient]) -> None:
        """Insert; recipients may be WAITING, HELD or, claimed for their first attempt, ACTIVE.

        Raises StorageFull (nothing changed) or StorageBroken.
        """
        ...

    async def accept(self, message: Message, recipients: Sequence[Recipient], terms: Terms) -> None:
        """`add`, and in the same transaction what the terms say.

        A key that is kept already, and has not expired, fails it whole with ValueError.
        """
        ...

    async def known(self, account: str, name: str, now: Instant) -> Known | None:
        """What was accepted under a key (`mail.idempotency`) that has not expired."""
        ...

    async def charges(self, since: int) -> list[Charge]:
        """What was charged in this hour (since 1970) and later, one for each account and hour, in order."""
        ...

    async def hops(self) -> list[HopDue]:
        """Every hop that has WAITING recipients. Read at start; the scheduler keeps hops, not messages."""
        ...

    async def claim(self, hop: Hop, now: Instant, limit: int, until: Instant) -> list[Delivery]:
        """Turn due WAITING recipients of the hop ACTIVE, at most `limit`, lane then due order.

        Counts the attempt and sets the pessimistic due time `until` *before* any
        network activity: a daemon that dies in a loop hammers nobody. Grouped
        into one Delivery a message.
        """
        ...

    async def next_due(self, hop: Hop) -> Instant | None:
        """The earliest due time among the hop's WAITING recipients; None: none waits."""
        ...

    def record(self, changes: Sequence[Change]) -> Awaitable[list[Finished]]:
        """Store what an attempt changed; answers the messages that now have something to settle.

        Only ACTIVE recipients change: whoever claimed them alone may say what became of them.
        A message is to be settled when no recipient is ACTIVE and one has *news*:
        FAILED, or DELIVERED with NOTIFY=SUCCESS, and not `told`. One that is finished
        without any news is removed in the same transaction, and is in the answer
        too, with `recipients` empty.
        """
        ...

    async def defer_hop(self, hop: Hop, outcome: Outcome, due: Instant, now: Instant) -> int:
        """Every due WAITING recipient of the hop: outcome and due time, no attempt counted; how many."""
        ...

    async def claim_all(self, hop: Hop, limit: int) -> list[Delivery]:
        """WAITING recipients of the hop, due or not, turned ACTIVE: to fail them all at once."""
        ...

    async def expired(self, now: Instant, limit: int) -> list[Delivery]:
        """WAITING recipients of messages past `expires_at`, turned ACTIVE: to fail them."""
        ...

    async def delayed(self, now: Instant, limit: int) -> list[Finished]:
        """Messages whose delay warning is due, with their open recipients. Changes nothing."""
        ...

    async def settle(self, message: str, told: Collection[int], notices: Sequence[Notice]) -> bool:
        """Mark the recipients `told` and add the DSNs that tell of them, in one transaction.

        A message with nothing open and no news left is removed with it: then True.
        Nothing is added when all of `told` were marked before: a repeat tells nobody twice.
        """
        ...

    async def warned(self, message: str, notices: Sequence[Notice]) -> None:
        """The delay warning is done: clear `warn_at`, mark open recipients, add the DSN, at once."""
        ...

    async def unsettled(self, limit: int) -> list[Finished]:
        """Messages that are finished or have news, left behind by a crash; at start only."""
        ...

    async def restart(self, now: Instant, wait: float) -> tuple[int, int, int, int]:
        """At start: every claim is void (ACTIVE -> WAITING). Messages, recipients, claims voided,
        and deliveries that were heard but not recorded before the crash, and are recorded now.

        An attempt that was cut off is due `now`; from the fourth on in `wait` seconds, or
        when its claim foresaw if that is sooner: a message that kills the daemon does not
        do so in a tight loop. From there on it does not count either, so that deaths of
        the daemon, however many, push nobody along the retry schedule.
        """
        ...

    async def find(self, id: str) -> Finished | None:
        """One message with all its recipients, open or final."""
        ...

    async def select(
        self, filter: QueueFilter, limit: int, after: tuple[str, int] | None = None
    ) -> list[tuple[Message, Recipient]]:
        """Open recipients in id order, a page at a time: what the queue commands show and act on."""
        ...

    async def change(self, changes: Sequence[Change]) -> list[Finished]:
        """An operator's changes; as `record`, but skips rows that are ACTIVE."""
        ...

    async def counts(self) -> dict[str, int]:
        """Open recipients by state name (waiting, active, held) and "messages"."""
        ...


class MovingQueue(Protocol):
    """What compaction asks of the queue besides."""

    async def movable(self, segment: int) -> list[Message]:
        """Messages in a segment of which something waits, nothing is in an attempt, nothing is news."""
        ...

    async def move(self, moves: Sequence[tuple[Message, Location]]) -> list[Finished | None]:
        """Each message lies elsewhere from now on; None where it is not as `movable` found it."""
        ...


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """All given conditions must hold. Empty `ids`: any. `older_than` is an Instant.

    `sites`: any of these, each the name of a hop, of its route, or both as str(Hop) has them.
    """

    ids: tuple[str, ...] = ()
    to: str | None = None
    sender: str | None = None
    domain: str | None = None
    state: str | None = None
    older_than: Instant | None = None
    sites: tuple[str, ...] = ()


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

    async def send(self, envelope: Envelope, stored: Stored, size: int, dotted: bool) -> Transaction:
        """One transaction; never raises for what the peer does (see `Transaction.trouble`).

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


class Control(Protocol):
    """The inward port of the operator's door."""

    async def status(self) -> dict[str, object]:
        """What runs and waits now, as JSON values with stable keys."""
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
