"""Reading the spool: a record by its location, or all that a segment holds.

Needs no lock and writes nothing: the daemon reads through it, and so does a command
beside a running daemon.
"""

from __future__ import annotations

import asyncio
import os
import re
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from postroad.adapters import segment_format
from postroad.adapters.segment_recent import CHUNK, SmallStored
from postroad.mail.frozen import dataclass
from postroad.mail.message import Location, StagedBody
from postroad.ports.spool import DamagedRecord, Record, Stored

# Segments kept open for reading; more are closed, the least used first.
OPEN_FILES = 64


# Eight digits, and more only behind the last of those: far below what the index can hold.
_NUMBER = re.compile(r"[0-9]{8}|[1-9][0-9]{8,14}")


def segment_name(number: int) -> str:
    return f"{number:08d}.seg"


def body_name(number: int) -> str:
    """The file of a large body; its record is alone in the segment of the same number."""
    return f"{number:08d}.body"


def numbers(directory: Path, suffix: str) -> list[int]:
    """Of the files that are called `<number><suffix>` as this spool writes it, rising."""
    stems = (path.name.removesuffix(suffix) for path in directory.glob(f"*{suffix}"))
    return sorted(int(stem) for stem in stems if _NUMBER.fullmatch(stem))


@dataclass(frozen=True, slots=True)
class LargeStored:
    """`Stored` whose body has a file of its own, read in threads as it is asked for."""

    head: bytes
    path: Path
    staged: StagedBody

    @property
    def body(self) -> None:
        return None

    async def chunks(self) -> AsyncIterator[bytes]:
        file = await asyncio.to_thread(self.path.open, "rb", buffering=0)
        with file:
            read = crc = 0
            while read < self.staged.size:
                chunk = await asyncio.to_thread(_exactly, file, min(CHUNK, self.staged.size - read))
                crc = zlib.crc32(chunk, crc)
                read += len(chunk)
                # Checked before the last piece leaves, so that what is wrong is never whole.
                if read == self.staged.size and crc != self.staged.crc:
                    raise DamagedRecord(f"{self.path}: the CRC of the body is wrong")
                yield chunk


def _exactly(file: BinaryIO, size: int) -> bytes:
    chunk = file.read(size)
    if len(chunk) != size:
        raise DamagedRecord(f"{file.name}: the body is shorter than it was")
    return chunk


class SegmentReader:
    """`read` and `scan` over the segments of a directory. Used on one loop or thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: OrderedDict[int, int] = OrderedDict()

    async def read(self, location: Location, of: str | None = None) -> Stored:
        """As `Spool.read`: one pread on the loop for what is small, in a thread for the rest."""
        parts = segment_format.decode(await self._octets(location))
        if of is not None:
            segment_format.check_owner(parts.meta, of)
        staged = parts.file
        if staged is None:
            return SmallStored(parts.head, parts.body)
        return self._large(parts.head, location.segment, staged)

    async def octets(self, location: Location, of: str) -> bytes:
        """A whole record as it lies there, checked; ValueError where its body has a file of its own."""
        octets = await self._octets(location)
        parts = segment_format.decode(octets)
        segment_format.check_owner(parts.meta, of)
        if parts.kind != segment_format.INLINE:
            raise ValueError("a record beside a body file cannot be copied alone")
        return octets

    def scan(self) -> Iterator[tuple[Location, Record]]:
        """Every intact record, oldest segment first; a segment ends at its first damaged record.

        Blocks; a record whose own body file is gone or of another size is left out.
        """
        for number in numbers(self.directory, ".seg"):
            with (self.directory / segment_name(number)).open("rb") as file:
                yield from self._records(number, file)

    def forget(self, number: int) -> None:
        """Close a segment that is about to go."""
        descriptor = self._open.pop(number, None)
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        for number in list(self._open):
            self.forget(number)

    async def _octets(self, location: Location) -> bytes:
        descriptor = self._descriptor(location.segment)
        if location.length <= CHUNK:
            return os.pread(descriptor, location.length, location.offset)
        # A descriptor of its own: the cached one may be closed meanwhile.
        return await asyncio.to_thread(_read_large, os.dup(descriptor), location)

    def _records(self, number: int, file: BinaryIO) -> Iterator[tuple[Location, Record]]:
        offset, end = 0, os.fstat(file.fileno()).st_size
        while offset < end:
            try:
                octets = _next_record(file, end - offset)
                location = Location(number, offset, len(octets))
                record = segment_format.decode_record(octets, location)
                offset += len(octets)
                body = record.content.body
                if isinstance(body, StagedBody):
                    self._large(b"", number, body)
            except DamagedRecord:
                return
            yield location, record

    def _large(self, head: bytes, number: int, staged: StagedBody) -> LargeStored:
        path = self.directory / body_name(number)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise DamagedRecord(f"{path} is gone") from None
        if size != staged.size:
            raise DamagedRecord(f"{path} has {size} octets in place of {staged.size}")
        return LargeStored(head, path, staged)

    def _descriptor(self, number: int) -> int:
        descriptor = self._open.get(number)
        if descriptor is not None:
            self._open.move_to_end(number)
            return descriptor
        path = self.directory / segment_name(number)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise DamagedRecord(f"{path} is gone") from None
        self._open[number] = descriptor
        if len(self._open) > OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        return descriptor


def _read_large(descriptor: int, location: Location) -> bytes:
    try:
        return os.pread(descriptor, location.length, location.offset)
    finally:
        os.close(descriptor)


def _next_record(file: BinaryIO, left: int) -> bytes:
    """The octets of the record that begins here; DamagedRecord where it claims more than is left."""
    start = file.read(segment_format.HEADER_SIZE)
    header = segment_format.decode_header(start)
    if header.length > left:
        raise DamagedRecord("a record that is cut off")
    return start + file.read(header.length - segment_format.HEADER_SIZE)
