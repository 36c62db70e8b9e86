"""What a new message lacks is added, what must not leave is dropped, all else stays as it is (RFC 6409 8).

Added on top: Received, and where they are missing Date, Message-ID, From, and Sender to
a message of several authors; to a resent message their Resent- kin (RFC 5322 3.6.6),
judged by its latest resending alone. "@origin" goes behind addresses without a domain;
of a resent message only in the fields of that resending. Nothing that a signature of
the client's covers is added, and no address in it changed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final

from postroad.mail.address import Address
from postroad.mail.folding import seals
from postroad.mail.frozen import dataclass
from postroad.mail.headers import CRLF, FIELD, MBOX_LINE, USUAL_FROM, Field, fields, find_field, lower_lines
from postroad.mail.mailboxes import LONGEST, TooLong, scan
from postroad.mail.message import Peer

# Dropped from every submission: who got a blind copy is nobody's business, the
# return path is the last hop's to write (RFC 5321 4.4), and a length is soon wrong.
DROPPED: Final = frozenset((b"bcc", b"resent-bcc", b"return-path", b"content-length"))
_TRACE: Final = frozenset((b"received", b"return-path", b"delivered-to"))
ADDRESSED: Final = (b"from", b"sender", b"reply-to", b"to", b"cc")

_LEADING_MBOX_LINE = re.compile(MBOX_LINE)
# A list in which every address has its domain, as far as a glance can tell.
_QUALIFIED = rb"[^@,\n]*+@[^@,\n]*+(?:,(?:\n[ \t])?[^@,\n]*+@[^@,\n]*+)*\n(?![ \t])"
# What a new head is judged by, in lower case and behind a line end: one pass for all of
# them. A date or an identifier must say something; a list is named only when it needs a look.
_JUDGED = re.compile(
    rb"\n("
    + b"|".join(
        name + says
        for names, says in (
            ((*sorted(DROPPED), b"from", b"dkim-signature", b"arc-message-signature"), rb"(?=[ \t]*+:)"),
            ((b"date", b"message-id"), rb"(?=[ \t]*+:[ \t]*+(?:[^ \t\r\n]|\r\n[ \t]))"),
            ((b"to", b"cc", b"sender", b"reply-to"), rb"(?=[ \t]*+:(?!" + _QUALIFIED + rb"))"),
        )
        for name in names
    )
    + rb")"
)
_BARE: Final = frozenset((b"to", b"cc", b"sender", b"reply-to"))
_SIGNED: Final = frozenset((b"dkim-signature", b"arc-message-signature"))
_COMPLETABLE = re.compile(rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]++")
_UNFIT_HELO = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_UNFIT_COMMENT = re.compile(r"[^ !-'*-\[\]-~]")
_UNPRINTABLE = re.compile(r"[^!-~]")
_NUMERIC = re.compile(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_FOLD: Final = "\r\n\t"


@dataclass(frozen=True, slots=True)
class Completion:
    """What completing a head needs to know beside the head.

    `date` is the arrival as `rfc5322_date` gives it; `recipient` is named in
    Received when the message has a single one, else None; `origin` completes
    addresses without a domain; `priority` as its sender asked (RFC 6710).
    """

    peer: Peer
    hostname: str
    id: str
    date: str
    sender: Address | None
    origin: str
    recipient: Address | None = None
    priority: int | None = None


def complete(head: bytes, facts: Completion) -> bytes:
    """The final head, with the empty line that ends it.

    Gone are `DROPPED` and a leading mbox line, which would end the header for others.
    The result can be 8-bit where the head was not: when From is made from an
    internationalised sender.
    """
    head = _without_mbox_line(head)
    lines = lower_lines(head)
    names = _JUDGED.findall(lines)
    if not DROPPED.isdisjoint(names):
        head = _without(head, DROPPED)
        lines = lower_lines(head)
        names = _JUDGED.findall(lines)
    if b"\nresent-" in lines or not _SIGNED.isdisjoint(names):
        added, head = _with_care(head, facts)
    else:
        added = _missing(names, b"", facts)
        authors = _unusual_authors(head, find_field(lines, b"from")) if b"from" in names else 0
        if authors > 1 and find_field(lines, b"sender") < 0:
            added += _sender(facts)
        if b"date" not in names or b"message-id" not in names:
            head = _without_empty(head, lines, names)
        if authors or not _BARE.isdisjoint(names):
            head = _with_origins(head, facts.origin)
    return b"".join((received(facts), *added, head, _ending(head)))


def traced(head: bytes, facts: Completion) -> bytes:
    """The head as it came with the trace field on top: what another mailer hands on is not ours to mend."""
    head = _without_mbox_line(head)
    return b"".join((received(facts), head, _ending(head)))


def received(facts: Completion) -> bytes:
    """The trace field (RFC 5321 4.4, 3848, 6710 4.1), folded; nothing in it is smuggled by a client."""
    recipient = facts.recipient
    whom = f"{_FOLD}for <{recipient}>" if recipient is not None and recipient.is_ascii else ""
    if facts.priority is not None:
        whom += f"{_FOLD}PRIORITY {facts.priority}"
    text = f"Received: {_trace(facts.peer, facts.hostname)} {facts.id}{whom}; {facts.date}\r\n"
    return text.encode("ascii")


@lru_cache(maxsize=256)
def _trace(peer: Peer, hostname: str) -> str:
    """The trace field's text up to "id": what a client's messages have in common is made once."""
    lines = [_from_clause(peer, hostname)]
    if peer.tls:
        lines.append(f"(using {_UNFIT_COMMENT.sub('', peer.tls)[:200]})")
    if _said_hello(peer):
        lines.append(f"by {hostname} (Postroad) with {_UNPRINTABLE.sub('', peer.protocol)} id")
    else:
        lines.append("id")
    return _FOLD.join(lines)


# --- what is missing ---------------------------------------------------------------


def _missing(names: Collection[bytes], prefix: bytes, facts: Completion) -> list[bytes]:
    """The lines to add to a head that has fields of these names."""
    shown = "Resent-" if prefix else ""
    added = []
    if prefix + b"date" not in names:
        added.append(f"{shown}Date: {facts.date}\r\n")
    if prefix + b"message-id" not in names:
        added.append(f"{shown}Message-ID: <{facts.id}@{facts.hostname}>\r\n")
    if prefix + b"from" not in names:
        added.append(f"{shown}From: {_author(facts)}\r\n")
    return [line.encode() for line in added]


def _author(facts: Completion) -> Address | str:
    return facts.sender or f"MAILER-DAEMON@{facts.hostname}"


def _sender(facts: Completion) -> list[bytes]:
    """Who of several authors it was that sent (RFC 5322 3.6.2)."""
    return [] if facts.sender is None else [f"Sender: {facts.sender}\r\n".encode()]


def _with_care(head: bytes, facts: Completion) -> tuple[list[bytes], bytes]:
    """The lines to add, and the head, of a message that was resent, or that its sender has signed."""
    found = fields(head)
    rest = head[sum(len(field.raw) for field in found) :]
    signed = frozenset[bytes]().union(*(seal.names for seal in seals(head)))
    names = {field.name for field in found}
    block = _last_resending(found)
    prefix = b"resent-" if block else b""
    added = _missing({found[n].name for n in block} if block else names, prefix, facts)
    if block and b"from" not in names:
        added.append(f"From: {_author(facts)}\r\n".encode())
    added = [line for line in added if line.partition(b":")[0].lower() not in signed]
    addressed = {prefix + name for name in ADDRESSED} - signed
    origins = _Origins(facts.origin)
    made = [
        origins.complete(field.raw) if field.name in addressed and (not block or n in block) else field.raw
        for n, field in enumerate(found)
    ]
    return added, b"".join(made) + rest


def _last_resending(found: list[Field]) -> list[int]:
    """Which fields are of the latest resending: each is put on top of all before (RFC 5322 3.6.6).

    A block ends where a field that occurs once comes again, or at a trace field.
    """
    block: list[int] = []
    seen: set[bytes] = set()
    for n, field in enumerate(found):
        if field.name.startswith(b"resent-"):
            if field.name in seen:
                break
            seen.add(field.name)
            block.append(n)
        elif block and field.name in _TRACE:
            break
    return block


# --- what is dropped, what is changed ----------------------------------------------


def _without_mbox_line(head: bytes) -> bytes:
    match = _LEADING_MBOX_LINE.match(head)
    return head if match is None else head[match.end() :]


def _without(head: bytes, names: Collection[bytes]) -> bytes:
    found = fields(head)
    kept = b"".join(field.raw for field in found if field.name not in names)
    return kept + head[sum(len(field.raw) for field in found) :]


def _without_empty(head: bytes, lines: bytes, names: Collection[bytes]) -> bytes:
    """Without a Date or Message-ID that says nothing, in whose place there is a new one."""
    empty = [n for n in (b"date", b"message-id") if n not in names and find_field(lines, n) >= 0]
    return _without(head, empty) if empty else head


def _unusual_authors(head: bytes, place: int) -> int:
    """How many mailboxes the From field at `place` has, where it is not one complete address; else 0.

    Not counted beyond 2, and 1 where it is too long to be looked at.
    """
    found = FIELD.match(head, place)
    assert found is not None
    text = found[0].partition(b":")[2]
    if USUAL_FROM.fullmatch(text):
        return 0
    try:
        return len(scan(text, most=2))
    except TooLong:
        return 1


def _with_origins(head: bytes, origin: str) -> bytes:
    """The head with "@origin" behind every address without a domain."""
    found, origins = fields(head), _Origins(origin)
    made = [origins.complete(field.raw) if field.name in ADDRESSED else field.raw for field in found]
    return b"".join(made) + head[sum(len(field.raw) for field in found) :]


class _Origins:
    """Completes the address fields of one head; those beyond `LONGEST` octets of them stay as they are."""

    def __init__(self, origin: str) -> None:
        self._behind = b"@" + origin.encode("ascii")
        self._left = LONGEST

    def complete(self, raw: bytes) -> bytes:
        name, colon, text = raw.partition(b":")
        if USUAL_FROM.fullmatch(text):
            return raw
        self._left -= len(text)
        if self._left < 0:
            return raw
        pieces = [name, colon]
        done = 0
        for mailbox in scan(text):
            if _COMPLETABLE.fullmatch(mailbox.spec):
                pieces += (text[done : mailbox.end], self._behind)
                done = mailbox.end
        return b"".join((*pieces, text[done:]))


def _ending(head: bytes) -> bytes:
    """What the head lacks of its last line end and the empty line."""
    if head.endswith(b"\r\n\r\n") or head == CRLF:
        return b""
    return CRLF if not head or head.endswith(CRLF) else CRLF + CRLF


# --- who it came from ----------------------------------------------------------------


def _from_clause(peer: Peer, hostname: str) -> str:
    if not _said_hello(peer):
        return f"by {hostname} (Postroad, from {_UNFIT_COMMENT.sub('', peer.address)[:200]})"
    helo = _UNFIT_HELO.sub("", peer.helo)[:255] or "unknown"
    if not _is_numeric(peer.address):
        # A Unix socket has no TCP-info; who it was is a comment.
        return f"from {helo} ({_UNFIT_COMMENT.sub('', peer.address)[:200]})"
    # Without the zone of a link-local address: it means nothing elsewhere.
    address = peer.address.partition("%")[0]
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    # RFC 5321 4.4: TCP-info is the address, or its name and the address.
    name = f"{_UNFIT_HELO.sub('', peer.name)[:255]} " if peer.name else ""
    return f"from {helo} ({name}{literal})"


def _said_hello(peer: Peer) -> bool:
    """Whether it spoke SMTP to us: then the field names it and how (RFC 5321 4.4)."""
    return bool(peer.helo) or _is_numeric(peer.address)


def _is_numeric(address: str) -> bool:
    return _NUMERIC.fullmatch(address.partition("%")[0]) is not None
