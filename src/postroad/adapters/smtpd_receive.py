"""One message on its way in: kept in memory while small, staged in the spool from there on.

What is wrong with a message is remembered while the rest is still taken off the
wire, so that the answer comes where the client waits for it: after the end mark.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Self

from postroad.adapters import smtpd_replies as replies
from postroad.config.model import SubmissionConfig
from postroad.mail.canonical import RelaxedBodyHasher
from postroad.mail.data import END, DataDecoder
from postroad.mail.headers import split
from postroad.mail.message import Content, StagedBody
from postroad.mail.reply import Reply
from postroad.ports.spool import BodyFile
from postroad.ports.storage import StorageFull

EMPTY_LINE = b"\r\n\r\n"
GATHER: Final = 128 * 1024
"""Octets that are decoded in one go: clients send in far smaller pieces."""
PIECES: Final = 64
"""And pieces, for those of a few octets take far more memory than that."""


class FarTooLarge(Exception):
    """More than twice what is allowed came after DATA: not worth draining any further."""


@dataclass(slots=True)
class _Spilled:
    """The body's file, and the header that does not go there."""

    head: bytes
    file: BodyFile
    hasher: RelaxedBodyHasher

    async def write(self, piece: bytes) -> None:
        self.hasher.update(piece)
        await self.file.write(piece)


class Reception:
    """Takes raw octets until `done`; then `finish` gives the content, or `refusal` the reply to give.

    As a context it keeps nothing of a message whose receiving fails.
    """

    def __init__(
        self,
        config: SubmissionConfig,
        stage: Callable[[], BodyFile],
        decoder: DataDecoder | None = None,
    ) -> None:
        self._config = config
        self._stage = stage
        self._decoder = decoder or DataDecoder()
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self._gather = min(GATHER, config.spill_threshold, config.max_message_size)
        # The last octets so far, before which the CRLF of the DATA command counts.
        self._tail = b"\r\n"
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._spilled: _Spilled | None = None
        self.received = 0
        self.refusal: Reply | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None:
            self.discard()

    @property
    def done(self) -> bool:
        return self._decoder.done

    @property
    def remainder(self) -> bytes:
        """What the client sent after the end mark."""
        return self._decoder.remainder

    def feed(self, chunk: bytes, last: bool = False) -> Awaitable[None] | None:
        """Take what came; raises FarTooLarge when draining should end too.

        `last`: the message ends with it, which of chunks the caller alone knows.
        What goes to disk is to be awaited before more is fed; what stays in memory needs no wait.
        """
        self.received += len(chunk)
        self._gathered.append(chunk)
        self._gathered_size += len(chunk)
        ends = self._may_end(chunk) or last
        if not ends and self._gathered_size < self._gather and len(self._gathered) < PIECES:
            return None
        piece = self._decoder.feed(*self._gathered)
        self._gathered.clear()
        self._gathered_size = 0
        if self.refusal is None:
            self.refusal = self._objection()
            if self.refusal is not None:
                self.discard()
        if self.refusal is None:
            return self._keep(piece)
        if not self.done and self.received > 2 * self._config.max_message_size:
            raise FarTooLarge
        return None

    def _may_end(self, chunk: bytes) -> bool:
        """Whether an end mark ends in this chunk; what it means is the decoder's to say."""
        tail = self._tail
        self._tail = (tail + chunk[-len(END) + 1 :])[-len(END) + 1 :]
        # From the right and without its first octet the search is the fastest of all.
        return chunk.rfind(END[1:]) >= 0 or END in tail + chunk[: len(END) - 1]

    def finish(self) -> Content | None:
        """The whole content, once `done`; None where `refusal` tells why not."""
        if self.refusal is not None:
            return None
        if self._spilled is not None:
            spilled = self._spilled
            staged = spilled.file.finish(spilled.hasher.digest())
            return self._content(spilled.head, staged)
        head, body = split(b"".join(self._pieces))
        if len(head) > self._config.max_header_size:
            self.refusal = replies.HEADER_TOO_LARGE
            return None
        return self._content(head, body)

    def refuse(self, reply: Reply) -> None:
        """What was found wrong elsewhere; a first refusal stands."""
        if self.refusal is None:
            self.refusal = reply
        self.discard()

    def discard(self) -> None:
        """Keep nothing. Harmless when repeated, and after the message became ours."""
        self._pieces.clear()
        self._buffered = 0
        if self._spilled is not None:
            self._spilled.file.discard()

    def _content(self, head: bytes, body: bytes | StagedBody) -> Content:
        decoder = self._decoder
        return Content(head, body, decoder.dotted, decoder.eight_bit, decoder.longest_line > 0)

    def _objection(self) -> Reply | None:
        decoder = self._decoder
        if decoder.size > self._config.max_message_size:
            return replies.TOO_LARGE
        if decoder.nul:
            return replies.NUL_IN_DATA
        if decoder.bare_newline and self._config.bare_newlines == "refuse":
            return replies.BARE_NEWLINE_IN_DATA
        return None

    def _keep(self, piece: bytes) -> Awaitable[None] | None:
        if self._spilled is None:
            self._pieces.append(piece)
            self._buffered += len(piece)
            if self._buffered <= self._config.spill_threshold:
                return None
        return self._to_disk(piece)

    async def _to_disk(self, piece: bytes) -> None:
        try:
            if self._spilled is not None:
                await self._spilled.write(piece)
            else:
                await self._spill()
        except StorageFull:
            self.refusal = replies.STORAGE_FULL
            self.discard()

    async def _spill(self) -> None:
        """Send the body to disk, when it is certain where the header ends."""
        whole = b"".join(self._pieces)
        self._pieces = [whole]
        limit = self._config.max_header_size
        if EMPTY_LINE not in whole and len(whole) <= limit:
            return
        head, body = split(whole)
        if len(head) > limit or (EMPTY_LINE not in whole and _is_all_header(whole)):
            self.refusal = replies.HEADER_TOO_LARGE
            self.discard()
            return
        self._pieces.clear()
        self._spilled = _Spilled(head, self._stage(), RelaxedBodyHasher())
        await self._spilled.write(body)


def _is_all_header(whole: bytes) -> bool:
    """Whether every complete line, and there is one, is header still: the last one may be cut anywhere."""
    lines = whole[: whole.rfind(b"\n") + 1]
    return bool(lines) and len(split(lines)[0]) == len(lines)
