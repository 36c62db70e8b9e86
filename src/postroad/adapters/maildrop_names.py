"""What files of the maildrop are called: by time and chance, and once a daemon has seen them by queue id."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

FRESH = re.compile(r"[0-9a-f]{1,20}\.[0-9a-f]{32}")
CLAIMED = re.compile(r"claimed\.([0-9A-Z]{12})\.([0-9a-f]{1,20}\.[0-9a-f]{32})")
REFUSED = re.compile(r"refused\.[0-9a-f]{1,20}\.[0-9a-f]{32}")
"""What no queue took, and nobody could be told of."""
REFUSED_DAYS: Final = 30
REFUSED_OF_ONE: Final = 20
"""So long, and so many of one user, the latest, are kept."""


def messages(directory: Path) -> list[str]:
    """The names of those that wait for a daemon, in order of arrival; none for who may not list them."""
    try:
        found = os.listdir(directory)
    except OSError:
        return []
    return sorted((name for name in found if FRESH.fullmatch(name) or CLAIMED.fullmatch(name)), key=arrival)


def refused(directory: Path) -> list[str]:
    """The names of those that were refused, in order of arrival; none for who may not list them."""
    try:
        return sorted(filter(REFUSED.fullmatch, os.listdir(directory)), key=arrival)
    except OSError:
        return []


def arrival(name: str) -> int:
    """When it was left there, by the clock of who left it, in nanoseconds since 1970."""
    claimed = CLAIMED.fullmatch(name)
    return int((claimed[2] if claimed else name.removeprefix("refused.")).partition(".")[0], 16)
