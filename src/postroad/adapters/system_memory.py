"""Memory that a crowd needed, given back to the system once it is gone."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from contextlib import suppress
from typing import Final

SETTLED: Final = 2.0
"""Seconds until a crowd that is gone is closed altogether."""


def give_back_soon() -> None:
    asyncio.get_running_loop().call_later(SETTLED, give_back)


def give_back() -> None:
    """Collect what refers to itself, as connections do, and give back free pages (malloc_trim(3)).

    Where the C library cannot they stay. Takes tens of milliseconds, in which nothing else runs.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
