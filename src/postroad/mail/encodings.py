"""Content-transfer-encodings, written as the octets come (RFC 2045 6.7, 6.8): ASCII in lines of 76 at most.

Each encoder takes chunks cut anywhere by `feed` and is spent after `finish`. Memory
stays at a chunk, however long a line is. What a decoder makes of the result is the
content, octet for octet.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterator
from typing import Protocol

CRLF = b"\r\n"
_TEXT = 75
"""Octets of a line of quoted-printable without the "=" that may end it."""
_LINE = 76
_OCTETS_A_LINE = 57
_UNSAFE = re.compile(rb"[^\t -<>-~]")
_UNSAFE_IN_ENCODED = re.compile(rb"[^\t -~]")
_ESCAPES = {bytes([octet]): b"=%02X" % octet for octet in range(256)}
# White space, and what is no character of base64 and ignored by who reads it.
_IGNORED = b" \t\r\n" + bytes(range(128, 256))


class Encoder(Protocol):
    """Octets in, encoded octets out."""

    def feed(self, chunk: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class QuotedPrintable:
    """Text with CRLF line ends; a CR or LF that stands alone is escaped as any control character.

    `encoded`: what comes is quoted-printable already and only its lines are too long, or
    some octets should not be there. No line begins with a dot.
    """

    def __init__(self, *, encoded: bool = False) -> None:
        self._encoded = encoded
        self._unsafe = _UNSAFE_IN_ENCODED if encoded else _UNSAFE
        self._held = b""
        self._column = 0

    def feed(self, chunk: bytes) -> bytes:
        data = self._held + chunk
        kept = self._undecided(data)
        self._held = data[len(data) - kept :]
        return self._encode(data[: len(data) - kept])

    def finish(self) -> bytes:
        rest, self._held = self._held, b""
        made: list[bytes] = []
        self._line(rest, made, ended=True)
        return b"".join(made)

    def _undecided(self, data: bytes) -> int:
        """How many octets at the end mean something else when a line end, or a digit, follows."""
        end = len(data)
        if data.endswith(b"\r"):
            end -= 1
        if end and data[end - 1] in b" \t":
            end -= 1
        if self._encoded and b"=" in data[-2:]:
            end = min(end, len(data) - 2 + data[-2:].index(b"=")) if len(data) > 1 else 0
        return len(data) - end

    def _encode(self, data: bytes) -> bytes:
        *lines, last = data.split(CRLF)
        made: list[bytes] = []
        for line in lines:
            self._line(line, made, ended=True)
            made.append(CRLF)
            self._column = 0
        self._line(last, made, ended=False)
        return b"".join(made)

    def _line(self, text: bytes, made: list[bytes], *, ended: bool) -> None:
        text = self._unsafe.sub(_escaped, text)
        if ended and not self._encoded and text[-1:] in (b" ", b"\t"):
            text = text[:-1] + _ESCAPES[text[-1:]]
        start, size = 0, len(text)
        while True:
            # A dot at the start of a line would have to be stuffed on its way.
            dot = not self._column and text[start : start + 1] == b"."
            lead = b"=2E" if dot else b""
            start += dot
            room = _TEXT - self._column - len(lead)
            if size - start <= room:
                break
            cut = _before_escape(text, start, start + room)
            made.append(lead + text[start:cut] + b"=\r\n")
            start, self._column = cut, 0
        made.append(lead + text[start:])
        self._column += len(lead) + size - start


def _escaped(found: re.Match[bytes]) -> bytes:
    return _ESCAPES[found[0]]


def _before_escape(text: bytes, start: int, cut: int) -> int:
    """The cut, moved so that it parts no "=XX"."""
    for back in (1, 2):
        if cut - back >= start and text[cut - back] == 0x3D:
            return cut - back
    return cut


class _Lines:
    """What comes cut into pieces of one length, each a line; no line end after the last."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._held = b""
        self._begun = False

    def feed(self, chunk: bytes) -> bytes:
        data = self._held + self._wanted(chunk)
        # A line is written when it is known that something follows it.
        end = len(data) // self._length * self._length
        self._held = data[end:]
        return self._written(data[:end])

    def finish(self) -> bytes:
        rest, self._held = self._held, b""
        return self._written(rest)

    def _written(self, data: bytes) -> bytes:
        if not data:
            return b""
        before = CRLF if self._begun else b""
        self._begun = True
        pieces = (data[at : at + self._length] for at in range(0, len(data), self._length))
        return before + CRLF.join(map(self._line, pieces))

    def _wanted(self, chunk: bytes) -> bytes:
        return chunk

    def _line(self, piece: bytes) -> bytes:
        return piece


class Base64(_Lines):
    """Any octets; no line end after the last line."""

    def __init__(self) -> None:
        super().__init__(_OCTETS_A_LINE)

    def _line(self, piece: bytes) -> bytes:
        return b2a_base64(piece, newline=False)


class Rewrapped(_Lines):
    """Base64 whose lines are too long: the same characters in lines of 76, no line end after the last."""

    def __init__(self) -> None:
        super().__init__(_LINE)

    def _wanted(self, chunk: bytes) -> bytes:
        return chunk.translate(None, _IGNORED)


def encoded(encoder: Encoder, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """All of the chunks through the encoder."""
    for chunk in chunks:
        yield encoder.feed(chunk)
    yield encoder.finish()
