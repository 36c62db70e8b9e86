"""Lines on their way out: a bounded buffer and the thread that empties it.

The loop only appends. A reader that is slow or gone (a full pipe, a stopped
terminal) costs lines, which are counted, and never time.
"""

from __future__ import annotations

import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol


class ByteStream(Protocol):
    """An unbuffered or buffered binary stream; short writes and None (would block) are understood."""

    def write(self, data: bytes, /) -> int | None: ...

    def flush(self) -> None: ...

    def fileno(self) -> int:
        """Raises OSError where there is none."""
        ...


# How long lines gather before they are written together: one wake-up of the thread and one
# write serve many lines, and a person still sees them at once.
GATHER = 0.02


class LineWriter:
    """`put` lines from any thread; `close` waits for what is buffered, for so long."""

    def __init__(self, stream: ByteStream, capacity: int, report: Callable[[int], bytes]) -> None:
        """`report` makes the line that says how many were dropped."""
        self._stream = stream
        self._capacity = capacity
        self._report = report
        self._lines: deque[bytes] = deque()
        self._work = threading.Event()
        self._closing = threading.Event()
        # Set once all that was put before them is written.
        self._asked: deque[threading.Event] = deque()
        self._unreported = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Append one line (without its end), or count it as dropped when the buffer is full."""
        if len(self._lines) >= self._capacity:
            self.dropped += 1
            self._unreported += 1
            return
        self._lines.append(line)
        if not self._work.is_set():
            self._work.set()

    def flush(self, timeout: float) -> None:
        """Return when what is buffered now is written, or the time is up."""
        written = threading.Event()
        self._asked.append(written)
        self._work.set()
        written.wait(timeout)

    def close(self, timeout: float) -> None:
        """Write what is buffered; give up after `timeout` seconds. May be called again."""
        self._closing.set()
        self._work.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._work.wait()
            self._closing.wait(GATHER)
            self._work.clear()
            self._drain()
        self._drain()

    def _drain(self) -> None:
        asked = [self._asked.popleft() for _ in range(len(self._asked))]
        while self._lines or self._unreported:
            batch = [self._lines.popleft() for _ in range(min(len(self._lines), 256))]
            if self._unreported and not self._lines:
                count, self._unreported = self._unreported, 0
                batch.append(self._report(count))
            batch.append(b"")
            if not self._write(b"\n".join(batch)):
                self.dropped += len(batch) - 1
        for written in asked:
            written.set()

    def _write(self, data: bytes) -> bool:
        rest = memoryview(data)
        try:
            while rest:
                written = self._stream.write(bytes(rest))
                if written is None:
                    self._wait_for_room()
                else:
                    rest = rest[written:]
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody reads any more (EPIPE), or the stream was closed: there is nowhere left to say so.
            return False
        return True

    def _wait_for_room(self) -> None:
        """Somebody who shares our stderr made it non-blocking."""
        select.select([], [self._stream.fileno()], [], 1.0)
