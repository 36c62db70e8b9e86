"""Events as log entries: level, name, and flat fields with stable keys, free of control characters.

The keys are the names of the fields in `mail.events`; a peer's fields stand beside
the event's, an Instant is written as RFC 3339 in UTC, and an attempt is one entry
for each of its recipients.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import fields as dataclass_fields
from typing import Any, Final, NamedTuple

from postroad.mail.events import (
    AliasTrouble,
    Ambiguous,
    CertificateWanes,
    Descriptors,
    DescriptorsScarce,
    DoorsFull,
    DoubleBounce,
    Event,
    Exposed,
    Held,
    HopDeferred,
    HopFailed,
    InternalError,
    Linted,
    LoggedIn,
    LoginFailed,
    LoginUnavailable,
    OpenRelay,
    PolicyFailed,
    Recovered,
    Reloaded,
    SessionEnded,
    SitePaused,
    StorageTrouble,
    Stuck,
    Tried,
)
from postroad.mail.message import Attempt, Instant, Peer
from postroad.mail.outcome import Kind, Outcome, Reason
from postroad.mail.timestamps import rfc3339

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
LEVELS = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}
LEVEL_NAMES = {number: name for name, number in LEVELS.items()}

# What can end a line, move a cursor, hide or reorder text: C0, DEL, C1, the soft hyphen, line
# and paragraph separators, bidirectional and invisible format characters, half surrogate pairs.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def clean(text: str) -> str:
    r"""The text with every control, separator and format character as \xNN, \uNNNN or \UNNNNNNNN."""
    return text if text.isprintable() else _UNSAFE.sub(_escape, text)


class Stamp:
    """RFC 3339 in UTC with milliseconds; the part that changes once a second is kept."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, instant: Instant) -> str:
        milliseconds = int(instant * 1000)
        second = milliseconds // 1000
        if second != self._second:
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._text}.{milliseconds % 1000:03d}Z"


class Entry(NamedTuple):
    """One line of the log before it has a format; with `to` one for each, as its field "to"."""

    level: int
    name: str
    fields: dict[str, Any]
    to: list[str] = []  # noqa: RUF012 (never changed where it is the default)


def entries(event: Event, least: int) -> Sequence[Entry]:
    """The entries of an event at or above `least`."""
    if type(event) is Tried:
        return tried(event, least)
    kind = _kind(type(event))
    level = kind.level or _level_of_what_it_says(event)
    return (Entry(level, kind.name, _flat(event, kind)),) if level >= least else ()


_LEVELS: dict[type, int] = {
    # 0: the fields decide.
    Reloaded: 0,
    Recovered: 0,
    SessionEnded: 0,
    Descriptors: 0,
    LoggedIn: DEBUG,
    Linted: WARNING,
    Held: WARNING,
    PolicyFailed: ERROR,
    LoginFailed: WARNING,
    OpenRelay: WARNING,
    Ambiguous: WARNING,
    CertificateWanes: WARNING,
    DescriptorsScarce: ERROR,
    DoorsFull: WARNING,
    LoginUnavailable: WARNING,
    HopDeferred: WARNING,
    AliasTrouble: WARNING,
    Exposed: WARNING,
    Stuck: ERROR,
    HopFailed: WARNING,
    SitePaused: WARNING,
    DoubleBounce: WARNING,
    InternalError: ERROR,
    StorageTrouble: ERROR,
}


def level_of(event: Event) -> int:
    """How much an event asks for a person's attention."""
    return _LEVELS.get(type(event), INFO) or _level_of_what_it_says(event)


def _level_of_what_it_says(event: Event) -> int:
    if isinstance(event, Reloaded):
        return ERROR if event.problems else INFO
    if isinstance(event, Recovered):
        return WARNING if event.ambiguous else INFO
    if isinstance(event, Descriptors):
        return INFO if event.limit >= event.needed else WARNING
    return WARNING if isinstance(event, SessionEnded) and event.how == "limit" else DEBUG


def level_of_outcome(outcome: Outcome) -> int:
    """Mail that will not arrive, or may arrive twice, is worth a warning; waiting is routine."""
    failed = outcome.kind is Kind.FAILED or outcome.reason is Reason.AMBIGUOUS
    return WARNING if failed else INFO


def name_of(kind: type) -> str:
    """The class's name in kebab case: HopDeferred -> hop-deferred."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


# --- one event, flat -----------------------------------------------------------


def flatten(event: Event) -> dict[str, Any]:
    """The fields of an event that is not an attempt."""
    return _flat(event, _kind(type(event)))


def _flat(event: Event, kind: _Kind) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    peer: dict[str, Any] = {}
    for key, convert, nothing in kind.plan:
        value = getattr(event, key)
        if value is nothing:
            continue
        if convert is None or (convert is clean and value.isprintable()):
            flat[key] = value
        elif convert is _peer:
            peer = _peer(value)
        else:
            flat[key] = convert(value)
    # The event's own words (the login that was tried) win over the session's, and come first.
    return flat | peer | flat if peer else flat


def _peer(peer: Peer) -> dict[str, Any]:
    fields = {
        "peer": peer.address,
        "port": peer.port,
        "helo": peer.helo,
        "protocol": peer.protocol,
        "tls": peer.tls,
        "login": peer.login,
        "method": peer.method,
    }
    if peer.name:
        fields["name"] = clean(peer.name)
    if peer.tag is not None:
        fields["tag"] = clean(peer.tag)
    if f"{peer.address}{peer.helo}{peer.protocol}{peer.tls}{peer.login}{peer.method}".isprintable():
        return fields
    return {key: clean(value) if isinstance(value, str) else value for key, value in fields.items()}


def _texts(values: tuple[str, ...]) -> list[str]:
    return [clean(value) for value in values]


def _lines(trace: str) -> list[str]:
    return [clean(line) for line in trace.splitlines()]


_Convert = Callable[[Any], Any] | None

# By annotation, so that a new event needs nothing here.
_CONVERT: dict[str, _Convert] = {
    "str": clean,
    "tuple[str, ...]": _texts,
    "Instant": rfc3339,
    "Peer": _peer,
    "int": None,
    "int | None": None,
}


class _Kind(NamedTuple):
    """What is the same of all events of a class; `level` 0: it depends.

    `plan`: each field, how it is written, and the value with which it says nothing and is left out.
    """

    level: int
    name: str
    plan: tuple[tuple[str, _Convert, object], ...]


_ALWAYS: Final = object()
_kinds: dict[type, _Kind] = {}


def _kind(of: type) -> _Kind:
    known = _kinds.get(of)
    if known is not None:
        return known
    plan = [
        (
            f.name,
            _lines if f.name == "trace" else _CONVERT[str(f.type)],
            f.default if f.default in (None, "") else _ALWAYS,
        )
        for f in dataclass_fields(of)
    ]
    kind = _kinds[of] = _Kind(_LEVELS.get(of, INFO), name_of(of), tuple(plan))
    return kind


# --- attempts ------------------------------------------------------------------

STATUS = {Kind.DELIVERED: "sent", Kind.DEFERRED: "deferred", Kind.FAILED: "failed"}


def tried(event: Tried, least: int) -> list[Entry]:
    """One entry for recipients, one after another, that fared alike: a line for each of `to`."""
    attempt = event.attempt
    delivery, tls = attempt.delivery, attempt.tls
    id, hop = delivery.message.id, str(delivery.hop)
    relay = None if attempt.endpoint is None else str(attempt.endpoint)
    session = None if tls is None else f"{tls.version} {tls.cipher}"
    if not f"{id}{hop}{relay}{session}".isprintable():
        id, hop = clean(id), clean(hop)
        relay, session = relay and clean(relay), session and clean(session)
    spent = delays(attempt)
    delay = round(max(0.0, attempt.finished - delivery.message.received_at), 3)
    made: list[Entry] = []
    before: tuple[Outcome, int, Instant | None] | None = None
    for recipient, outcome, due in zip(delivery.recipients, attempt.outcomes, event.next_due, strict=True):
        level = level_of_outcome(outcome)
        if level < least:
            continue
        to = str(recipient.address)
        if not to.isprintable():
            to = clean(to)
        said = (outcome, recipient.attempts, due)
        if said == before:
            made[-1].to.append(to)
            continue
        before = said
        status, reply = outcome.status, _reply(outcome)
        if not f"{status}{reply}".isprintable():
            status, reply = clean(status), clean(reply)
        fields = {
            "id": id,
            "to": to,
            "hop": hop,
            "relay": relay,
            "status": STATUS[outcome.kind],
            "dsn": status,
            "reply": reply,
            "delay": delay,
            "delays": spent,
            "attempts": recipient.attempts,
            "next": None if due is None else rfc3339(due),
            "reason": str(outcome.reason),
            "tls": session,
            "verified": None if tls is None else tls.verified,
        }
        made.append(Entry(level, "tried", fields, [to]))
    return made


def _reply(outcome: Outcome) -> str:
    """What the receiver said where it said something, else what went wrong."""
    # Of a delivery the text is what was said.
    told = outcome.reply is None or outcome.kind is Kind.DELIVERED
    return outcome.text if told else str(outcome.reply)


def delays(attempt: Attempt) -> list[float]:
    """Seconds, as Postfix divides them: before the queue, in it, to connect, to transmit.

    What passes before a message is in the queue is not measured apart: 0. An attempt
    starts on a connection that stands, so that connecting lies before it.
    """
    connected, started = attempt.connected, attempt.started
    queued = started - connected - attempt.delivery.message.received_at
    sending = attempt.finished - started
    return [
        0.0,
        round(queued, 3) if queued > 0.0 else 0.0,
        round(connected, 3),
        round(sending, 3) if sending > 0.0 else 0.0,
    ]
