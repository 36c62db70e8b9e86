"""What may not be sent as it came, made fit before it is signed: long lines, on request octets above 127.

RFC 5321 4.5.3.1.6 lets a line have 998 octets. Longer ones in a header are folded again
(`mail.folding`), in a body the part that has them is encoded (RFC 6409 8.4): text as
quoted-printable, or as base64 where most of it is not ASCII, everything else as base64;
what is in one of these already gets shorter lines. Nothing under a signature is changed:
multipart/signed, a message with a DKIM or ARC signature, such a message inside another.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from typing import NamedTuple

from postroad.mail.data import LONG_LINE
from postroad.mail.encodings import Base64, Encoder, QuotedPrintable, Rewrapped, encoded
from postroad.mail.folding import CannotFold, fold
from postroad.mail.frozen import dataclass
from postroad.mail.headers import fields
from postroad.mail.mime import (
    IDENTITY,
    MAX_DEPTH,
    Facts,
    Kind,
    Octets,
    Region,
    TooComplex,
    facts,
    pieces,
    regions,
)
from postroad.mail.printable import one_line
from postroad.mail.reply import Reply

CRLF = b"\r\n"
# From one octet in six above 127 on quoted-printable is longer than base64.
_DENSE = 6


class Edit(NamedTuple):
    """From `start` to `end` of the body: new octets, or what an encoder makes of the old ones."""

    start: int
    end: int
    put: bytes | Callable[[], Encoder]


@dataclass(frozen=True, slots=True)
class Mended:
    """A message made fit: its whole head, and what changes in its body, in order.

    `eight_bit`: whether octets above 127 are left.
    """

    head: bytes
    edits: tuple[Edit, ...]
    eight_bit: bool


class _Load(NamedTuple):
    """What a region has in it: its longest line when above 998, else 0; octets, and those above 127."""

    longest: int
    size: int
    high: int


def mend(
    head: bytes, body: Octets, *, long_lines: bool, downgrade: bool, depth: int = MAX_DEPTH
) -> Mended | Reply:
    """What to change, or the reply that says why the message cannot be sent.

    `long_lines`: encode what has lines too long; `downgrade`: and what has octets above 127.
    Those never are a reason to refuse: what cannot be encoded stays as it is.
    """
    try:
        folded = fold(head) if long_lines else head
    except CannotFold as cannot:
        return _refusal(
            f"Header {one_line(cannot.name, 100)} has a line of more than {LONG_LINE} octets: {cannot.why}"
        )
    try:
        found = regions(head, body, depth)
    except TooComplex as error:
        if not long_lines:
            return Mended(head, (), eight_bit=True)
        return _refusal(f"Lines of more than {LONG_LINE} octets in a message with {error}")
    work = _Work(folded, body, found, downgrade=downgrade)
    for number, region in enumerate(found):
        refusal = work.region(number, region, long_lines=long_lines)
        if refusal is not None:
            return refusal
    return work.result()


def edited(body: Octets, edits: tuple[Edit, ...]) -> Iterator[bytes]:
    """The body with its edits made, a window at a time."""
    at = 0
    for start, end, put in edits:
        yield from pieces(body, at, start)
        if isinstance(put, bytes):
            yield put
        else:
            yield from encoded(put(), pieces(body, start, end))
        at = end
    yield from pieces(body, at, len(body))


class _Work:
    """One message being mended; the heads of parts are rewritten when their content has decided."""

    def __init__(self, head: bytes, body: Octets, found: list[Region], *, downgrade: bool) -> None:
        self._head = head
        self._body = body
        self._found = found
        self._downgrade = downgrade
        self._heads: dict[int, bytes] = {}
        self._edits: list[Edit] = []
        self._high_left = not head.isascii()

    def region(self, number: int, region: Region, *, long_lines: bool) -> Reply | None:
        load = _load(self._body, region)
        long = long_lines and load.longest > 0
        high = self._downgrade and load.high > 0
        if long and region.sealed:
            return _too_long(load.longest, "in a signed part: encoding it would break the signature")
        if region.sealed or not (long or high):
            self._high_left = self._high_left or load.high > 0
            return None
        if region.kind is Kind.CONTENT:
            return self._content(region, load, long=long)
        self._high_left = self._high_left or load.high > 0
        if long and region.kind is Kind.HEAD:
            return self._part_head(number, region)
        if long:
            self._edits.append(Edit(region.start, region.end, _Wrap))
        return None

    def result(self) -> Mended:
        if self._downgrade and not self._high_left:
            self._lower_composites()
        for number, head in self._heads.items():
            if number >= 0:
                region = self._found[number]
                self._edits.append(Edit(region.start, region.end, head))
        edits = tuple(sorted(self._edits, key=lambda edit: edit[:2]))
        return Mended(self._heads.get(-1, self._head), edits, self._high_left)

    def _content(self, region: Region, load: _Load, *, long: bool) -> Reply | None:
        said = region.facts
        assert said is not None
        method = None if region.opaque else _method(said, load)
        if method is None:
            self._high_left = self._high_left or load.high > 0
            return (
                _too_long(load.longest, f"in a part that cannot be encoded ({one_line(said.media, 100)})")
                if long
                else None
            )
        encoding, encoder = method
        ending = CRLF if region.end == len(self._body) and encoding == "base64" else b""
        self._edits.append(Edit(region.start, region.end, _Ended(encoder, ending)))
        head = self._original(region.head)
        if encoding != said.encoding or region.head < 0 or not (CRLF + head).endswith(CRLF + CRLF):
            if region.head < 0:
                head = _with_mime(head, said, self._body, load)
            self._heads[region.head] = with_encoding(head, encoding.encode("ascii"))
        return None

    def _part_head(self, number: int, region: Region) -> Reply | None:
        try:
            self._heads[number] = fold(self._original(number))
        except CannotFold as cannot:
            return _refusal(
                f"Header {one_line(cannot.name, 100)} of a part has a line of more than {LONG_LINE} octets: "
                f"{cannot.why}"
            )
        return None

    def _original(self, number: int) -> bytes:
        if number < 0:
            return self._heads.get(number, self._head)
        region = self._found[number]
        return self._heads.get(number) or self._body[region.start : region.end]

    def _lower_composites(self) -> None:
        """Where nothing of eight bits is left, no part says that there is (RFC 2045 6.4)."""
        heads = [(-1, facts(self._head), False)]
        heads += [
            (number, region.facts, region.sealed)
            for number, region in enumerate(self._found)
            if region.kind is Kind.HEAD and region.facts is not None
        ]
        for number, said, sealed in heads:
            composite = said.media.startswith(("multipart/", "message/"))
            if composite and not sealed and said.encoding in ("8bit", "binary"):
                self._heads[number] = with_encoding(self._original(number), b"7bit")


def _method(said: Facts, load: _Load) -> tuple[str, Callable[[], Encoder]] | None:
    """Name and encoder for content; None where its encoding is not known."""
    if said.encoding == "quoted-printable":
        return said.encoding, lambda: QuotedPrintable(encoded=True)
    if said.encoding == "base64":
        return said.encoding, Rewrapped
    if said.encoding not in IDENTITY:
        return None
    if said.media.startswith("text/") and load.high * _DENSE <= load.size:
        return "quoted-printable", QuotedPrintable
    return "base64", Base64


def with_encoding(head: bytes, encoding: bytes) -> bytes:
    """The head with this Content-Transfer-Encoding in place of any other."""
    name = b"content-transfer-encoding"
    new = b"Content-Transfer-Encoding: " + encoding + CRLF
    made: list[bytes] = []
    placed = False
    found = fields(head)
    for field in found:
        if field.name != name:
            made.append(field.raw if field.raw.endswith(CRLF) else field.raw + CRLF)
        elif not placed:
            made.append(new)
            placed = True
    if not placed:
        made.append(new)
    return b"".join(made) + CRLF


def _with_mime(head: bytes, said: Facts, body: Octets, load: _Load) -> bytes:
    """What makes a message without MIME one with it, its text labelled for what it is."""
    found = fields(head)
    given = b"".join(field.raw for field in found)
    names = {field.name for field in found}
    added = b"" if not given or given.endswith(CRLF) else CRLF
    if b"mime-version" not in names:
        added += b"MIME-Version: 1.0\r\n"
    if not said.typed:
        charset = "us-ascii" if not load.high else "utf-8" if _is_utf8(body) else "unknown-8bit"
        added += f"Content-Type: text/plain; charset={charset}\r\n".encode("ascii")
    return given + added + CRLF


def _is_utf8(body: Octets) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in pieces(body, 0, len(body)):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _load(body: Octets, region: Region) -> _Load:
    longest = line = high = 0
    for piece in pieces(body, region.start, region.end):
        if not piece.isascii():
            high += len(piece) - len(piece.translate(None, _HIGH))
        first = piece.find(CRLF[1:])
        if first < 0:
            line += len(piece)
            longest = max(longest, line)
            continue
        longest = max(longest, line + first - 1, _longest_inside(piece, first + 1))
        line = len(piece) - piece.rfind(CRLF[1:]) - 1
    longest = max(longest, line)
    return _Load(longest if longest > LONG_LINE else 0, region.end - region.start, high)


_HIGH = bytes(range(128, 256))


def _longest_inside(piece: bytes, start: int) -> int:
    """The longest whole line above 998 octets from `start` on, found in leaps; 0 where there is none."""
    longest = 0
    while len(piece) - start > LONG_LINE:
        newline = piece.rfind(b"\n", start, start + LONG_LINE + 2)
        if newline < 0:
            newline = piece.find(b"\n", start)
            if newline < 0:
                break
            longest = max(longest, newline - 1 - start)
        start = newline + 1
    return longest


class _Ended:
    """Makes an encoder that writes a line end behind all."""

    def __init__(self, make: Callable[[], Encoder], ending: bytes) -> None:
        self._make = make
        self._ending = ending

    def __call__(self) -> Encoder:
        return _WithEnding(self._make(), self._ending) if self._ending else self._make()


@dataclass(frozen=True, slots=True)
class _WithEnding:
    encoder: Encoder
    ending: bytes

    def feed(self, chunk: bytes) -> bytes:
        return self.encoder.feed(chunk)

    def finish(self) -> bytes:
        return self.encoder.finish() + self.ending


class _Wrap:
    """Breaks the lines between parts, which no reader shows; what follows a break is no delimiter."""

    def __init__(self) -> None:
        self._column = 0

    def feed(self, chunk: bytes) -> bytes:
        made: list[bytes] = []
        for line in chunk.splitlines(keepends=True) if b"\n" in chunk else [chunk]:
            while self._column + len(line.rstrip(CRLF)) > LONG_LINE:
                cut = LONG_LINE - self._column
                made += (line[:cut], b"\r\n ")
                line = line[cut:]
                self._column = 1
            made.append(line)
            self._column = 0 if line.endswith(b"\n") else self._column + len(line)
        return b"".join(made)

    def finish(self) -> bytes:
        return b""


def _too_long(longest: int, why: str) -> Reply:
    return _refusal(f"A line of {longest} octets {why}; sign or send lines of at most {LONG_LINE}")


def _refusal(text: str) -> Reply:
    return Reply(550, (text,), "5.6.0")
