"""How content travels: dots stuffed and a lone one at the end (RFC 5321 4.5.2), or one chunk (RFC 3030)."""

from __future__ import annotations

LONE_DOT = b".\r\n"


class DotStuffer:
    """Dot transparency over chunks: knows, across their edges, whether a line has just begun.

    With `dotted` False (no line starts with a dot) chunks pass through uncopied.
    """

    __slots__ = ("_dotted", "_tail")
    left = 0

    def __init__(self, dotted: bool) -> None:
        self._dotted = dotted
        self._tail = b"\r\n"

    def feed(self, chunk: bytes) -> bytes:
        """The octets to write for this piece of content."""
        if not chunk:
            return chunk
        tail = self._tail
        self._tail = chunk[-2:] if len(chunk) > 1 else tail[-1:] + chunk
        if not self._dotted:
            return chunk
        stuffed = chunk.replace(b"\n.", b"\n..")
        if chunk[:1] == b"." and tail[-1:] == b"\n":
            return b"." + stuffed
        return stuffed

    def finish(self) -> bytes:
        """The final dot, after the line end that the content may lack."""
        return LONE_DOT if self._tail == b"\r\n" else b"\r\n" + LONE_DOT


class ChunkFramer:
    """One chunk of announced `size` (RFC 3030 4.2): nothing is changed. `left` octets are still to come."""

    __slots__ = ("_command", "left")

    def __init__(self, size: int) -> None:
        self._command = bdat_command(size)
        self.left = size

    def feed(self, chunk: bytes) -> bytes:
        self.left -= len(chunk)
        command, self._command = self._command, b""
        return command + chunk if command else chunk

    def finish(self) -> bytes:
        return b""


def bdat_command(size: int) -> bytes:
    return b"BDAT %d LAST\r\n" % size


def framed(head: bytes, body: bytes, dotted: bool) -> bytes:
    """A whole small message as it goes over the wire, final dot and all."""
    if not dotted and body[-2:] == b"\r\n":
        return b"".join((head, body, LONE_DOT))
    stuffer = DotStuffer(dotted)
    return stuffer.feed(head + body) + stuffer.finish()
