"""The index is opened only beside the segments that it is the index of.

An index that does not name what lies in the segments would have it removed as settled.
"""

from __future__ import annotations

from collections.abc import Callable

from postroad.adapters.segment_audit import holds_mail
from postroad.adapters.segment_identity import keep_identity, new_number, read_identity
from postroad.adapters.segment_reader import numbers
from postroad.adapters.sqlite_files import CURE, holds_rows, identity_of, is_new
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.config.model import Config
from postroad.ports.storage import StorageBroken


def open_index(config: Config, trouble: Callable[[str], None]) -> SqliteQueue:
    """Index and segments know which queue they are of, and of which run of it: they must go together.

    The caller holds the spool's lock. Raises StorageBroken, OSError.
    """
    index, spool = config.index_path, config.spool_path
    new = is_new(index)
    if new and holds_mail(spool):
        raise StorageBroken(f"{index} is missing, and {spool} holds mail; {CURE}")
    number, run = read_identity(spool)
    theirs, their_run = identity_of(index)
    if number and theirs and theirs != number:
        raise StorageBroken(
            f"{index} belongs to another queue than {spool}; put back the one that was there, or, {CURE}"
        )
    if their_run < run and not new:
        raise StorageBroken(
            f"{index} is older than {spool}: an earlier copy, or {index.name}-wal was taken from it;"
            f" put back the newest, or, {CURE}"
        )
    if theirs and not number and not numbers(spool, ".seg") and holds_rows(index):
        raise StorageBroken(
            f"{spool} is empty, and {index} names mail that lay there: is its file system mounted?"
            f" Without that mail: take {index.name} away"
        )
    identity = (number or theirs or new_number(), max(run, their_run) + 1)
    queue = SqliteQueue(index, trouble, identity=identity)
    # In this order: an index that is one ahead is one whose start was cut off.
    keep_identity(spool, *identity)
    return queue
