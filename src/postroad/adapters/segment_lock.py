"""One writer a spool: a lock that ends with the process, in a file that names the holder."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from postroad.mail.printable import printable
from postroad.mail.timestamps import rfc3339


class SpoolInUse(Exception):
    """Another process holds the spool; the text names it."""


def hold(directory: Path) -> tuple[int, bool]:
    """The lock's descriptor, and whether its last holder crashed. Raises SpoolInUse, OSError."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(os.pread(descriptor, 256, 0).decode("ascii", "replace"))
        os.close(descriptor)
        raise SpoolInUse(f"{directory} is in use by {holder}") from None
    crashed = os.fstat(descriptor).st_size > 0
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {rfc3339(time.time())}\n".encode(), 0)
        # A power cut must not look like an end in good order.
        os.fsync(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, error.strerror, str(directory / "lock")) from error
    return descriptor, crashed


def _holder(text: str) -> str:
    """Who holds it and since when, of what the file says; an older daemon wrote its pid alone."""
    pid, _, since = printable(text.strip()).partition(" ")
    if not pid:
        return "a process that just begins or ends"
    return f"process {pid}, since {since}" if since else f"process {pid}"


def let_go_of(descriptor: int, *, crashed: bool = False) -> None:
    """In good order, unless the one before was `crashed` and nobody has looked into that yet."""
    if not crashed:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
    os.close(descriptor)
