"""What a program says to `sendmail -bs`: command lines, and messages up to their final dot.

A program that ends its first line with CR LF speaks SMTP: from then on only CR LF ends a
line, and only CR LF "." CR LF a message, so that nothing it was made to carry is ever read
as a command of its own (RFC 5321 2.3.8, 4.1.1.4). One whose first line ends with LF alone
writes text, as programs of this machine do: for it LF ends a line.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from postroad.adapters import smtpd_replies as replies
from postroad.mail.data import DataDecoder
from postroad.mail.reply import Reply

CHUNK: Final = 1 << 16
LINE_LONGEST: Final = 2048
"""Octets of a line that is kept; no command may have so many."""

_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


class Source(Protocol):
    """A buffered reader of octets."""

    def read1(self, size: int = ..., /) -> bytes: ...


class Gone(Exception):
    """The program closed its end."""


class BadLine(Exception):
    """A line that is none; `reply` is the answer to give."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Lines:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._pending = bytearray()
        # Whether LF alone ends a line; not known before the first one.
        self._text: bool | None = None
        # A line was answered already, and this is its rest.
        self._torn = False

    def command(self) -> bytes:
        """The next line without its end and the white space before that. Raises BadLine, Gone."""
        while True:
            line, whole = self._line()
            ended = line.endswith(b"\r\n") or bool(self._text)
            if not self._torn:
                break
            self._torn = not ended
        self._torn = not ended
        if not whole:
            raise BadLine(replies.LINE_TOO_LONG)
        if not ended:
            raise BadLine(replies.BARE_NEWLINE)
        line = line.rstrip(b"\n").removesuffix(b"\r").rstrip(b" \t")
        if _CONTROLS.search(line):
            raise BadLine(replies.CONTROLS)
        return line

    def _line(self) -> tuple[bytes, bool]:
        """With its LF; of one that is too long the end, and False."""
        whole = True
        while (end := self._pending.find(b"\n")) < 0:
            if len(self._pending) > LINE_LONGEST:
                whole = False
                del self._pending[:-1]
            self._more()
        line = bytes(self._pending[: end + 1])
        del self._pending[: end + 1]
        if self._text is None:
            self._text = not line.endswith(b"\r\n")
        return line, whole and len(line) <= LINE_LONGEST

    def _more(self) -> None:
        chunk = self._source.read1(CHUNK)
        if not chunk:
            raise Gone
        self._pending += chunk

    def message(self, most: int) -> bytes | Reply:
        """What follows DATA, decoded, of at most `most` octets; or the reply that refuses it. Raises Gone."""
        decoder, kept = DataDecoder(), list[bytes]()
        while True:
            piece = decoder.feed(self._chunk())
            if decoder.size <= most:
                kept.append(piece)
            if decoder.done:
                break
            if not self._pending:
                self._more()
        self._pending[:0] = decoder.remainder
        if decoder.size > most:
            return replies.TOO_LARGE
        return replies.NUL_IN_DATA if decoder.nul else b"".join(kept)

    def _chunk(self) -> bytes:
        """All that came, with CR LF for the LF of one who writes text; half a line end waits."""
        chunk = bytes(self._pending)
        self._pending.clear()
        if not self._text:
            return chunk
        if chunk.endswith(b"\r"):
            chunk = chunk[:-1]
            self._more()
            self._pending[:0] = b"\r"
        return chunk.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
