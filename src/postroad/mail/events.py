"""What happened, as frozen values: for the log, later for metrics and hooks.

Emitted by whoever knows, through the port `Events`. The journal renders each in
the configured format; the names of the fields are the keys of the JSON log.
"""

from __future__ import annotations

from postroad.mail.frozen import dataclass
from postroad.mail.message import Attempt, Instant, Peer, Submission
from postroad.mail.reply import Reply


@dataclass(frozen=True, slots=True)
class Started:
    """The daemon is ready: version and the addresses it listens on."""

    version: str
    listeners: tuple[str, ...]
    queued: int


@dataclass(frozen=True, slots=True)
class Stopping:
    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    waiting: int


@dataclass(frozen=True, slots=True)
class Reloaded:
    """A configuration was taken (`problems` empty) or refused whole."""

    path: str
    problems: tuple[str, ...]
    needs_restart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """A submission became ours: said only after it is durable. `priority`: as its sender asked (RFC 6710)."""

    id: str
    peer: Peer
    account: str
    sender: str
    recipients: tuple[str, ...]
    size: int
    message_id: str
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Expanded:
    """A local name was replaced by those it stands for.

    `onward` is the message that goes to them: `id` itself at intake, a new one where
    the mail had to wait for an alias.
    """

    id: str
    recipient: str
    to: tuple[str, ...]
    onward: str


@dataclass(frozen=True, slots=True)
class AliasTrouble:
    """What is wrong with the alias files; those lines do not count."""

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exposed:
    """Files that others can read or write who should not."""

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stuck:
    """A part makes no progress: the service manager's watchdog is not fed while that lasts."""

    part: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """A submission was made again: answered as the first time, with the id of then, and not queued."""

    id: str
    peer: Peer
    account: str


@dataclass(frozen=True, slots=True)
class OpenRelay:
    """A listener takes mail from anybody, because the configuration says aloud that it shall."""

    listener: str
    cause: str


@dataclass(frozen=True, slots=True)
class Descriptors:
    """How many descriptors the process has and needs, and how many clients the doors hold with them."""

    limit: int
    needed: int
    clients: int


@dataclass(frozen=True, slots=True)
class CertificateWanes:
    """A certificate of ours expires soon, has expired, or is not good yet; told at start and every day."""

    text: str


@dataclass(frozen=True, slots=True)
class DescriptorsScarce:
    """Hardly a descriptor is left of `limit` (0: not known): the doors wait before the next client."""

    limit: int


@dataclass(frozen=True, slots=True)
class DoorsFull:
    """As many clients as `limit` allows; `silent` of them neither logged in nor began a message.

    Since the last such event `shed` silent ones were sent away for others, and `refused` were turned
    away. `holders`: the addresses with the most connections, each with their number.
    """

    connections: int
    limit: int
    silent: int
    shed: int
    refused: int
    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A submission, recipient or login was refused; `reply` is what the client was told."""

    peer: Peer
    stage: str
    sender: str
    recipient: str
    reply: str


def refused(submission: Submission, reply: Reply) -> Refused:
    """A whole submission was refused: told with its sender and its first recipient."""
    envelope = submission.envelope
    return Refused(
        peer=submission.peer,
        stage="DATA",
        sender=str(envelope.sender) if envelope.sender else "",
        recipient=str(envelope.recipients[0].address) if envelope.recipients else "",
        reply=str(reply),
    )


@dataclass(frozen=True, slots=True)
class Linted:
    """The header of a submission is outside the rules; `findings` are "name: what, and its cure"."""

    id: str
    peer: Peer
    account: str
    sender: str
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A content policy holds a submission; it waits in the queue for an operator if it is accepted."""

    id: str
    policy: str
    reason: str


@dataclass(frozen=True, slots=True)
class PolicyFailed:
    """A content policy gave no usable answer; `meaning`: accept, tempfail or reject, as configured."""

    id: str
    policy: str
    text: str
    meaning: str


@dataclass(frozen=True, slots=True)
class LoginFailed:
    """`reason`: wrong, or refused: too many were wrong before, so it was not looked at."""

    peer: Peer
    method: str
    login: str
    reason: str = "wrong"


@dataclass(frozen=True, slots=True)
class LoginUnavailable:
    """Whether a login is right could not be found out; why, for the operator."""

    peer: Peer
    method: str
    text: str


@dataclass(frozen=True, slots=True)
class LoggedIn:
    peer: Peer
    method: str
    login: str


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A client left, or we closed; `how` is quit, lost, timeout, limit, shed, error or closed."""

    peer: Peer
    how: str
    accepted: int


@dataclass(frozen=True, slots=True)
class Tried:
    """One delivery was attempted; `next_due` runs parallel to the outcomes, None when final."""

    attempt: Attempt
    next_due: tuple[Instant | None, ...]


@dataclass(frozen=True, slots=True)
class HopDeferred:
    """All that waits for a hop was put off without an attempt, and why."""

    hop: str
    count: int
    until: Instant
    text: str


@dataclass(frozen=True, slots=True)
class HopFailed:
    """All that waited for a hop failed at once (no such domain, null MX), and why."""

    hop: str
    count: int
    text: str


@dataclass(frozen=True, slots=True)
class SitePaused:
    site: str
    until: Instant
    text: str


@dataclass(frozen=True, slots=True)
class SiteResumed:
    site: str


@dataclass(frozen=True, slots=True)
class Notified:
    """A delivery status notification was queued for `id` as the new message `dsn`.

    `kind` is failed, delayed, relayed or expanded.
    """

    id: str
    dsn: str
    kind: str
    to: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class DoubleBounce:
    """A notification itself failed; nobody is told but the log."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A message left the queue: everything about it is settled."""

    id: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """What start-up found: to `ambiguous` recipients the end of the message may have left when the process
    died, and it may come twice; of `heard` ones the 250 had come and was not recorded yet."""

    messages: int
    recipients: int
    ambiguous: int
    unsettled: int
    heard: int = 0


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """One message that a crash cut off between its end and the answer: `to` may get it twice."""

    id: str
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Operated:
    """An operator changed the queue: verb, how many recipients, who; `reason` of a hold."""

    verb: str
    count: int
    uid: int | None
    ids: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class InternalError:
    """A bug, kept from stopping the mail; `trace` is the traceback."""

    where: str
    text: str
    trace: str


@dataclass(frozen=True, slots=True)
class StorageTrouble:
    """The disk or the index refused; what it means for the mail is in `text`."""

    operation: str
    text: str


Event = (
    Started
    | Stopping
    | Stopped
    | Reloaded
    | Accepted
    | Expanded
    | AliasTrouble
    | Exposed
    | Stuck
    | Replayed
    | OpenRelay
    | Descriptors
    | CertificateWanes
    | DescriptorsScarce
    | DoorsFull
    | Refused
    | Linted
    | Held
    | PolicyFailed
    | LoginFailed
    | LoginUnavailable
    | LoggedIn
    | SessionEnded
    | Tried
    | HopDeferred
    | HopFailed
    | SitePaused
    | SiteResumed
    | Notified
    | DoubleBounce
    | Removed
    | Recovered
    | Ambiguous
    | Operated
    | InternalError
    | StorageTrouble
)
