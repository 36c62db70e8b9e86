"""Header fields as octets: found and counted, never parsed and written again (RFC 5322 2.2).

A field is a line "name:" with the folded lines that follow it. Names are compared
in lower case; white space before the colon (RFC 5322 4.5) is tolerated. A line
that is neither a field nor a continuation ends the header, as every receiver
takes it; what we are given inside a head is kept to the octet all the same.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from postroad.mail.address import normalise_domain
from postroad.mail.mailboxes import TooLong, scan
from postroad.mail.message import Instant

CRLF = b"\r\n"

# The line before a message in an mbox file, which some programs submit along with it.
# Possessive quantifiers on single characters alone: on groups they are broken before Python 3.11.5.
MBOX_LINE = rb">?From [^ \n]++ ++(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? [^\n]*+\n(?=[!-9;-~]++:)"
_BLOCK = re.compile(rb"(?:" + MBOX_LINE + rb")?(?:[!-9;-~]++[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*)*")
_LAST_LINE = re.compile(rb"[!-9;-~]++[ \t]*+:[^\n]*+\Z|[ \t][^\n]*+\Z")
FIELD = re.compile(rb"([!-9;-~]*+)([ \t]*+:)?[^\n]*+(?:\n|\Z)(?:[ \t][^\n]*+(?:\n|\Z))*")
_COLON = re.compile(rb"[ \t]*+:")
_RECEIVED = re.compile(rb"\nreceived[ \t]*+:")
# One ASCII address, bare or behind a plain or quoted name: nine of ten From fields.
USUAL_FROM = re.compile(
    rb"""[ \t]*+(?:"[^"\\]*+"|[A-Za-z0-9!\#$%&'*+/=?^_`{|}~.\- \t]*+(?=<))?[ \t]*+
    (<)?[A-Za-z0-9!\#$%&'*+/=?^_`{|}~.-]++@([A-Za-z0-9.-]++)(?(1)>)[ \t\r\n]*+""",
    re.VERBOSE,
)
_UNPRINTABLE = re.compile(r"[^!-~]")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Field(NamedTuple):
    """One field: `name` in lower case, `raw` from its first octet to the CRLF of its last line.

    A malformed line has the name b"".
    """

    name: bytes
    raw: bytes


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
        for match in FIELD.finditer(head, 0, end)
        # At the very end the pattern finds one more, empty.
        if match[0]
    ]


def count_received(head: bytes) -> int:
    """How many hops the message has behind it (RFC 5321 6.3)."""
    return len(_RECEIVED.findall(lower_lines(head)))


def value(head: bytes, name: bytes) -> bytes | None:
    """What follows the colon of the first field of this lower-case name, folding included, CRLF not."""
    place = find_field(lower_lines(head), name)
    if place < 0:
        return None
    found = FIELD.match(head, place)
    return None if found is None else found[0].partition(b":")[2].removesuffix(CRLF)


def from_domain(head: bytes) -> str | None:
    """The domain of the first mailbox of the first From field, as A-labels; None where there is none."""
    text = value(head, b"from")
    if text is None:
        return None
    usual = USUAL_FROM.fullmatch(text)
    if usual is not None:
        domain = usual[2]
    else:
        try:
            first = next(iter(scan(text, most=1)), None)
        except TooLong:
            return None
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


def rfc5322_date(instant: Instant) -> str:
    """A Date in UTC: "Mon, 23 Nov 2026 01:15:12 +0000"."""
    return _date(int(instant))


@lru_cache(maxsize=8)
def _date(second: int) -> str:
    # strftime would speak the locale's language.
    at = datetime.fromtimestamp(second, UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day:02} {month} {at.year:04} {at:%H:%M:%S} +0000"


def lower_lines(head: bytes) -> bytes:
    """Lower-case, each line behind a line end: names are found by bytes.find, 10 times a regex's speed."""
    return b"\n" + head.lower()


def find_field(lines: bytes, name: bytes) -> int:
    """Where in the head the first field of this name starts; -1 where there is none."""
    mark = b"\n" + name
    place = lines.find(mark)
    while place >= 0 and _COLON.match(lines, place + len(mark)) is None:
        place = lines.find(mark, place + 1)
    return place
