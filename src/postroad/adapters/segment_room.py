"""How much room the disk of the spool has: asked before it hurts, and not too often."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

# Seconds for which an answer of the file system is taken as true.
FRESH = 1.0


class Room:
    """`low()` while less than `low_water` octets are free for us.

    The file system is asked anew after a second, or once an eighth of the mark was
    announced with `taken` since: many large bodies at once do not run past it.
    """

    def __init__(
        self,
        directory: Path,
        low_water: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._low_water = low_water
        self._clock = clock
        self._asked = -FRESH
        self._taken = 0
        self._low = False

    def taken(self, octets: int) -> None:
        """So much was written since."""
        self._taken += octets

    def low(self) -> bool:
        now = self._clock()
        if now - self._asked >= FRESH or self._taken > self._low_water // 8:
            self._asked, self._taken = now, 0
            self._low = self._free() < self._low_water
        return self._low

    def _free(self) -> int:
        found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize

    def __str__(self) -> str:
        return f"{self._directory}: less than {self._low_water} octets are free"
