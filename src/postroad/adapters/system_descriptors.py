"""The limit of open files of this process (setrlimit(2))."""

from __future__ import annotations

import resource
from contextlib import suppress


def raise_limit() -> int:
    """Take all that the hard limit allows, as Postfix and nginx do; what is had then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # A sandbox may forbid even this; what is had is enough then, or told.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def highest_limit() -> int:
    """What `raise_limit` would get."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]
