"""The octets after DATA: where they end, without their stuffing, in canonical line ends (RFC 5321 4.5.2).

The order of the three steps is what keeps messages from being smuggled. Octets
*as received* decide where data ends (only CRLF "." CRLF) and which dots were
stuffed; line ends are mended last. A "." that stands alone on a line after the
mending is therefore content, and `dotted` says so to whoever sends the message on.

A dot right after CRLF was stuffed, whatever follows. Clients that send LF for line
ends (Python's smtplib, given octets) stuff after LF: so of two dots after a bare LF
one goes, while a single one, which such a client never sends, stays.

Nothing here waits or counts time; chunks may be cut anywhere.
"""

from __future__ import annotations

import re

END = b"\r\n.\r\n"
_DOT = b"\r\n."
_STUFFED_AFTER_LF = re.compile(rb"(?<!\r)\n\.\.")
LONG_LINE = 998
"""RFC 5322 2.1.1: octets of a line without its CRLF; lines up to here are not measured."""


class DataDecoder:
    """One message's octets in, its content out; the facts are right for all that was fed so far.

    `size` counts decoded octets. `dotted`: some decoded line starts with ".".
    `bare_newline`: a LF stood alone and was made CRLF, or a CR, made a space. `longest_line`: octets
    of the longest line above `LONG_LINE`, else 0. `remainder`: what followed the end.
    """

    __slots__ = (
        "_held",
        "_line",
        "_virtual",
        "bare_newline",
        "done",
        "dotted",
        "eight_bit",
        "longest_line",
        "nul",
        "remainder",
        "size",
    )

    def __init__(self) -> None:
        self.done = False
        self.remainder = b""
        self.size = 0
        self.dotted = False
        self.eight_bit = False
        self.bare_newline = False
        self.nul = False
        self.longest_line = 0
        # The CRLF of the DATA command counts as the one before the first line, so
        # that a lone dot may come first; it is taken away again from what is given out.
        self._held = b"\r\n"
        self._virtual = 2
        self._line = 0

    def feed(self, *chunks: bytes) -> bytes:
        """The decoded octets that are certain now, perhaps none; after `done` nothing may be fed."""
        if self.done:
            raise ValueError("fed after the end of data")
        raw = b"".join((self._held, *chunks))
        # From the right: on text without a match this search is twice as fast. A lone
        # one is nearly always the end itself.
        last = raw.rfind(_DOT)
        marked = last >= 0
        lone = marked and raw.rfind(_DOT, 0, last) < 0
        end = raw.find(END, last if lone else 0) if marked else -1
        if end >= 0:
            self.done = True
            self.remainder = raw[end + len(END) :]
            raw = raw[: end + 2]
            self._held = b""
            marked = not lone and raw.rfind(_DOT) >= 0
        else:
            held = _undecided(raw)
            self._held = raw[len(raw) - held :]
            raw = raw[: len(raw) - held]
        if marked:
            raw = raw.replace(_DOT, b"\r\n")
        piece = self._canonical(raw)
        if not self.dotted and (marked or piece is not raw):
            self.dotted = b"\n." in piece
        return self._note(piece) if piece else piece

    def _canonical(self, piece: bytes) -> bytes:
        # The fastest way to look at every line end: what is bare is what is left.
        rest = piece.replace(b"\r\n", b"")
        if b"\r" not in rest and b"\n" not in rest:
            return piece
        # What is held back begins at a line end, so that a LF that begins a piece is a bare one.
        self.bare_newline = True
        if b"\n.." in piece:
            piece = _STUFFED_AFTER_LF.sub(b"\n.", piece)
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")

    def _note(self, piece: bytes) -> bytes:
        """Take the facts of a canonical piece, and the virtual CRLF off the first one."""
        if not self.eight_bit:
            self.eight_bit = not piece.isascii()
        if not self.nul:
            self.nul = b"\0" in piece
        if self._virtual:
            piece = piece[self._virtual :]
            self._virtual = 0
        self.size += len(piece)
        self._measure(piece)
        return piece

    def _measure(self, piece: bytes) -> None:
        """Find lines above `LONG_LINE` in leaps: a newline near the end of a leap clears all before it."""
        start = -self._line
        reach = max(self.longest_line, LONG_LINE) + 2
        size = len(piece)
        while size - start > reach:
            newline = piece.rfind(b"\n", max(start, 0), start + reach)
            if newline < 0:
                newline = piece.find(b"\n", max(start + reach, 0))
                length = (newline - 1 if newline >= 0 else size) - start
                self.longest_line = max(self.longest_line, length)
                reach = self.longest_line + 2
                if newline < 0:
                    break
            start = newline + 1
        last = piece.rfind(b"\n", max(start, 0))
        self._line = size - (last + 1 if last >= 0 else start)


def has_long_line(octets: bytes) -> bool:
    """Whether some line, canonical line ends, is longer than `LONG_LINE`."""
    start, size = 0, len(octets)
    while size - start > LONG_LINE:
        newline = octets.rfind(b"\n", start, start + LONG_LINE + 2)
        if newline < 0:
            return True
        start = newline + 1
    return False


def _undecided(raw: bytes) -> int:
    """How many octets at the end are a line end, or one and a dot: what follows gives them a meaning."""
    for tail in (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r", b"\n.", b"\n"):
        if raw.endswith(tail):
            return len(tail)
    return 0
