"""Which queue a spool is of, and how often it was opened: two numbers in a file, and the same in its index.

An index beside segments that are not its own, or one from an earlier run that came out of a
backup, does not name the messages that lie there, and the start would remove them as settled.
"""

from __future__ import annotations

import os
import random
import re
from contextlib import suppress
from pathlib import Path

from postroad.adapters.segment_writer import sync_directory

NAME = "identity"
# What the header of an SQLite file has room for.
LARGEST = 2**31 - 1

_TEXT = re.compile(rb"(\d{1,10})(?: (\d{1,18}))?\s*")


def read_identity(directory: Path) -> tuple[int, int]:
    """Its number and its last run, 0 where they are not known. Raises OSError."""
    try:
        found = _TEXT.fullmatch((directory / NAME).read_bytes())
    except FileNotFoundError:
        found = None
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def keep_identity(directory: Path, number: int, run: int) -> None:
    """Durable when it returns. Raises OSError, StorageBroken."""
    new = directory / f"{NAME}.new"
    with suppress(FileNotFoundError):
        new.unlink()
    with new.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        if os.geteuid() == 0:
            # Root may have to make a new index of a queue that is another user's.
            owner = directory.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(b"%d %d\n" % (number, run))
        file.flush()
        os.fsync(file.fileno())
    new.rename(directory / NAME)
    sync_directory(directory)


def new_number() -> int:
    return random.SystemRandom().randint(1, LARGEST)
