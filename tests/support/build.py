"""Messages, recipients and records with everything filled in; a test states what it cares about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from postroad.mail.address import Address
from postroad.mail.data import has_long_line
from postroad.mail.lifecycle import State
from postroad.mail.message import (
    Change,
    Content,
    Delivery,
    Envelope,
    EnvelopeRecipient,
    Instant,
    Location,
    Message,
    Notify,
    Recipient,
    StagedBody,
)
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.mail.queue_id import format_id
from postroad.mail.reply import Reply
from postroad.mail.routing import DIRECT, Hop
from postroad.ports.spool import Record

NOW: Instant = 1_795_000_000.0
HOUR = 3600.0
HEAD = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: hello\r\n\r\n"
BODY = b"Good morning.\r\n"


def queue_id(number: int) -> str:
    """The id of the number-th message of a test; rises with it."""
    return format_id((int((NOW - 1_577_836_800) * 1000) << 19) + number)


def address(text: str) -> Address:
    """`local@domain`, as it stands: nothing is checked or normalised."""
    local, _, domain = text.rpartition("@")
    return Address(local, domain)


def hop(name: str = "example.org", route: str = DIRECT) -> Hop:
    return Hop(route, name)


def message(number: int = 1, **fields: Any) -> Message:
    """A message of 73 octets that came at NOW, expires in five days and warns after four hours."""
    usual = Message(
        id=queue_id(number),
        sender=Address("a", "example.com"),
        account="user",
        lane=fields.pop("lane", 1),
        size=len(HEAD) + len(BODY),
        received_at=NOW,
        expires_at=NOW + 120 * HOUR,
        warn_at=NOW + 4 * HOUR,
        location=Location(1, 0, 400),
    )
    return replace(usual, **fields)


def recipient(to: str | Message = "b@example.org", n: int = 0, **fields: Any) -> Recipient:
    """A WAITING recipient, due at NOW, of message 1 or of the message given in place of an address."""
    owner = to.id if isinstance(to, Message) else fields.pop("message", queue_id(1))
    mailbox = fields.pop("address", None) or address("b@example.org" if isinstance(to, Message) else to)
    usual = Recipient(
        message=owner,
        n=n,
        address=mailbox,
        hop=hop(mailbox.domain),
        state=State.WAITING,
        due=NOW,
    )
    return replace(usual, **fields)


def envelope_recipient(to: str = "b@example.org", notify: Notify | None = None) -> EnvelopeRecipient:
    return EnvelopeRecipient(address(to), notify)


def content(head: bytes = HEAD, body: bytes | StagedBody = BODY) -> Content:
    dotted = isinstance(body, bytes) and (body.startswith(b".") or b"\n." in body)
    eight_bit = isinstance(body, bytes) and not body.isascii()
    long_lines = isinstance(body, bytes) and has_long_line(body)
    return Content(head, body, dotted=dotted, eight_bit=eight_bit, long_lines=long_lines)


def record(number: int = 1, body: bytes | StagedBody = BODY, **fields: Any) -> Record:
    """What the spool is given for a message with one recipient; `fields` are the message's."""
    octets = content(fields.pop("head", HEAD), body)
    owner = message(number, size=octets.size, dotted=octets.dotted, **fields)
    return Record(owner, (recipient(owner),), octets)


def delivery(owner: Message | None = None, *recipients: Recipient) -> Delivery:
    owner = owner or message()
    chosen = recipients or (recipient(owner, state=State.ACTIVE, attempts=1),)
    return Delivery(owner, chosen, chosen[0].hop)


def delivered(**fields: Any) -> Outcome:
    usual = Outcome(
        Kind.DELIVERED,
        Scope.RECIPIENT,
        Reason.OK,
        "2.0.0",
        "250 2.0.0 Ok",
        Stage.DOT,
        Reply(250, ("Ok",), "2.0.0"),
        "mx.example.org[192.0.2.1]:25",
    )
    return replace(usual, **fields)


def deferred(**fields: Any) -> Outcome:
    usual = Outcome(
        Kind.DEFERRED,
        Scope.RECIPIENT,
        Reason.GREYLIST,
        "4.7.1",
        "451 4.7.1 Greylisted",
        Stage.RCPT,
        Reply(451, ("Greylisted", "try in 300 s"), "4.7.1"),
        "mx.example.org[192.0.2.1]:25",
        300.0,
    )
    return replace(usual, **fields)


def failed(**fields: Any) -> Outcome:
    usual = Outcome(
        Kind.FAILED,
        Scope.RECIPIENT,
        Reason.INVALID,
        "5.1.1",
        "550 5.1.1 No such user",
        Stage.RCPT,
        Reply(550, ("No such user",), "5.1.1"),
        "mx.example.org[192.0.2.1]:25",
    )
    return replace(usual, **fields)


_STATES = {Kind.DELIVERED: State.DELIVERED, Kind.DEFERRED: State.WAITING, Kind.FAILED: State.FAILED}


def change(of: Recipient, outcome: Outcome | None = None, **fields: Any) -> Change:
    """What `outcome` makes of a recipient at NOW; a deferred one is due an hour later."""
    state = of.state if outcome is None else _STATES[outcome.kind]
    usual = Change(
        message=of.message,
        n=of.n,
        state=state,
        due=NOW + HOUR if state is State.WAITING else of.due,
        attempts=of.attempts,
        outcome=outcome,
        at=NOW,
    )
    return replace(usual, **fields)


def envelope(*to: str) -> Envelope:
    """From a@example.com to these local parts at example.org, "b" where there are none."""
    return Envelope(
        Address("a", "example.com"),
        tuple(EnvelopeRecipient(Address(local, "example.org")) for local in to or ("b",)),
    )
