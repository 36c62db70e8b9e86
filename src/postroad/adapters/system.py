"""The machine's clock, and queue ids made of it."""

from __future__ import annotations

import random
import time

from postroad.mail.message import Instant
from postroad.mail.queue_id import LIMIT, format_id

# 2020-01-01T00:00:00Z. 41 bits of milliseconds last until 2089.
EPOCH = 1577836800.0
SEQUENCE_BITS = 19


class SystemClock:
    """`Clock` of the machine: seconds since 1970, UTC; may step when the machine's does."""

    # Asked eight times a message: not wrapped.
    now = staticmethod(time.time)


class IdMaker:
    """`NewId`: 41 bits of milliseconds since 2020, then 19 random bits.

    Within a process each id is greater than the one before, also when the clock
    steps back or a millisecond makes many; between two runs of the daemon the
    random bits keep ids of the same millisecond apart. Not thread-safe.
    """

    def __init__(self, chance: random.Random | None = None) -> None:
        self._chance = chance or random.Random()
        self._last = -1

    def __call__(self, now: Instant) -> str:
        milliseconds = max(0, int((now - EPOCH) * 1000.0))
        number = milliseconds << SEQUENCE_BITS | self._chance.getrandbits(SEQUENCE_BITS)
        self._last = max(number, self._last + 1) % LIMIT
        return format_id(self._last)
