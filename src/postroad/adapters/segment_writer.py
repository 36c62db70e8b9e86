"""Writing the spool, in a thread: bursts of records into the current segment, large ones alone.

Only a record that was written whole and synced is answered with a location. A write
that failed for lack of room is taken back; a sync that failed is never tried again,
because the kernel may have dropped the pages it could not write and would call the
second attempt a success.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from postroad.adapters.segment_body import storage_error, write_all
from postroad.adapters.segment_format import Draft, seal
from postroad.adapters.segment_reader import body_name, segment_name
from postroad.mail.message import Location, StagedBody
from postroad.ports.storage import StorageBroken, StorageFull

# What one pwrite takes, so that a burst of large records is not in memory twice.
MAX_WRITE = 4 * 1024 * 1024


class SegmentWriter:
    """The segment being written. A new one is begun at the first burst after `size` octets."""

    def __init__(self, directory: Path, size: int, next_number: Callable[[], int]) -> None:
        self._directory = directory
        self._size = size
        self._next_number = next_number
        self._number = 0
        self._descriptor = -1
        self._end = 0

    def commit(self, burst: Sequence[Draft]) -> Sequence[Location | Exception]:
        """Locations once all of the burst is durable; StorageFull for each when nothing was kept.

        Raises StorageBroken.
        """
        try:
            return self._write(burst)
        except StorageFull as error:
            return [error] * len(burst)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, burst: Sequence[Draft]) -> list[Location]:
        if self._descriptor < 0 or self._end >= self._size:
            self._begin()
        try:
            end = self._end
            for batch in _batches(burst):
                write_all(self._descriptor, batch, end)
                end += len(batch)
        except OSError as error:
            self._take_back()
            raise storage_error(error, self._path) from error
        sync(os.fdatasync, self._descriptor, self._path)
        return self._placed(burst)

    def _placed(self, burst: Sequence[Draft]) -> list[Location]:
        locations = []
        for drafted in burst:
            locations.append(Location(self._number, self._end, drafted.length))
            self._end += drafted.length
        return locations

    def _begin(self) -> None:
        """The next segment: its name is durable before its first record is."""
        self.close()
        self._number, self._end = self._next_number(), 0
        try:
            self._descriptor = create(self._path)
            sync_directory(self._directory)
        except OSError as error:
            self.close()
            raise storage_error(error, self._path) from error

    def _take_back(self) -> None:
        """Cut off what was half written; where even that fails, never write to this segment again."""
        try:
            os.ftruncate(self._descriptor, self._end)
        except OSError:
            self.close()

    @property
    def _path(self) -> Path:
        return self._directory / segment_name(self._number)


def write_alone(directory: Path, number: int, octets: bytes, body: StagedBody) -> Location:
    """A segment of one record, its staged body moved beside it; durable when it returns.

    Raises StorageFull (nothing kept) or StorageBroken.
    """
    segment, beside = directory / segment_name(number), directory / body_name(number)
    try:
        _sync_file(directory / body.name)
        os.rename(directory / body.name, beside)
        descriptor = create(segment)
        try:
            write_all(descriptor, octets, 0)
            sync(os.fdatasync, descriptor, segment)
        finally:
            os.close(descriptor)
        sync_directory(directory)
    except OSError as error:
        for path in (segment, beside):
            with suppress(OSError):
                path.unlink()
        raise storage_error(error, segment) from error
    return Location(number, 0, len(octets))


def create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def sync(how: Callable[[int], None], descriptor: int, path: Path) -> None:
    """`how` is fsync or fdatasync; StorageBroken whatever the reason is."""
    try:
        how(descriptor)
    except OSError as error:
        raise StorageBroken(f"{path}: the sync failed: {error.strerror or error}") from error


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(os.fsync, descriptor, directory)
    finally:
        os.close(descriptor)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(os.fdatasync, descriptor, path)
    finally:
        os.close(descriptor)


def _batches(burst: Sequence[Draft]) -> Iterator[bytes]:
    """The burst's octets in order, joined up to MAX_WRITE; a larger record goes alone."""
    batch: list[bytes] = []
    size = 0
    for drafted in burst:
        if batch and size + drafted.length > MAX_WRITE:
            yield b"".join(batch)
            batch, size = [], 0
        batch.extend(seal(drafted))
        size += drafted.length
    yield b"".join(batch)
