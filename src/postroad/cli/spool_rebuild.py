"""A new index from the segments: what `postroad spool rebuild` does while no daemon runs."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from postroad.adapters.segment_audit import body_problem, walk
from postroad.adapters.segment_holds import read_notes
from postroad.adapters.segment_identity import read_identity
from postroad.adapters.segment_marks import WHOLE, marks_of, read_marks
from postroad.adapters.segment_writer import sync_directory
from postroad.adapters.sqlite_changes import Changes
from postroad.adapters.sqlite_files import identity_of, open_writable, write_identity
from postroad.cli.spool_salvage import Salvaged, open_messages, salvage
from postroad.mail.lifecycle import State
from postroad.mail.message import Hold, Instant, Message, Recipient
from postroad.ports.queue import Notice
from postroad.ports.spool import Record
from postroad.ports.storage import StorageBroken

# Messages one transaction takes.
SLICE = 1000
# What SQLite keeps beside an index; moved with it, for the new one must not meet it.
BESIDE = ("-wal", "-shm")


@dataclass(slots=True)
class Rebuilt:
    """Counts: what waits in the new index; what was left out and why; `aside`: the old index.

    `salvaged`: what the old index could still tell; `lost`: messages that it has waiting, and that
    lie whole in no segment.
    """

    messages: int = 0
    recipients: int = 0
    settled: int = 0
    copies: int = 0
    damaged: int = 0
    bodies_lost: int = 0
    aside: str | None = None
    salvaged: Salvaged = field(default_factory=Salvaged)
    lost: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set, repr=False)
    _settled: set[str] = field(default_factory=set, repr=False)

    def as_json(self) -> dict[str, object]:
        names = ("messages", "recipients", "settled", "copies", "damaged", "bodies_lost", "aside")
        old = self.salvaged
        return {name: getattr(self, name) for name in names} | {
            "old_index_read": old.read,
            "tried": old.tried,
            "held": old.held,
            "lost": self.lost,
        }


def rebuild(index: Path, spool: Path, now: Instant) -> Rebuilt:
    """The caller holds the spool's lock. Raises StorageBroken, OSError; the old index stays then."""
    rebuilt = Rebuilt()
    fresh = index.with_name(f"{index.name}.new")
    for name in (fresh, *(Path(f"{fresh}{each}") for each in BESIDE)):
        name.unlink(missing_ok=True)
    _fill(fresh, _waiting(spool, now, rebuilt))
    number, run = read_identity(spool)
    if _is_ours(index, number):
        rebuilt.salvaged = salvage(index, fresh)
        done = rebuilt._settled if _is_old(index, run) else set()
        rebuilt.lost = sorted(open_messages(index) - rebuilt._seen - done)
    _name(fresh, number, run)
    rebuilt.aside = _set_aside(index)
    fresh.rename(index)
    sync_directory(index.parent)
    return rebuilt


def _waiting(spool: Path, now: Instant, rebuilt: Rebuilt) -> Iterator[Notice]:
    marks, noted = read_marks(spool), read_notes(spool)
    for each in walk(spool):
        if not isinstance(each, Record):
            rebuilt.damaged += not each.tail
            continue
        location = each.message.location
        done, holds = marks_of(marks, location), noted.get((location.segment, location.offset), {})
        begins_at = max(now, each.message.begins_at)
        left = [
            _as_accepted(r, now, begins_at, holds.get(r.n, held_from_the_start(r)))
            for r in each.recipients
            if r.n not in done and WHOLE not in done
        ]
        if not left:
            rebuilt.settled += 1
            rebuilt._settled.add(each.message.id)
        elif each.message.id in rebuilt._seen:
            # Compaction was copying it when the index was lost.
            rebuilt.copies += 1
        elif body_problem(spool, each):
            rebuilt.bodies_lost += 1
        else:
            rebuilt._seen.add(each.message.id)
            rebuilt.messages += 1
            rebuilt.recipients += len(left)
            yield each.message, left


def held_from_the_start(recipient: Recipient) -> Hold | None:
    """What the record itself says; an old one has a policy's word as an outcome."""
    if recipient.state is not State.HELD or recipient.held is not None:
        return recipient.held
    said = re.fullmatch("held by policy (.*?): (.*)", recipient.last.text if recipient.last else "")
    return Hold(said[1], said[2]) if said else Hold()


def _as_accepted(recipient: Recipient, now: Instant, due: Instant, held: Hold | None) -> Recipient:
    """Due at once, or when its sender scheduled it; its attempts are what an old index can tell of."""
    return replace(
        recipient,
        state=State.WAITING if held is None else State.HELD,
        attempts=0,
        due=due,
        last=recipient.last if held is None and due > now else None,
        held=held,
    )


def _fill(path: Path, notices: Iterator[tuple[Message, Sequence[Recipient]]]) -> None:
    connection = open_writable(path)
    changes = Changes(connection)
    try:
        while batch := [notice for notice, _ in zip(notices, range(SLICE), strict=False)]:
            connection.execute("BEGIN IMMEDIATE")
            changes.add(batch)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise StorageBroken(f"{path}: {error}") from error
    finally:
        # Closing copies SQLite's log into the file and syncs it.
        connection.close()


def _is_ours(index: Path, identity: int) -> bool:
    """Whether an old index, as far as it can be read, is the one of these segments."""
    with suppress(StorageBroken):
        return not identity or identity_of(index)[0] in (0, identity)
    return True


def _is_old(index: Path, run: int) -> bool:
    """Whether it may have waiting what was settled since."""
    with suppress(StorageBroken):
        return identity_of(index)[1] < run
    return True


def _name(fresh: Path, number: int, run: int) -> None:
    with closing(open_writable(fresh)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        write_identity(connection, number, run)
        connection.execute("COMMIT")


def _set_aside(index: Path) -> str | None:
    """The index with what SQLite kept beside it, under a name that nobody opens."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = index.with_name(f"{index.name}.damaged-{stamp}")
    # The log first: it must never be met by an index that it does not belong to.
    for beside in (*BESIDE, ""):
        old = Path(f"{index}{beside}")
        if old.exists():
            os.rename(old, f"{aside}{beside}")
    return str(aside) if aside.exists() else None
