"""All that the segments hold, damaged or not: for the check of the spool and for a new index.

Where a record is damaged the walk goes on behind it: at the length it claims, or at
the next record that is whole. Writes nothing and needs no lock. Blocks.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from postroad.adapters import segment_format
from postroad.adapters.segment_marks import is_done, read_marks
from postroad.adapters.segment_reader import body_name, numbers, segment_name
from postroad.adapters.segment_recent import CHUNK
from postroad.mail.frozen import dataclass
from postroad.mail.message import Location, StagedBody
from postroad.ports.spool import DamagedRecord, Record


@dataclass(frozen=True, slots=True)
class Damage:
    """Octets in which no record is whole; `tail`: nothing whole follows in the segment."""

    location: Location
    text: str
    tail: bool


def walk(directory: Path) -> Iterator[Record | Damage]:
    """Oldest first; a record's message knows its location. A segment that goes meanwhile is left out."""
    for number in numbers(directory, ".seg"):
        yield from walk_segment(directory, number)


def walk_segment(directory: Path, number: int) -> Iterator[Record | Damage]:
    """The same for one segment; nothing where it has gone."""
    with suppress(FileNotFoundError):
        yield from _segment(number, (directory / segment_name(number)).read_bytes())


def _segment(number: int, octets: bytes) -> Iterator[Record | Damage]:
    offset = 0
    while offset < len(octets):
        try:
            record = _record(number, octets, offset)
        except DamagedRecord as error:
            end = _behind(number, octets, offset)
            yield Damage(Location(number, offset, end - offset), str(error), end == len(octets))
            offset = end
        else:
            yield record
            offset += record.message.location.length


def _record(number: int, octets: bytes, offset: int) -> Record:
    header = segment_format.decode_header(octets[offset : offset + segment_format.HEADER_SIZE])
    location = Location(number, offset, header.length)
    return segment_format.decode_record(octets[offset : offset + header.length], location)


def _behind(number: int, octets: bytes, offset: int) -> int:
    """Where the next whole record begins, or the end.

    The damaged one's own length is asked first: what looks like a record inside a
    message's content is content.
    """
    try:
        start = octets[offset : offset + segment_format.HEADER_SIZE]
        end = offset + segment_format.decode_header(start).length
        if end == len(octets) or _whole(number, octets, end):
            return end
    except DamagedRecord:
        pass
    at = octets.find(segment_format.MAGIC, offset + 1)
    while at >= 0 and not _whole(number, octets, at):
        at = octets.find(segment_format.MAGIC, at + 1)
    return len(octets) if at < 0 else at


def _whole(number: int, octets: bytes, offset: int) -> bool:
    try:
        _record(number, octets, offset)
    except DamagedRecord:
        return False
    return True


def body_problem(directory: Path, record: Record) -> str | None:
    """What is wrong with a record's own body file; None: nothing, or it has none."""
    staged = record.content.body
    if not isinstance(staged, StagedBody):
        return None
    path = directory / body_name(record.message.location.segment)
    size = crc = 0
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    except FileNotFoundError:
        return f"{path.name} is gone"
    if size != staged.size:
        return f"{path.name} has {size} octets in place of {staged.size}"
    return None if crc == staged.crc else f"{path.name}: the CRC is wrong"


def stray_bodies(directory: Path) -> list[int]:
    """Bodies without the segment of their number."""
    return sorted({*numbers(directory, ".body")} - {*numbers(directory, ".seg")})


def holds_mail(directory: Path) -> bool:
    """Whether a message lies in the segments that no mark says is done."""
    if not directory.is_dir():
        return False
    marks = read_marks(directory)
    return any(
        not is_done(marks, each.message.location, [r.n for r in each.recipients])
        for each in walk(directory)
        if isinstance(each, Record)
    )


def in_use(directory: Path) -> bool:
    """Whether a daemon holds the spool right now."""
    try:
        descriptor = os.open(directory / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
