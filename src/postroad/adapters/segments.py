"""The spool: messages in append-only segment files, written and synced in bursts.

What waits while a sync runs is written by one pwrite and made durable by one
fdatasync. A large body came into a file of its own, and has a segment of its own:

    spool/00000017.seg     records of many messages, up to the segment size
    spool/00000018.seg     one record, whose body is 00000018.body
    spool/stage/<id>       a large body that is being received
    spool/lock             held by the daemon; the number in it is its pid

Numbers are never used twice, and no old segment is appended to: a torn tail after
a crash needs no repair, it is merely where reading that segment ends. A segment goes
when no message in it is live. How many are is known from the index (`adopt`) and
counted from there on; every count is changed on the loop.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, count
from pathlib import Path

from postroad.adapters import segment_format
from postroad.adapters.group_commit import GroupCommit
from postroad.adapters.segment_body import STAGE, StagedFile
from postroad.adapters.segment_reader import SegmentReader, body_name, numbers, segment_name
from postroad.adapters.segment_writer import SegmentWriter, write_alone
from postroad.mail.message import Location, StagedBody
from postroad.ports import Record, StorageBroken, Stored

MIB = 1024 * 1024


class SpoolInUse(Exception):
    """Another process holds the spool; the text names it."""


class Segments:
    """`Spool` over a directory that this process alone writes. A component: `run`, `close`.

    Raises SpoolInUse, or OSError where the directory cannot be used.
    """

    def __init__(self, directory: Path, segment_size: int = 64 * MIB) -> None:
        (directory / STAGE).mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self.directory = directory
        self._lock = _lock(directory / "lock")
        self._reader = SegmentReader(directory)
        self._highest = max(self._existing(), default=0)
        self._numbers = count(self._highest + 1)
        self._live: dict[int, int] = {}
        self._current = 0
        writer = SegmentWriter(directory, segment_size, self._next_number)
        self._commits = GroupCommit[bytes, Location]("spool", writer.commit, writer.close)
        self._cleaner = ThreadPoolExecutor(1, thread_name_prefix="spool-cleaner")
        for leftover in (directory / STAGE).iterdir():
            leftover.unlink()

    async def run(self) -> None:
        """Serve until `close`; raises StorageBroken when the disk failed."""
        try:
            await self._commits.run()
        finally:
            self._cleaner.shutdown()
            self._reader.close()
            os.close(self._lock)

    def close(self) -> None:
        """Take no more; what waits is still made durable."""
        self._commits.close()

    def adopt(self, live: Mapping[int, int]) -> None:
        """At start, before the first append: how many live messages each segment has, from the index.

        A segment that has none is removed. Numbers the index knows are not used
        again, even where their segment is missing.
        """
        self._live = {number: messages for number, messages in live.items() if messages > 0}
        self._numbers = count(max(chain([self._highest], live)) + 1)
        for number in self._existing():
            if number not in self._live:
                self._reclaim(number)

    # --- Spool ---------------------------------------------------------------

    async def append(self, record: Record) -> Location:
        octets = segment_format.encode(record)
        body = record.content.body
        if isinstance(body, StagedBody):
            location = await self._append_alone(octets, body)
        else:
            location = await self._commits.submit(octets)
            self._advance(location.segment)
        # A caller who was cancelled never comes here: what nobody knows of is not live.
        self._live[location.segment] = self._live.get(location.segment, 0) + 1
        return location

    def stage(self, id: str) -> StagedFile:
        return StagedFile(self.directory, id)

    async def read(self, location: Location) -> Stored:
        return await self._reader.read(location)

    def release(self, location: Location) -> None:
        number = location.segment
        if number not in self._live:
            # Not adopted: other messages in there may be live, so it stays.
            return
        self._live[number] -= 1
        if self._live[number] <= 0 and number != self._current:
            self._reclaim(number)

    def scan(self) -> Iterator[tuple[Location, Record]]:
        """Every intact record (see `SegmentReader.scan`)."""
        return self._reader.scan()

    # --- pieces --------------------------------------------------------------

    async def _append_alone(self, octets: bytes, body: StagedBody) -> Location:
        """A segment for this record only, its body beside it: no other message waits for that sync."""
        try:
            return await asyncio.to_thread(write_alone, self.directory, self._next_number(), octets, body)
        except StorageBroken as error:
            self._commits.fail(error)
            raise

    def _advance(self, number: int) -> None:
        """Bursts are answered in order: once one lies in a new segment, the old one is complete."""
        if number > self._current:
            old, self._current = self._current, number
            if self._live.get(old) == 0:
                self._reclaim(old)

    def _reclaim(self, number: int) -> None:
        self._live.pop(number, None)
        self._reader.forget(number)
        self._cleaner.submit(_unlink, self.directory, number)

    def _next_number(self) -> int:
        # Called on the loop and in the writer's thread; a step of `count` is atomic.
        return next(self._numbers)

    def _existing(self) -> set[int]:
        return {*numbers(self.directory, ".seg"), *numbers(self.directory, ".body")}


def _unlink(directory: Path, number: int) -> None:
    # What cannot be removed now is removed at the next start.
    for name in (body_name(number), segment_name(number)):
        with suppress(OSError):
            (directory / name).unlink()


def _lock(path: Path) -> int:
    """An exclusive lock that ends with the process; its file names the holder."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise SpoolInUse(f"{path.parent} is in use by process {holder or 'unknown'}") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
