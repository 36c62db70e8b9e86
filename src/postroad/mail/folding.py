"""Header fields whose lines are too long, folded again so that they say the same (RFC 5322 2.1.1, 2.2.3).

Folded is where white space stands already: unfolding, and the relaxed form of DKIM,
then give what was given. Where there is none a list is parted behind a separator,
and text for people becomes encoded words (RFC 2047). What else has no place to fold
is not for us to change.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterator
from typing import Final

from postroad.mail.data import LONG_LINE, has_long_line
from postroad.mail.frozen import dataclass
from postroad.mail.headers import Field, fields

CRLF: Final = b"\r\n"
WIDTH: Final = 78
# With the longest name of such a field before it a word ends before column 76.
_WORD_OCTETS: Final = 30
_BLANKS = b" \t"
# Text for people, in which readers know encoded words.
_PROSE = frozenset((b"subject", b"comments", b"content-description", b"thread-topic"))
# Lists in which white space behind a comma says nothing.
_LISTS = frozenset(
    (
        *(b"from", b"sender", b"reply-to", b"to", b"cc", b"keywords", b"disposition-notification-to"),
        *(
            b"resent-from",
            b"resent-sender",
            b"resent-to",
            b"resent-cc",
            b"mail-followup-to",
            b"mail-reply-to",
        ),
        *(b"list-unsubscribe", b"list-subscribe", b"list-post", b"list-help", b"list-owner", b"list-archive"),
    )
)
_IDS = frozenset((b"references", b"in-reply-to", b"resent-references", b"original-references"))
_AFTER_COMMA = re.compile(rb'"(?:[^"\\]|\\.)*"?|<[^>]*>?|\((?:[^()\\]|\\.)*\)?|(,)(?![ \t\r\n])', re.DOTALL)
_AFTER_ID = re.compile(rb">(?=<)")
_NAME_AND_BLANKS = re.compile(rb"[^:]*:[ \t]*")


class CannotFold(Exception):
    """A field that cannot be folded without changing what it says. `name` as it stands in the message."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


@dataclass(frozen=True, slots=True)
class Seal:
    """What a signature of the client's covers: these fields, and in which form of theirs."""

    names: frozenset[bytes]
    relaxed: bool


def seals(head: bytes) -> list[Seal]:
    """The DKIM and ARC signatures in a header (RFC 6376 3.5, RFC 8617 4.1)."""
    found = []
    for field in fields(head):
        if field.name in (b"dkim-signature", b"arc-message-signature"):
            tags = _tags(field.raw)
            names = frozenset(name.strip().lower() for name in tags.get(b"h", b"").split(b":"))
            relaxed = tags.get(b"c", b"simple").partition(b"/")[0] == b"relaxed"
            found.append(Seal(names | {field.name}, relaxed))
        elif field.name == b"arc-seal":
            arc = frozenset((b"arc-seal", b"arc-message-signature", b"arc-authentication-results"))
            found.append(Seal(arc, relaxed=True))
    return found


def _tags(raw: bytes) -> dict[bytes, bytes]:
    text = b"".join(raw.partition(b":")[2].split())
    return {name: value for name, _, value in (tag.partition(b"=") for tag in text.split(b";"))}


def fold(head: bytes) -> bytes:
    """The head with no line above 998 octets; CannotFold names the field that is in the way."""
    if not has_long_line(head):
        return head
    signed = seals(head)
    found = list(fields(head))
    rest = head[sum(len(field.raw) for field in found) :]
    return (
        b"".join(_folded(field, signed) if has_long_line(field.raw) else field.raw for field in found) + rest
    )


def folded_field(name: bytes, value: bytes) -> bytes:
    """A new field, its value without line ends folded to lines of 78 where it can be, 998 at most.

    Raises CannotFold.
    """
    raw = name + b": " + value + CRLF
    return raw if len(raw) <= WIDTH + 2 else _folded(Field(name.lower(), raw), [])


def _folded(field: Field, signed: list[Seal]) -> bytes:
    name = field.raw.partition(b":")[0].rstrip().decode("latin-1")[:80]
    covering = [seal for seal in signed if field.name in seal.names]
    if not all(seal.relaxed for seal in covering):
        raise CannotFold(name, "folding it would break the DKIM signature of the message")
    lines = field.raw.removesuffix(CRLF).split(CRLF)
    made = _fold_lines(lines)
    if made is None and covering:
        raise CannotFold(name, "it has no place to fold, and is signed")
    if made is None:
        made = _reworked(field, lines)
    if made is None:
        raise CannotFold(name, "it has no place to fold")
    return CRLF.join(made) + CRLF


def _fold_lines(lines: list[bytes]) -> list[bytes] | None:
    made: list[bytes] = []
    for line in lines:
        if len(line) > WIDTH:
            made += _fold_line(line)
        else:
            made.append(line)
    return None if any(len(line) > LONG_LINE for line in made) else made


def _fold_line(line: bytes) -> Iterator[bytes]:
    """The line in pieces that begin with the white space they were parted at."""
    start = 0
    # Not right behind the name: some readers take an empty first line for an empty field.
    floor = _leading(line)
    while len(line) - start > WIDTH:
        cut = _last_gap(line, max(floor, start + 1), start + WIDTH)
        if cut < 0:
            cut = _first_gap(line, max(floor, start + WIDTH))
        if cut < 0:
            break
        yield line[start:cut]
        start = cut
        # A line of nothing but white space is obsolete (RFC 5322 3.2.2).
        floor = start + len(line[start:]) - len(line[start:].lstrip(_BLANKS))
    yield line[start:]


def _leading(line: bytes) -> int:
    """Where the text begins: behind white space, or behind name, colon and white space."""
    if line[:1] in (b" ", b"\t"):
        return len(line) - len(line.lstrip(_BLANKS))
    named = _NAME_AND_BLANKS.match(line)
    return named.end() if named is not None else 0


def _last_gap(line: bytes, low: int, high: int) -> int:
    """Where the last white space in low..high begins; -1 where there is none that text follows."""
    place = max(line.rfind(b" ", low, high + 1), line.rfind(b"\t", low, high + 1))
    if place < 0 or not line[place:].strip(_BLANKS):
        return -1
    while place > low and line[place - 1] in _BLANKS:
        place -= 1
    return place if place > low or line[low - 1 : low] not in (b" ", b"\t") else -1


def _first_gap(line: bytes, low: int) -> int:
    found = [place for place in (line.find(b" ", low), line.find(b"\t", low)) if place >= 0]
    return min(found) if found and line[min(found) :].strip(_BLANKS) else -1


def _reworked(field: Field, lines: list[bytes]) -> list[bytes] | None:
    """With white space put where the field's grammar lets it stand, or as encoded words."""
    if field.name in _IDS:
        return _fold_lines([_AFTER_ID.sub(b"> ", line) for line in lines])
    if field.name in _LISTS:
        return _fold_lines([_AFTER_COMMA.sub(_spaced, line) for line in lines])
    if field.name in _PROSE:
        return _in_encoded_words(lines)
    return None


def _spaced(found: re.Match[bytes]) -> bytes:
    return b", " if found[1] is not None else found[0]


def _in_encoded_words(lines: list[bytes]) -> list[bytes] | None:
    name, _, value = b"".join(lines).partition(b":")
    try:
        words = encoded_words(value.strip().decode("utf-8"))
    except UnicodeDecodeError:
        return None
    first, *others = words
    return [name + b": " + first, *(b" " + word for word in others)]


def encoded_words(text: str) -> list[bytes]:
    """The text as encoded words of at most 52 octets each, none with half a character in it (RFC 2047)."""
    words: list[bytes] = []
    piece = b""
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(piece) + len(octets) > _WORD_OCTETS:
            words.append(piece)
            piece = b""
        piece += octets
    words.append(piece)
    return [b"=?utf-8?b?" + b2a_base64(word, newline=False) + b"?=" for word in words]
