"""The spool: messages in append-only segment files, written and synced in bursts.

What waits while a sync runs is written by one pwrite and made durable by one
fdatasync. A large body came into a file of its own, and has a segment of its own:

    spool/00000017.seg     records of many messages, up to the segment size
    spool/00000018.seg     one record, whose body is 00000018.body
    spool/stage/<id>       a large body that is being received
    spool/lock             held by the daemon; the number in it is its pid
    spool/identity         which queue it is of (see segment_identity)

Numbers are never used twice, and no old segment is appended to: a torn tail after
a crash needs no repair, it is merely where reading that segment ends. A segment goes
when no message in it is live. How many are is known from the index (`adopt`) and
counted from there on; every count is changed on the loop. Beside a segment lie the
marks of what is done in it (see segment_marks) and notes of what is held (see segment_holds).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from postroad.adapters import segment_format
from postroad.adapters.group_commit import GroupCommit
from postroad.adapters.segment_audit import walk_segment
from postroad.adapters.segment_body import STAGE, StagedFile, StagedOctets
from postroad.adapters.segment_holds import SUFFIX as HELD
from postroad.adapters.segment_holds import Holds, Notes, held_name, write_notes
from postroad.adapters.segment_lock import SpoolInUse as SpoolInUse
from postroad.adapters.segment_lock import hold, let_go_of
from postroad.adapters.segment_marks import SUFFIX, WHOLE, Marks, MarkWriter, done_name, marks_of, read_marks
from postroad.adapters.segment_reader import SegmentReader, body_name, numbers, segment_name
from postroad.adapters.segment_recent import LIMIT as RECENT
from postroad.adapters.segment_recent import Recent
from postroad.adapters.segment_room import Room
from postroad.adapters.segment_writer import SegmentWriter, write_alone
from postroad.mail.message import Location, Message, StagedBody
from postroad.ports.spool import Record, Stored
from postroad.ports.storage import StorageBroken, StorageFull

MIB = 1024 * 1024
SEGMENT_SIZE = 8 * MIB
# Seconds until the marks of what is done are written together.
MARK_DELAY = 1.0
# A segment is sparse below this share of live octets; the waste of so many segments is let be.
SPARSE = 0.5
SMALL_WASTE = 1
SUFFIXES = (".seg", ".body", SUFFIX, HELD)


@dataclass(slots=True)
class Live:
    """What of a segment is live: messages, and the octets of their records."""

    messages: int = 0
    octets: int = 0


class Segments:
    """`Spool` over a directory that this process alone writes. A component: `run`, `close`.

    Raises SpoolInUse, or OSError where the directory cannot be used.
    """

    def __init__(
        self, directory: Path, segment_size: int = SEGMENT_SIZE, low_water: int = 0, recent: int = RECENT
    ) -> None:
        """`recent`: octets of contents that are kept in memory for their first attempt."""
        (directory / STAGE).mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self.directory = directory
        self._lock, self.crashed = hold(directory)
        self._room = Room(directory, low_water)
        self._reader = SegmentReader(directory)
        self._highest = max(self._existing(), default=0)
        self._numbers = count(self._highest + 1)
        self._live: dict[int, Live] = {}
        # Octets of the complete segments, live or not.
        self._sizes: dict[int, int] = {}
        self._small_waste = SMALL_WASTE * segment_size
        self._current = 0
        self._end = 0
        self._marks = Marks()
        self._mark_writer = MarkWriter(directory)
        self._notes = Notes()
        self._recent = Recent(recent)
        self._ended = False
        writer = SegmentWriter(directory, segment_size, self._next_number)
        self._commits = GroupCommit[segment_format.Draft, Location]("spool", writer.commit, writer.close)
        self._cleaner = ThreadPoolExecutor(1, thread_name_prefix="spool-cleaner")
        for leftover in (directory / STAGE).iterdir():
            with suppress(OSError):
                leftover.unlink()

    async def run(self) -> None:
        """Serve until `close`; raises StorageBroken when the disk failed."""
        crashed = True
        # Its thread is had now: later, when memory is short, there may be none.
        self._cleaner.submit(int)
        try:
            await self._commits.run()
            crashed = False
        finally:
            self._write_marks()
            self._ended = True
            self._cleaner.shutdown()
            self._reader.close()
            let_go_of(self._lock, crashed=crashed)

    def busy_for(self) -> float:
        """Seconds that the present sync has taken so far."""
        return self._commits.busy_for()

    def close(self) -> None:
        """Take no more; what waits is still made durable."""
        self._commits.close()

    def adopt(self, live: Mapping[int, tuple[int, int]]) -> None:
        """At start, before the first append: live messages and octets by segment, from the index.

        A segment that has none is removed. Numbers the index knows are not used
        again, even where their segment is missing.
        """
        self._live = {number: Live(*counted) for number, counted in live.items() if counted[0] > 0}
        self._numbers = count(max(chain([self._highest], live)) + 1)
        for number in self._existing():
            if number in self._live:
                with suppress(FileNotFoundError):
                    self._sizes[number] = (self.directory / segment_name(number)).stat().st_size
            else:
                self._reclaim(number)

    # --- Spool ---------------------------------------------------------------

    async def append(self, record: Record) -> Location:
        drafted = segment_format.draft(record)
        self._room.taken(drafted.length)
        content = record.content
        if isinstance(content.body, StagedBody):
            location = await self._append_alone(b"".join(segment_format.seal(drafted)), content.body)
            self._sizes[location.segment] = location.length
        else:
            location = await self._commits.submit(drafted)
            self._advance(location)
            self._recent.keep(location, content.head, content.body)
        # A caller who was cancelled never comes here: what nobody knows of is not live.
        self._count(location)
        return location

    def low(self) -> bool:
        return self._room.low()

    def stage(self, id: str) -> StagedFile:
        return StagedFile(self.directory, id, self._reserve)

    def staged(self, body: StagedBody) -> StagedOctets:
        return StagedOctets(self.directory / body.name, body.size)

    def discard(self, body: StagedBody) -> None:
        # What cannot be removed now is removed at the next start.
        with suppress(OSError):
            (self.directory / body.name).unlink()

    async def read(self, location: Location, of: str | None = None) -> Stored:
        return self._recent.get(location) or await self._reader.read(location, of)

    def release(self, message: Message) -> None:
        self.let_go(message.location)

    def done(self, message: Message, recipients: Collection[int]) -> None:
        if recipients:
            self._mark(message.location, recipients)

    def hold(self, message: Message, holds: Holds) -> None:
        if message.location.segment in self._live:
            self._write_soon()
            self._notes.add(message.location, holds)

    # --- compaction ------------------------------------------------------------

    def sparse(self, tried: Collection[int] = ()) -> int | None:
        """The segment most worth compacting; None while little is wasted in all, or the disk is low."""
        live = sum(each.octets for each in self._live.values())
        wasted = sum(self._sizes.values()) - sum(self._live[n].octets for n in self._sizes if n in self._live)
        if wasted <= max(live, self._small_waste) or self._room.low():
            return None
        shares = [
            (self._live[n].octets / size, n)
            for n, size in self._sizes.items()
            if size and n in self._live and n not in tried
        ]
        share, number = min(shares, default=(1.0, 0))
        return number if share < SPARSE else None

    async def copy(self, location: Location, of: str) -> Location:
        """A second copy of a small record, durable, in the segment being written.

        Raises DamagedRecord, StorageFull, StorageBroken, and ValueError for a large body.
        """
        octets = await self._reader.octets(location, of)
        copied = await self._commits.submit(segment_format.Draft((octets,), len(octets)))
        self._advance(copied)
        self._count(copied)
        return copied

    def moved(self, location: Location) -> None:
        self._mark(location)

    def let_go(self, location: Location) -> None:
        """Nobody needs this record any more: its message is settled, or lives on in another one."""
        self._recent.forget(location)
        self._mark(location)
        self._discount(location)

    # --- after a crash ---------------------------------------------------------

    def wasteful(self) -> list[int]:
        """Of the segments that were there at the start those in which something is over."""
        return [
            number
            for number, size in self._sizes.items()
            if number <= self._highest and number in self._live and self._live[number].octets < size
        ]

    async def mark_strangers(self, segments: Collection[int], places: Collection[tuple[int, int]]) -> None:
        """Mark what lies in these old segments and is not among the index's (segment, offset).

        It was settled just before a crash that took its mark along, or was never promised.
        """
        marks = await asyncio.to_thread(self._strangers, segments, places)
        if not self._ended:
            known = {n: octets for n, octets in marks.items() if n in self._live}
            self._cleaner.submit(self._mark_writer.write, known)

    def scan(self) -> Iterator[tuple[Location, Record]]:
        """Every intact record (see `SegmentReader.scan`)."""
        return self._reader.scan()

    # --- pieces --------------------------------------------------------------

    def _reserve(self, octets: int) -> None:
        """Before a body goes on: StorageFull below the low-water mark."""
        self._room.taken(octets)
        if self._room.low():
            raise StorageFull(str(self._room))

    def _strangers(
        self, segments: Collection[int], places: Collection[tuple[int, int]]
    ) -> dict[int, bytearray]:
        marks, known = Marks(), read_marks(self.directory)
        for record in chain.from_iterable(walk_segment(self.directory, number) for number in segments):
            if isinstance(record, Record):
                location = record.message.location
                if (location.segment, location.offset) not in places and not marks_of(known, location):
                    marks.add(location)
        return marks.take()

    def _mark(self, location: Location, recipients: Collection[int] = (WHOLE,)) -> None:
        if location.segment not in self._live:
            return
        self._write_soon()
        self._marks.add(location, recipients)

    def _write_soon(self) -> None:
        if not self._marks and not self._notes:
            asyncio.get_running_loop().call_later(MARK_DELAY, self._write_marks)

    def _write_marks(self) -> None:
        # The thread's work is done in order, so that no mark comes after its segment has gone.
        marks, notes = self._marks.take(), self._notes.take()
        if marks and not self._ended:
            self._cleaner.submit(self._mark_writer.write, marks)
        if notes and not self._ended:
            self._cleaner.submit(write_notes, self.directory, notes)

    def _count(self, location: Location) -> None:
        live = self._live.get(location.segment)
        if live is None:
            live = self._live[location.segment] = Live()
        live.messages += 1
        live.octets += location.length

    def _discount(self, location: Location) -> None:
        live = self._live.get(location.segment)
        if live is None:
            # Not adopted: other messages in there may be live, so it stays.
            return
        live.messages -= 1
        live.octets -= location.length
        if live.messages <= 0 and location.segment != self._current:
            self._reclaim(location.segment)

    async def _append_alone(self, octets: bytes, body: StagedBody) -> Location:
        """A segment for this record only, its body beside it: no other message waits for that sync."""
        try:
            return await asyncio.to_thread(write_alone, self.directory, self._next_number(), octets, body)
        except StorageBroken as error:
            self._commits.fail(error)
            raise

    def _advance(self, location: Location) -> None:
        """Bursts are answered in order: once one lies in a new segment, the old one is complete."""
        if location.segment > self._current:
            old, self._current = self._current, location.segment
            if old:
                self._sizes[old] = self._end
            live = self._live.get(old)
            if live is not None and live.messages <= 0:
                self._reclaim(old)
        self._end = location.offset + location.length

    def _reclaim(self, number: int) -> None:
        self._live.pop(number, None)
        self._sizes.pop(number, None)
        marks = self._marks.forget(number)
        self._notes.forget(number)
        # What was known here of a message that has moved is known there before this goes.
        self._write_marks()
        self._reader.forget(number)
        self._cleaner.submit(_unlink, self.directory, number, marks, self._mark_writer)

    def _next_number(self) -> int:
        # Called on the loop and in the writer's thread; a step of `count` is atomic.
        return next(self._numbers)

    def _existing(self) -> set[int]:
        return {number for suffix in SUFFIXES for number in numbers(self.directory, suffix)}


def _unlink(directory: Path, number: int, marks: bytes, writer: MarkWriter) -> None:
    """What cannot be removed now is removed at the next start, and known as done until then."""
    try:
        for name in (body_name(number), segment_name(number), held_name(number), done_name(number)):
            (directory / name).unlink(missing_ok=True)
    except OSError:
        if marks:
            writer.write({number: marks})
    else:
        writer.forget(number)
