"""SQLite's log of changes beside the index: when it has grown too long, and for whom to say so.

Every commit appends to it, and every few thousand pages it is copied back into the index and
begun anew. A program that stays in one look at the index keeps it from being begun anew, so
that it grows until that program ends; then the next commits copy it back and cut it short.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

MIB = 1024 * 1024
# Pages after which it is copied back. Pages of the queue's young end change in nearly every
# burst: copying them once in 16 MiB saves most of that.
PAGES = 4000
# Octets that are left of its file when it was copied back whole.
KEPT = 64 * MIB
# Seconds between looks.
FRESH = 1.0


class LogWatch:
    """Used in the writer's thread."""

    def __init__(self, index: Path, kept: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = index.with_name(f"{index.name}-wal")
        self._index = index
        self._least = 2 * kept
        self._told = 0
        self._clock = clock
        self._looked = clock()

    def look(self) -> str | None:
        """After a commit: what there is to say, which is once for each doubling."""
        now = self._clock()
        if now - self._looked < FRESH:
            return None
        self._looked = now
        try:
            size = os.stat(self._path).st_size
        except OSError:
            return None
        if size < self._least:
            self._told = 0
            return None
        if size < 2 * self._told:
            return None
        self._told = size
        return (
            f"{self._path.name} has grown to {size // MIB} MiB: some program stays in one look"
            f" at {self._index}; it is copied back and cut short when that program ends"
        )
