"""The "relaxed" canonical forms of DKIM (RFC 6376 3.4.2, 3.4.4), and a body hash taken as the body comes."""

from __future__ import annotations

import hashlib
import re

CRLF = b"\r\n"
_LINE_ENDS = re.compile(rb"(?:\r\n)*")
_TRAILING_LINES = re.compile(rb"(?:\r\n)+\Z")
_BLANK_LINES = CRLF * 4096


class RelaxedBodyHasher:
    """SHA-256 of the relaxed form of a body that arrives in chunks, cut anywhere.

    Memory stays at a chunk: what may still change (white space and line ends at the
    end of a chunk) is kept in its shortest form. A body without a final CRLF is
    hashed as the receiver will see it, with one.
    """

    __slots__ = ("_blank", "_hash", "_held", "_some")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        # Line ends not yet hashed: they count only when text follows.
        self._blank = 0
        # White space or a CR whose meaning depends on the next octet.
        self._held = b""
        self._some = False

    def update(self, chunk: bytes) -> None:
        data = self._held + chunk if self._held else chunk
        text = data.rstrip(b" \t\r\n")
        if text:
            self._emit(_collapsed(text))
        self._hold(data[len(text) :])

    def digest(self) -> bytes:
        """The 32 octets; the hasher is spent afterwards."""
        rest = _TRAILING_LINES.sub(b"", _collapsed(self._held + CRLF))
        if rest:
            self._emit(rest)
        if self._some:
            self._hash.update(CRLF)
        return self._hash.digest()

    def _emit(self, text: bytes) -> None:
        while self._blank:
            count = min(self._blank, 4096)
            self._hash.update(_BLANK_LINES[: 2 * count])
            self._blank -= count
        self._hash.update(text)
        self._some = True

    def _hold(self, run: bytes) -> None:
        """Keep a run of white space and line ends: complete lines as a count, the rest as it is."""
        if run == CRLF:
            self._blank += 1
            self._held = b""
            return
        run = _collapsed(run)
        lines = len(run) // 2
        if run[: 2 * lines] != _repeated(lines):
            lines = _leading_lines(run)
        self._blank += lines
        self._held = run[2 * lines :]


def relaxed_body_hash(body: bytes) -> bytes:
    """SHA-256 of the relaxed form of a whole body."""
    hasher = RelaxedBodyHasher()
    hasher.update(body)
    return hasher.digest()


def relaxed_header(raw: bytes) -> bytes:
    """A whole field, name to CRLF, in relaxed form: lower-case name, unfolded, white space reduced."""
    name, _, value = raw.partition(b":")
    value = _single_spaced(value.replace(CRLF, b"")).strip(b" ")
    return name.rstrip(b" \t").lower() + b":" + value + CRLF


def _collapsed(data: bytes) -> bytes:
    """Runs of white space as one space, none before CRLF."""
    return _single_spaced(data).replace(b" \r\n", CRLF)


def _single_spaced(data: bytes) -> bytes:
    # Each pass halves the runs; even so replace() is ten times as fast as a regex.
    if b"\t" in data:
        data = data.replace(b"\t", b" ")
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data


def _repeated(lines: int) -> bytes:
    return _BLANK_LINES[: 2 * lines] if lines <= 4096 else CRLF * lines


def _leading_lines(run: bytes) -> int:
    match = _LINE_ENDS.match(run)
    assert match is not None
    return len(match[0]) // 2
