"""The octets of BDAT (RFC 3030): how many a command announces, and what a message of such chunks is.

Nothing in a chunk has a meaning but its length: no octet ends it, no dot is stuffed.
What is text is brought into canonical line ends as after DATA; what was announced as
BODY=BINARYMIME stays as it is.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from postroad.mail.data import DataDecoder

_ARGUMENT = re.compile(r"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE)
_COUNTED = re.compile(r"([0-9]{1,20})(?: .*)?")
_ENDS = (b"\r\n", b"\r", b"\n")


class Chunk(NamedTuple):
    """What a BDAT command announces: `size` octets; `last`: the message ends with them.

    `size` None: nobody can tell how many octets follow. `sound` False: all that is wrong is the rest.
    """

    size: int | None
    last: bool = False
    sound: bool = True


def parse_bdat(argument: str) -> Chunk:
    """The argument of BDAT, "size [LAST]"."""
    match = _ARGUMENT.fullmatch(argument)
    if match is not None:
        return Chunk(int(match[1]), match[2] is not None)
    counted = _COUNTED.fullmatch(argument)
    return Chunk(None if counted is None else int(counted[1]), sound=False)


class ChunkDecoder(DataDecoder):
    """The content of chunks, with the facts of `DataDecoder`. Call `end` before the last `feed`."""

    __slots__ = ("_ending",)

    def __init__(self) -> None:
        super().__init__()
        self._ending = False

    def end(self) -> None:
        """The next octets fed, perhaps none, are the last; then the decoder is `done`."""
        self._ending = True

    def feed(self, *chunks: bytes) -> bytes:
        if self.done:
            raise ValueError("fed after the end of data")
        raw = b"".join((self._held, *chunks))
        if self._ending:
            self.done = True
            held = 0
            if not raw.endswith((b"\r", b"\n")):
                raw += b"\r\n"
        else:
            held = next((len(end) for end in _ENDS if raw.endswith(end)), 0)
        self._held = raw[len(raw) - held :]
        piece = self._canonical(raw[: len(raw) - held])
        if not self.dotted:
            self.dotted = b"\n." in piece
        return self._note(piece) if piece else piece

    def _canonical(self, piece: bytes) -> bytes:
        lines = piece.count(b"\r\n")
        if piece.count(b"\n") == lines and piece.count(b"\r") == lines:
            return piece
        self.bare_newline = True
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


class BinaryDecoder(ChunkDecoder):
    """The same for BODY=BINARYMIME: every octet is content, and none is changed.

    It has no lines that could be too long, and no octets that another encoding would help.
    """

    __slots__ = ()

    def feed(self, *chunks: bytes) -> bytes:
        if self.done:
            raise ValueError("fed after the end of data")
        chunk = b"".join(chunks)
        self.done = self._ending
        self.size += len(chunk)
        return chunk
