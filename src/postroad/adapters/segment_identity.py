"""Which queue a spool is of: a number in a file, and the same in its index.

An index beside segments that are not its own names none of their messages, and the start
would remove them all as settled.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

from postroad.adapters.segment_writer import sync_directory

NAME = "identity"
# What the header of an SQLite file has room for.
LARGEST = 2**31 - 1


def read_identity(directory: Path) -> int:
    """0: it has none yet. Raises OSError."""
    try:
        text = (directory / NAME).read_bytes()
    except FileNotFoundError:
        return 0
    number = int(text) if text.strip().isdigit() else 0
    return number if 0 < number <= LARGEST else 0


def keep_identity(directory: Path, number: int = 0) -> int:
    """The spool's, which is `number` or a new one where it had none; durable.

    Raises OSError, StorageBroken.
    """
    known = read_identity(directory)
    if known:
        return known
    made = number or random.SystemRandom().randint(1, LARGEST)
    new = directory / f"{NAME}.new"
    with suppress(FileNotFoundError):
        new.unlink()
    with new.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(b"%d\n" % made)
        file.flush()
        os.fsync(file.fileno())
    new.rename(directory / NAME)
    sync_directory(directory)
    return made
