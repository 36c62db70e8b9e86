"""The values a message is made of, from what a client handed us to what is claimed for an attempt.

All frozen: a change makes a new value. Times are `Instant`, seconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag, StrEnum

from postroad.mail.address import Address
from postroad.mail.frozen import dataclass
from postroad.mail.lifecycle import State
from postroad.mail.outcome import Outcome, Stage
from postroad.mail.routing import Endpoint, Hop

Instant = float
Seconds = float


class Lane(IntEnum):
    """Priority class of a message."""

    TRANSACTIONAL = 0
    NORMAL = 1
    BULK = 2


class Notify(IntFlag):
    """RFC 3461 4.1 NOTIFY; `NEVER` stands alone. An absent parameter is None, not a flag."""

    NEVER = 0
    SUCCESS = 1
    FAILURE = 2
    DELAY = 4


class Body(StrEnum):
    """BODY (RFC 6152, RFC 3030). With BINARY a CR, LF or NUL may stand anywhere: only BDAT carries that."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"
    BINARY = "BINARYMIME"


class Ret(StrEnum):
    """RFC 3461 4.3 RET: what a failure DSN returns."""

    FULL = "FULL"
    HDRS = "HDRS"


@dataclass(frozen=True, slots=True)
class EnvelopeRecipient:
    """One RCPT TO. `orcpt` is "addr-type;xtext" exactly as received, still encoded."""

    address: Address
    notify: Notify | None = None
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Handling:
    """What few senders ask of a message's whole way.

    `requiretls`: by verified TLS alone, to hosts that promise the same (RFC 8689).
    `priority`: -9 to 9 (RFC 6710). `hold_until`: not before this time (RFC 4865), which was so many
    seconds away where its sender said `hold_for`.
    """

    requiretls: bool = False
    priority: int | None = None
    hold_until: Instant | None = None
    hold_for: Seconds | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """RFC 5321 2.3.1 with the RFC 3461 parameters. `sender` None is the null reverse-path.

    `envid` is the xtext exactly as received, still encoded. `handling` None: nothing is asked.
    """

    sender: Address | None
    recipients: tuple[EnvelopeRecipient, ...]
    body: Body | None = None
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None
    handling: Handling | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """Who talked to us: address and port, the EHLO name, how.

    `protocol` is the RFC 3848 word for Received (ESMTPSA ...), `tls` a short
    printable description of the session's TLS ("TLSv1.3 TLS_AES_256_GCM_SHA384").
    `name`: its name in DNS, where a host in front of us said it; "": nobody looked.
    `tag`: a word that a local program has for the log.
    """

    address: str
    port: int = 0
    helo: str = ""
    protocol: str = "ESMTP"
    tls: str | None = None
    login: str | None = None
    method: str | None = None
    name: str = ""
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class StagedBody:
    """A body too large for memory, already written to a file of its own in the spool.

    `name` is relative to the spool; `crc` is zlib.crc32 of the octets; the file is
    complete but not yet synced. `relaxed_hash` is the RFC 6376 relaxed body hash
    (SHA-256 digest) taken while it was received.
    """

    name: str
    size: int
    crc: int
    relaxed_hash: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """A message's octets, canonical: CRLF only (but for a body sent as BINARYMIME), dots not stuffed.

    `head` is the header fields with the empty line that ends them (absent only
    when the message ended with its headers); `body` what follows. Sent is
    head + body. `dotted`: some line starts with "."; `eight_bit`: some octet > 127;
    `long_lines`: some line has more than the 998 octets that may be sent.
    """

    head: bytes
    body: bytes | StagedBody
    dotted: bool
    eight_bit: bool
    long_lines: bool = False

    @property
    def size(self) -> int:
        body = self.body
        return len(self.head) + (len(body) if isinstance(body, bytes) else body.size)


@dataclass(frozen=True, slots=True)
class Submission:
    """What a door hands to intake.

    `gateway`: it comes from another mailer and is not completed; `later`: the sender wants no
    attempt before a queue run.
    """

    envelope: Envelope
    content: Content
    account: str
    peer: Peer
    received_at: Instant
    lane: Lane = Lane.NORMAL
    gateway: bool = False
    later: bool = False


@dataclass(frozen=True, slots=True)
class Location:
    """Where a record lies in the spool: segment number, offset and length in octets."""

    segment: int
    offset: int
    length: int


# Of what is not in the spool yet.
NOWHERE = Location(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Message:
    """The immutable facts of an accepted message; its content lies at `location`.

    `size` is what is sent: head + body. `warn_at` is when a delay DSN is due;
    None when none is wanted.
    """

    id: str
    sender: Address | None
    account: str
    lane: Lane
    size: int
    received_at: Instant
    expires_at: Instant
    warn_at: Instant | None
    location: Location
    dotted: bool = False
    body: Body = Body.SEVEN_BIT
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None
    handling: Handling | None = None

    @classmethod
    def of(
        cls,
        id: str,
        envelope: Envelope,
        content: Content,
        *,
        account: str,
        lane: Lane,
        received_at: Instant,
        expires_at: Instant,
        warn_at: Instant | None = None,
    ) -> Message:
        """What an envelope and its content become, not in the spool yet."""
        body = Body.EIGHT_BIT if content.eight_bit else Body.SEVEN_BIT
        return cls(
            id=id,
            sender=envelope.sender,
            account=account,
            lane=lane,
            size=content.size,
            received_at=received_at,
            expires_at=expires_at,
            warn_at=warn_at,
            location=NOWHERE,
            dotted=content.dotted,
            body=Body.BINARY if envelope.body is Body.BINARY else body,
            smtputf8=envelope.smtputf8,
            ret=envelope.ret,
            envid=envelope.envid,
            handling=envelope.handling,
        )

    def envelope(self, recipients: tuple[EnvelopeRecipient, ...]) -> Envelope:
        """As it was submitted, to these recipients."""
        return Envelope(
            self.sender, recipients, self.body, self.smtputf8, self.ret, self.envid, self.handling
        )

    @property
    def begins_at(self) -> Instant:
        """From when its time runs: its arrival, or the release its sender asked for."""
        if self.handling is None or self.handling.hold_until is None:
            return self.received_at
        return max(self.received_at, self.handling.hold_until)

    def at(self, location: Location) -> Message:
        """The same message, lying there. Field by field: half the time of `dataclasses.replace`."""
        return Message(
            self.id,
            self.sender,
            self.account,
            self.lane,
            self.size,
            self.received_at,
            self.expires_at,
            self.warn_at,
            location,
            self.dotted,
            self.body,
            self.smtputf8,
            self.ret,
            self.envid,
            self.handling,
        )


MAX_REASON = 200
"""Characters of the reason to hold a message."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Who holds a recipient, and why: the content policy of that name, or with None an operator.

    `reason` "": none was given; `at` None: it is not known since when.
    """

    policy: str | None = None
    reason: str = ""
    at: Instant | None = None

    @property
    def by(self) -> str:
        return "an operator" if self.policy is None else f"policy {self.policy}"

    def __str__(self) -> str:
        return f"held by {self.by}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class Recipient:
    """One address of one message: the row that is scheduled. (`message`, `n`) is its key.

    `first_greylisted` and `hints_used` steer greylist retries (`mail.backoff`);
    `warned`: a delay DSN has named it; `told`: its end is settled with the sender.
    `held`: why, while it is HELD.
    """

    message: str
    n: int
    address: Address
    hop: Hop
    state: State
    due: Instant
    attempts: int = 0
    notify: Notify | None = None
    orcpt: str | None = None
    first_greylisted: Instant | None = None
    hints_used: int = 0
    warned: bool = False
    last: Outcome | None = None
    last_attempt_at: Instant | None = None
    told: bool = False
    held: Hold | None = None

    @property
    def reason(self) -> str | None:
        """What keeps it here, in words: who holds it, else what the last attempt met."""
        if self.held is not None:
            return str(self.held)
        return None if self.last is None else self.last.text


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message and those of its recipients that share a hop, claimed for one attempt."""

    message: Message
    recipients: tuple[Recipient, ...]
    hop: Hop

    def only(self, places: Sequence[int]) -> Delivery:
        """The same for the recipients at these places."""
        return Delivery(self.message, tuple([self.recipients[n] for n in places]), self.hop)


# What an attempt's time went to: a stage before the first MAIL, or the whole transaction.
Step = tuple[str, Seconds]


@dataclass(frozen=True, slots=True)
class Trace:
    """What is kept of an attempt that did not deliver, beside its outcome.

    `host` is the endpoint as "name[address]:port", `tls` "TLSv1.3 TLS_AES_256_GCM_SHA384".
    `steps` in order; those of the connection are there where this attempt opened it.
    """

    started: Instant
    finished: Instant
    host: str | None
    tls: str | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What an attempt, or an operator, changes in one recipient's row.

    `outcome` None: nothing was tried; state, due and attempts change and the rest stays.
    `trace`: of an attempt that is to be remembered. `held`: why, where an operator holds it.
    """

    message: str
    n: int
    state: State
    due: Instant
    attempts: int
    outcome: Outcome | None
    at: Instant
    first_greylisted: Instant | None = None
    hints_used: int = 0
    trace: Trace | None = None
    held: Hold | None = None


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What a TLS session was: printable version and cipher; whether the name was verified."""

    version: str
    cipher: str
    verified: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """What happened: when and where one delivery was tried, and the outcome per recipient.

    `outcomes` runs parallel to `delivery.recipients`. `connected` are the seconds that
    setting up the connection took, 0.0 on a reused one, and `steps` what they went to;
    `uses` counts the transactions of the connection so far, 0: nobody was asked.
    """

    delivery: Delivery
    endpoint: Endpoint | None
    tls: TlsFacts | None
    started: Instant
    finished: Instant
    outcomes: tuple[Outcome, ...]
    connected: Seconds = 0.0
    uses: int = 1
    steps: tuple[Step, ...] = ()

    @classmethod
    def unasked(cls, delivery: Delivery, outcomes: tuple[Outcome, ...], now: Instant) -> Attempt:
        """What ends before anybody was asked."""
        return cls(delivery, None, None, now, now, outcomes, uses=0)

    def trace(self, outcome: Outcome) -> Trace | None:
        """What to keep of it for a recipient who fared so; None where nobody was asked."""
        if not self.uses:
            return None
        last = "transaction" if outcome.stage in _TRANSACTION else outcome.stage.value
        return Trace(
            started=self.started - self.connected,
            finished=self.finished,
            host=None if self.endpoint is None else str(self.endpoint),
            tls=None if self.tls is None else f"{self.tls.version} {self.tls.cipher}",
            steps=(*self.steps, (last, max(0.0, self.finished - self.started))),
        )


_TRANSACTION = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT})
