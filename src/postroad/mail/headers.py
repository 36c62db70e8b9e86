"""Header fields as octets: found, counted and completed, never parsed and written again (RFC 5322 2.2).

A field is a line "name:" with the folded lines that follow it. Names are compared
in lower case; white space before the colon (RFC 5322 4.5) is tolerated. A line
that is neither a field nor a continuation ends the header, as every receiver
takes it; what we are given inside a head is kept to the octet all the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from postroad.mail.address import Address, normalise_domain
from postroad.mail.mailboxes import scan
from postroad.mail.message import Instant, Peer

CRLF = b"\r\n"
# Dropped from every submission: who got a blind copy is nobody's business, the
# return path is the last hop's to write (RFC 5321 4.4), and a length is soon wrong.
DROPPED = frozenset((b"bcc", b"resent-bcc", b"return-path", b"content-length"))

# The line before a message in an mbox file, which some programs submit along with it.
# Possessive quantifiers on single characters alone: on groups they are broken before Python 3.11.5.
_MBOX_LINE = rb">?From [^ \n]++ ++(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? [^\n]*+\n(?=[!-9;-~]++:)"
_BLOCK = re.compile(rb"(?:" + _MBOX_LINE + rb")?(?:[!-9;-~]++[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*)*")
_LEADING_MBOX_LINE = re.compile(_MBOX_LINE)
_LAST_LINE = re.compile(rb"[!-9;-~]++[ \t]*+:[^\n]*+\Z|[ \t][^\n]*+\Z")
_FIELD = re.compile(rb"([!-9;-~]*+)([ \t]*+:)?[^\n]*+(?:\n|\Z)(?:[ \t][^\n]*+(?:\n|\Z))*")
_COLON = re.compile(rb"[ \t]*+:")
# What a new head is judged by, in lower case and behind a line end: one pass for all of them.
_REQUIRED = frozenset((b"date", b"from", b"message-id"))
_JUDGED = re.compile(
    rb"\n(" + b"|".join(sorted({*DROPPED, *_REQUIRED, *(b"resent-" + n for n in _REQUIRED)})) + rb")[ \t]*+:"
)
_RECEIVED = re.compile(rb"\nreceived[ \t]*+:")
# One ASCII address, bare or behind a plain or quoted name: nine of ten From fields.
_USUAL_FROM = re.compile(
    rb"""[ \t]*+(?:"[^"\\]*+"|[A-Za-z0-9!\#$%&'*+/=?^_`{|}~.\- \t]*+(?=<))?[ \t]*+
    (<)?[A-Za-z0-9!\#$%&'*+/=?^_`{|}~.-]++@([A-Za-z0-9.-]++)(?(1)>)[ \t\r\n]*+""",
    re.VERBOSE,
)
_COMPLETABLE = re.compile(rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]++")
_UNFIT_HELO = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_UNFIT_COMMENT = re.compile(r"[^ !-'*-\[\]-~]")
_UNPRINTABLE = re.compile(r"[^!-~]")
_NUMERIC = re.compile(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Field(NamedTuple):
    """One field: `name` in lower case, `raw` from its first octet to the CRLF of its last line.

    A malformed line has the name b"".
    """

    name: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Completion:
    """What completing a head needs to know beside the head.

    `date` is the arrival as `rfc5322_date` gives it; `recipient` is named in
    Received when the message has a single one, else None; `origin` completes a
    From address without a domain.
    """

    peer: Peer
    hostname: str
    id: str
    date: str
    sender: Address | None
    origin: str
    recipient: Address | None = None


def split(content: bytes) -> tuple[bytes, bytes]:
    """Head and body, losing no octet; the head has the empty line that ends it.

    Where a line that is no field comes first, the head ends before it and has no
    empty line (`complete` adds it). `content` may be the first part of a message as
    long as the whole header is in it.
    """
    match = _BLOCK.match(content)
    end = match.end() if match is not None else 0
    if content.startswith(CRLF, end):
        end += 2
    elif (last := _LAST_LINE.match(content, end)) is not None and (end or last[0][0] not in b" \t"):
        end = last.end()
    return content[:end], content[end:]


def fields(head: bytes) -> list[Field]:
    """Every field in order; joined, their `raw` are the head without its empty line."""
    end = len(head)
    if head == CRLF or head.endswith(b"\r\n\r\n"):
        end -= 2
    return [
        Field(match[1].lower() if match[2] else b"", match[0])
        for match in _FIELD.finditer(head, 0, end)
        # At the very end the pattern finds one more, empty.
        if match[0]
    ]


def count_received(head: bytes) -> int:
    """How many hops the message has behind it (RFC 5321 6.3)."""
    return len(_RECEIVED.findall(_lines(head)))


def value(head: bytes, name: bytes) -> bytes | None:
    """What follows the colon of the first field of this lower-case name, folding included, CRLF not."""
    place = _first(_lines(head), name)
    if place < 0:
        return None
    found = _FIELD.match(head, place)
    return None if found is None else found[0].partition(b":")[2].removesuffix(CRLF)


def from_domain(head: bytes) -> str | None:
    """The domain of the first mailbox of the first From field, as A-labels; None where there is none."""
    text = value(head, b"from")
    if text is None:
        return None
    usual = _USUAL_FROM.fullmatch(text)
    if usual is not None:
        domain = usual[2]
    else:
        first = next(iter(scan(text)), None)
        if first is None or b"@" not in first.spec:
            return None
        domain = first.spec.rpartition(b"@")[2]
    try:
        return normalise_domain(domain.decode())
    except ValueError:
        return None


def message_id(head: bytes) -> str:
    """The first Message-ID in printable ASCII, at most 250 characters; empty where there is none."""
    text = value(head, b"message-id")
    return "" if text is None else _UNPRINTABLE.sub("", text.decode("latin-1"))[:250]


def complete(head: bytes, facts: Completion) -> bytes:
    """The final head: Received and what was missing on top, all else byte for byte.

    Gone are `DROPPED` and a leading mbox line, which would end the header for others.

    Adds Date and Message-ID, or Resent-Date and Resent-Message-ID to a resent message
    (RFC 5322 3.6.6), From where there is none, and the empty line. An address without
    a domain in From gets `facts.origin`. The result can be 8-bit where the head was
    not: when From is made from an internationalised sender.
    """
    head = _without_mbox_line(head)
    lines = _lines(head)
    names = _JUDGED.findall(lines)
    if not DROPPED.isdisjoint(names):
        head = _without(head, DROPPED)
        lines = _lines(head)
        names = _JUDGED.findall(lines)
    added = [received(facts), *_missing(names, b"\nresent-" in lines, facts)]
    if b"from" in names:
        head = _with_origin(head, _first(lines, b"from"), facts.origin)
    return b"".join((*added, head, _ending(head)))


def received(facts: Completion) -> bytes:
    """The trace field (RFC 5321 4.4, RFC 3848), folded, with nothing in it that a client could smuggle."""
    recipient = facts.recipient
    whom = f"{_FOLD}for <{recipient}>" if recipient is not None and recipient.is_ascii else ""
    text = f"Received: {_trace(facts.peer, facts.hostname)} {facts.id}{whom}; {facts.date}\r\n"
    return text.encode("ascii")


@lru_cache(maxsize=256)
def _trace(peer: Peer, hostname: str) -> str:
    """The trace field's text up to "id": what a client's messages have in common is made once."""
    lines = [_from_clause(peer, hostname)]
    if peer.tls:
        lines.append(f"(using {_UNFIT_COMMENT.sub('', peer.tls)[:200]})")
    if _is_numeric(peer.address):
        lines.append(f"by {hostname} (Postroad) with {_UNPRINTABLE.sub('', peer.protocol)} id")
    else:
        lines.append("id")
    return _FOLD.join(lines)


def rfc5322_date(instant: Instant) -> str:
    """A Date in UTC: "Mon, 23 Nov 2026 01:15:12 +0000"."""
    return _date(int(instant))


@lru_cache(maxsize=8)
def _date(second: int) -> str:
    # strftime would speak the locale's language.
    at = datetime.fromtimestamp(second, UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day:02} {month} {at.year:04} {at:%H:%M:%S} +0000"


_FOLD = "\r\n\t"


def _lines(head: bytes) -> bytes:
    """Lower-case, each line behind a line end: names are found by bytes.find, 10 times a regex's speed."""
    return b"\n" + head.lower()


def _first(lines: bytes, name: bytes) -> int:
    """Where in the head the first field of this name starts; -1 where there is none."""
    mark = b"\n" + name
    place = lines.find(mark)
    while place >= 0 and _COLON.match(lines, place + len(mark)) is None:
        place = lines.find(mark, place + 1)
    return place


def _without_mbox_line(head: bytes) -> bytes:
    match = _LEADING_MBOX_LINE.match(head)
    return head if match is None else head[match.end() :]


def _without(head: bytes, names: frozenset[bytes]) -> bytes:
    found = fields(head)
    kept = b"".join(field.raw for field in found if field.name not in names)
    return kept + head[sum(len(field.raw) for field in found) :]


def _missing(names: Collection[bytes], resent: bool, facts: Completion) -> list[bytes]:
    prefix, shown = (b"resent-", "Resent-") if resent else (b"", "")
    added = []
    if prefix + b"date" not in names:
        added.append(f"{shown}Date: {facts.date}\r\n")
    if prefix + b"message-id" not in names:
        added.append(f"{shown}Message-ID: <{facts.id}@{facts.hostname}>\r\n")
    for name in ("From",) if not resent else ("Resent-From", "From"):
        if name.lower().encode() not in names:
            added.append(f"{name}: {facts.sender or f'MAILER-DAEMON@{facts.hostname}'}\r\n")
    return [line.encode() for line in added]


def _with_origin(head: bytes, place: int, origin: str) -> bytes:
    """The head with "@origin" behind every address of the From field at `place` that has no domain."""
    found = _FIELD.match(head, place)
    assert found is not None
    name, colon, text = found[0].partition(b":")
    if _USUAL_FROM.fullmatch(text):
        return head
    pieces = [head[:place], name, colon]
    done = 0
    for mailbox in scan(text):
        if _COMPLETABLE.fullmatch(mailbox.spec):
            pieces += (text[done : mailbox.end], b"@", origin.encode("ascii"))
            done = mailbox.end
    return b"".join((*pieces, text[done:], head[found.end() :]))


def _ending(head: bytes) -> bytes:
    """What the head lacks of its last line end and the empty line."""
    if head.endswith(b"\r\n\r\n") or head == CRLF:
        return b""
    return CRLF if not head or head.endswith(CRLF) else CRLF + CRLF


def _from_clause(peer: Peer, hostname: str) -> str:
    if not _is_numeric(peer.address):
        return f"by {hostname} (Postroad, from {_UNFIT_COMMENT.sub('', peer.address)[:200]})"
    # Without the zone of a link-local address: it means nothing elsewhere.
    address = peer.address.partition("%")[0]
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    return f"from {_UNFIT_HELO.sub('', peer.helo)[:255] or 'unknown'} ({literal})"


def _is_numeric(address: str) -> bool:
    return _NUMERIC.fullmatch(address.partition("%")[0]) is not None
