"""What a client sent and the session has not read yet.

In place of asyncio's StreamReader, whose generality (limits, lines, copies out of
one growing buffer) every command would pay for.
"""

from __future__ import annotations

import asyncio
from typing import Final

BUFFER: Final = 64 * 1024
"""The transport pauses while more than this is unread."""


class Inbox:
    """Octets in order; one reader. `attach` names the transport to pause, again after STARTTLS."""

    __slots__ = ("_chunks", "_ended", "_error", "_loop", "_paused", "_size", "_transport", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._paused = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.ReadTransport | None = None

    def __len__(self) -> int:
        return self._size

    @property
    def awaited(self) -> bool:
        """Whether the reader waits, and nothing happened yet that it was not told of."""
        return self._waiter is not None

    def check(self) -> None:
        """Raise what `fail` was given, if it was."""
        if self._error is not None:
            raise self._error

    def attach(self, transport: asyncio.ReadTransport) -> None:
        self._transport = transport
        self._paused = False

    def feed(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > BUFFER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self.wake()

    @property
    def open(self) -> bool:
        """Whether more may come."""
        return not self._ended

    def clear(self) -> None:
        """Forget what is unread, and let more come."""
        self._chunks.clear()
        self._size = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self.wake()

    def fail(self, error: Exception) -> None:
        """The next read, or the one that waits, raises this, whatever is unread."""
        self._error = error
        self.wake()

    def take(self) -> bytes | None:
        """All that came, b"" at the end, None where nothing came yet. Raises what `fail` was given."""
        if self._error is not None:
            raise self._error
        if not self._chunks and not self._ended:
            return None
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self.clear()
        return data

    def more(self) -> asyncio.Future[None]:
        """Done once `take` has something to say."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def wake(self) -> None:
        """Let the reader look again."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
