"""Where the parts of a message lie (RFC 2045, RFC 2046), found without reading the message into memory.

The structure is found, not judged. What is ambiguous is taken as one opaque part,
which nobody may change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple, Protocol

from postroad.mail.frozen import dataclass
from postroad.mail.headers import fields, split

MAX_PARTS: Final = 10_000
MAX_DEPTH: Final = 50
MAX_PART_HEAD: Final = 64 * 1024
WINDOW: Final = 256 * 1024
CRLF: Final = b"\r\n"
IDENTITY: Final = frozenset(("7bit", "8bit", "binary"))
SIGNATURES: Final = frozenset((b"dkim-signature", b"arc-message-signature", b"arc-seal"))

_MEDIA = re.compile(rb"([!#$&^_.+a-z0-9-]+)/([!#$&^_.+a-z0-9-]+)")
_PARAMETER = re.compile(rb';[ \t]*([^\s=;"]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.DOTALL)
_AFTER_BOUNDARY = re.compile(rb"(--)?[ \t]*(?:\r\n|\Z)")


class Octets(Protocol):
    """A body at hand: `bytes`, or a file that is read where it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> bytes: ...


class TooComplex(Exception):
    """More parts, or deeper, or with larger headers than any program makes; the text says which."""


class TooDeep(TooComplex):
    """Parts within parts, further down than is allowed."""


class Kind(Enum):
    """What a region of a body is: the header of a part, its content, or what lies between parts."""

    HEAD = "head"
    CONTENT = "content"
    GLUE = "glue"


class Facts(NamedTuple):
    """What a part's header says: `media` "text/plain", `encoding` "8bit", in lower case.

    `typed`: there is a Content-Type at all.
    """

    media: str
    encoding: str
    boundary: bytes | None
    typed: bool


@dataclass(frozen=True, slots=True)
class Region:
    """From `start` to `end` of the body. `sealed`: under a signature, not to be changed.

    Of CONTENT `head` is the number of the region with its header, -1 for the header of
    the message itself, and `facts` what that says; `opaque` content cannot be encoded.
    A HEAD has the `facts` of what it is the head of.
    """

    kind: Kind
    start: int
    end: int
    sealed: bool
    facts: Facts | None = None
    head: int = -1
    opaque: bool = False


def facts(head: bytes, default: str = "text/plain") -> Facts:
    """What a header says about the content below it; of repeated fields the first counts."""
    found: dict[bytes, bytes] = {}
    for field in fields(head):
        if field.name.startswith(b"content-"):
            found.setdefault(field.name, field.raw.partition(b":")[2])
    value = found.get(b"content-type", b"").replace(CRLF, b"").strip()
    encoding = found.get(b"content-transfer-encoding", b"7bit").partition(b"(")[0].strip().lower()
    match = _MEDIA.match(value.lower())
    if match is None:
        return Facts(default, encoding.decode("latin-1"), None, b"content-type" in found)
    parameters = {
        name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(value, match.end())
    }
    boundary = re.sub(rb"\\(.)", rb"\1", parameters.get(b"boundary", b"")).rstrip() or None
    return Facts(match[0].decode("ascii"), encoding.decode("latin-1"), boundary, True)


def is_signed(head: bytes) -> bool:
    """Whether the header carries a signature over the content (DKIM, ARC)."""
    return any(field.name in SIGNATURES for field in fields(head))


def may_nest(head: bytes) -> bool:
    """Whether a message with this header can have parts at all."""
    lower = head.lower()
    return b"multipart/" in lower or b"message/" in lower


def surely_flat(body: bytes, depth: int) -> bool:
    """Whether parts cannot be nested deeper, by a count: each needs its type, or is the digest's message."""
    return 2 * body.lower().count(b"content-type") + 2 <= depth


def too_deep(head: bytes, body: Octets, depth: int) -> str | None:
    """What is wrong with a message whose parts are nested deeper; None where they are not."""
    try:
        regions(head, body, depth)
    except TooDeep as error:
        return str(error)
    except TooComplex:
        return None
    return None


def regions(head: bytes, body: Octets, depth: int = MAX_DEPTH) -> list[Region]:
    """All of the body, in order. Raises TooComplex."""
    walk = _Walk(body, depth)
    walk.entity(facts(head), -1, 0, len(body), sealed=is_signed(head), depth=0)
    return walk.found


def pieces(body: Octets, start: int, end: int) -> Iterator[bytes]:
    """The octets from `start` to `end`, a window at a time."""
    for at in range(start, end, WINDOW):
        yield body[at : min(at + WINDOW, end)]


def find(body: Octets, mark: bytes, start: int, end: int) -> int:
    """As bytes.find."""
    overlap = len(mark) - 1
    at = start
    while at < end:
        place = body[at : min(at + WINDOW + overlap, end)].find(mark)
        if place >= 0:
            return at + place
        at += WINDOW
    return -1


class _Walk:
    """One pass; each level of multiparts looks for its own boundary in its own part."""

    def __init__(self, body: Octets, depth: int) -> None:
        self._body = body
        self._depth = depth
        self.found: list[Region] = []

    def entity(self, said: Facts, head: int, start: int, end: int, *, sealed: bool, depth: int) -> None:
        """What lies below a header."""
        if depth > self._depth:
            raise TooDeep(f"parts nested more than {self._depth} deep")
        main = said.media.partition("/")[0]
        if main == "multipart" and said.encoding in IDENTITY and said.boundary is not None:
            sealed = sealed or said.media == "multipart/signed"
            self._multipart(said, said.boundary, start, end, sealed=sealed, depth=depth)
        elif said.media in ("message/rfc822", "message/global") and said.encoding in IDENTITY:
            self._part(start, end, sealed=sealed, depth=depth, default="text/plain", message=True)
        else:
            # Of other composite types the encoding may not be changed (RFC 2045 6.4).
            opaque = main in ("multipart", "message")
            self._add(Region(Kind.CONTENT, start, end, sealed, said, head, opaque))

    def _multipart(
        self, said: Facts, boundary: bytes, start: int, end: int, *, sealed: bool, depth: int
    ) -> None:
        default = "message/rfc822" if said.media == "multipart/digest" else "text/plain"
        at, last = self._delimiter(boundary, start, start, end)
        self._glue(start, at[1], sealed)
        while not last:
            begin = at[1]
            at, last = self._delimiter(boundary, begin, begin, end)
            self._part(begin, at[0], sealed=sealed, depth=depth, default=default)
            self._glue(at[0], at[1], sealed)
        self._glue(at[1], end, sealed)

    def _delimiter(self, boundary: bytes, origin: int, start: int, end: int) -> tuple[tuple[int, int], bool]:
        """The next delimiter line, from the CRLF before it to the line after it, and whether it is the last.

        Where none comes the part goes to the end.
        """
        mark = b"--" + boundary
        at = start
        while at < end:
            if at == origin and self._body[at : at + len(mark)] == mark:
                line, text = at, at
            else:
                line = find(self._body, CRLF + mark, at, end)
                if line < 0:
                    break
                text = line + 2
            rest = self._body[text + len(mark) : min(text + len(mark) + 1000, end)]
            closing = _AFTER_BOUNDARY.match(rest)
            if closing is not None:
                return (line, text + len(mark) + closing.end()), closing[1] is not None
            at = text + len(mark)
        return (end, end), True

    def _part(
        self, start: int, end: int, *, sealed: bool, depth: int, default: str, message: bool = False
    ) -> None:
        window = self._body[start : min(start + MAX_PART_HEAD + 1, end)]
        head, _ = split(window)
        if len(head) > MAX_PART_HEAD:
            raise TooComplex(f"a part whose header is larger than {MAX_PART_HEAD} octets")
        said = facts(head, default)
        sealed = sealed or (message and is_signed(head))
        self._add(Region(Kind.HEAD, start, start + len(head), sealed, said))
        self.entity(said, len(self.found) - 1, start + len(head), end, sealed=sealed, depth=depth + 1)

    def _glue(self, start: int, end: int, sealed: bool) -> None:
        if end > start:
            self._add(Region(Kind.GLUE, start, end, sealed))

    def _add(self, region: Region) -> None:
        if len(self.found) >= 3 * MAX_PARTS:
            raise TooComplex(f"more than {MAX_PARTS} parts")
        self.found.append(region)
