"""Memory: what a crowd needed goes back to the system, what a start made is not looked through again."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from contextlib import suppress
from typing import Final

SETTLED: Final = 2.0
"""Seconds until a crowd that is gone is closed altogether."""
STARTED: Final = 10.0
"""Seconds until a start has read what it keeps; the hops of a million recipients take two."""
# A message makes and frees some hundred containers: the default, 700 new ones, is seven messages.
_THRESHOLDS: Final = (10_000, 20, 20)


def give_back_soon() -> None:
    asyncio.get_running_loop().call_later(SETTLED, give_back)


def give_back() -> None:
    """Collect what refers to itself, as connections do, and give back free pages (malloc_trim(3)).

    Where the C library cannot they stay. Takes tens of milliseconds, in which nothing else runs.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_soon() -> None:
    asyncio.get_running_loop().call_later(STARTED, keep)


def keep() -> None:
    """What is there now stays: the collector looks at it no more, and less often at what comes.

    With 100,000 domains waiting each full collection stopped the loop for 60 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
