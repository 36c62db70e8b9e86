"""Rows of the index and the values they hold; the order of columns is that of queries.sql."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from postroad.mail.address import Address
from postroad.mail.lifecycle import State
from postroad.mail.message import (
    Body,
    Change,
    Handling,
    Hold,
    Lane,
    Location,
    Message,
    Notify,
    Recipient,
    Ret,
    Trace,
)
from postroad.mail.outcome import Outcome
from postroad.mail.queue_id import format_id, parse_id
from postroad.mail.routing import Hop

DOTTED, EIGHT_BIT, SMTPUTF8, BINARY = 1, 2, 4, 8
MESSAGE_COLUMNS = 16
# What a new recipient has in the columns that `add_new_recipient` does not bind.
NOTHING_KNOWN = (None, None, None, 0, False, None, None, False, None)

Row = Sequence[Any]

_outcome_to_json = msgspec.json.Encoder().encode
json_rows = msgspec.json.Decoder(list[list[Any]]).decode
_outcome_from_json = msgspec.json.Decoder(Outcome).decode
_handling_to_json = msgspec.json.Encoder().encode
_handling_from_json = msgspec.json.Decoder(Handling).decode

_hold_to_json = msgspec.json.Encoder().encode
_hold_from_json = msgspec.json.Decoder(Hold).decode

_attempt_to_json = msgspec.json.Encoder().encode
_attempt_from_json = msgspec.json.Decoder(tuple[Trace, Outcome]).decode

# Enum calls cost more than the rest of a row.
_STATES = tuple(State)
_LANES = tuple(Lane)


def message_row(message: Message) -> Row:
    sender, location = message.sender, message.location
    return (
        parse_id(message.id),
        sender and sender.local,
        sender and sender.domain,
        message.account,
        int(message.lane),
        message.size,
        message.received_at,
        message.expires_at,
        message.warn_at,
        location.segment,
        location.offset,
        location.length,
        _flags(message),
        message.ret,
        message.envid,
        message.handling and _handling_to_json(message.handling).decode(),
    )


# The flags of each kind of body, and back: enum members are told apart by looking them up once.
_BODY_FLAGS = {Body.SEVEN_BIT: 0, Body.EIGHT_BIT: EIGHT_BIT, Body.BINARY: BINARY}
_BODIES = {flags: body for body, flags in _BODY_FLAGS.items()}


def _flags(message: Message) -> int:
    return DOTTED * message.dotted | _BODY_FLAGS[message.body] | SMTPUTF8 * message.smtputf8


def to_message(row: Row) -> Message:
    id, local, domain, account, lane, size, received, expires, warn = row[:9]
    segment, offset, length, flags, ret, envid, handling = row[9:MESSAGE_COLUMNS]
    return Message(
        format_id(id),
        None if domain is None else Address(local, domain),
        account,
        _LANES[lane],
        size,
        received,
        expires,
        warn,
        Location(segment, offset, length),
        flags & DOTTED != 0,
        _BODIES[flags & (EIGHT_BIT | BINARY)],
        flags & SMTPUTF8 != 0,
        None if ret is None else Ret(ret),
        envid,
        None if handling is None else _handling_from_json(handling),
    )


def recipient_row(recipient: Recipient, message: int, hop: int, lane: int) -> Row:
    """For `add_recipient`; `message` and `hop` are the integers of its message and hop."""
    address = recipient.address
    return (
        message,
        recipient.n,
        hop,
        lane,
        int(recipient.state),
        recipient.due,
        recipient.attempts,
        address.local,
        address.domain,
        None if recipient.notify is None else int(recipient.notify),
        recipient.orcpt,
        recipient.first_greylisted,
        recipient.hints_used,
        recipient.warned,
        outcome_text(recipient.last),
        recipient.last_attempt_at,
        recipient.told,
    )


def new_recipient_row(recipient: Recipient, message: int, hop: int, lane: int) -> Row | None:
    """For `add_new_recipient`; None for one of which more is known, which `add_recipient` takes."""
    # One tuple and one comparison: this is asked of every recipient.
    if (
        recipient.notify,
        recipient.orcpt,
        recipient.first_greylisted,
        recipient.hints_used,
        recipient.warned,
        recipient.last,
        recipient.last_attempt_at,
        recipient.told,
        recipient.held,
    ) != NOTHING_KNOWN:
        return None
    address = recipient.address
    return (
        message,
        recipient.n,
        hop,
        lane,
        int(recipient.state),
        recipient.due,
        recipient.attempts,
        address.local,
        address.domain,
    )


def to_recipient(row: Row) -> Recipient:
    message, n, state, due, attempts, local, domain, notify, orcpt = row[:9]
    first_greylisted, hints_used, warned, last, last_attempt_at, told, held, route, name, tls = row[9:]
    return Recipient(
        format_id(message),
        n,
        Address(local, domain),
        Hop(route, name, tls != 0),
        _STATES[state],
        due,
        attempts,
        None if notify is None else Notify(notify),
        orcpt,
        first_greylisted,
        hints_used,
        warned != 0,
        None if last is None else _outcome_from_json(last),
        last_attempt_at,
        told != 0,
        None if held is None else _hold_from_json(held),
    )


def to_pair(row: Row) -> tuple[Message, Recipient]:
    """A row of {message}, {recipient}."""
    return to_message(row), to_recipient(row[MESSAGE_COLUMNS:])


def change_row(change: Change) -> Row:
    return (
        parse_id(change.message),
        change.n,
        int(change.state),
        change.due,
        change.attempts,
        outcome_text(change.outcome),
        change.at,
        change.first_greylisted,
        change.hints_used,
    )


def idle_row(change: Change) -> Row:
    """For `change_idle`."""
    return (*change_row(change), hold_text(change.held))


def hold_row(recipient: Recipient) -> Row:
    """For `hold`."""
    return hold_text(recipient.held), parse_id(recipient.message), recipient.n


def hold_text(hold: Hold | None) -> str | None:
    return None if hold is None else _hold_to_json(hold).decode()


def to_hold(text: str) -> Hold:
    return _hold_from_json(text)


def attempt_row(change: Change) -> Row:
    """For `keep_attempt`; of a change that has a trace."""
    what = _attempt_to_json((change.trace, change.outcome)).decode()
    return parse_id(change.message), change.n, change.attempts, what


def to_attempt(what: str) -> tuple[Trace, Outcome]:
    return _attempt_from_json(what)


def to_outcome(text: str) -> Outcome:
    return _outcome_from_json(text)


def outcome_text(outcome: Outcome | None) -> str | None:
    return None if outcome is None else _outcome_to_json(outcome).decode()
