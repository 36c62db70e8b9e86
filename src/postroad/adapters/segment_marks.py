"""Marks of what is done: beside each segment a file that only grows, `00000017.done`.

    offset  recipient  CRC-32
      8         4         4     (big-endian); recipient 0xFFFFFFFF: the whole message

A mark is about one record, not about an id: a message that compaction copied, or that
a door handed in a second time, is another record.

The index alone says what waits. The marks are for the day it is lost: made anew from
the segments, it leaves out what they name, so that delivered mail is not sent again.
They are written about once a second, off the loop and without a sync: a mark that a
crash takes away costs a repeated delivery, never a message. A mark goes with the
segment whose record it is about.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from postroad.adapters.segment_body import write_all
from postroad.adapters.segment_reader import numbers
from postroad.mail.message import Location

SUFFIX = ".done"
# Octets of marks that wait for room on the disk: those of a quarter of a million messages.
MOST_LEFT = 4 * 1024 * 1024
WHOLE = 0xFFFFFFFF

_FIELDS = struct.Struct(">QI")
_CRC = struct.Struct(">I")
SIZE = _FIELDS.size + _CRC.size

# The numbers of the recipients that are done, by segment and offset of the record.
Done = Mapping[tuple[int, int], Collection[int]]


def done_name(number: int) -> str:
    return f"{number:08d}{SUFFIX}"


def encode_mark(offset: int, recipient: int = WHOLE) -> bytes:
    fields = _FIELDS.pack(offset, recipient)
    return fields + _CRC.pack(zlib.crc32(fields))


class Marks:
    """Marks that wait to be written, by segment. Used on the loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, bytearray] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, location: Location, recipients: Collection[int] = (WHOLE,)) -> None:
        waiting = self._waiting.get(location.segment)
        if waiting is None:
            waiting = self._waiting[location.segment] = bytearray()
        for recipient in recipients:
            waiting += encode_mark(location.offset, recipient)

    def forget(self, segment: int) -> bytes:
        """The segment goes, and what is known of it; what was not written yet."""
        return bytes(self._waiting.pop(segment, b""))

    def take(self) -> dict[int, bytearray]:
        """All that waits; it is the caller's to write."""
        taken, self._waiting = self._waiting, {}
        return taken


class MarkWriter:
    """Appends marks to each segment's file; what finds no room now is written with the next ones.

    Used in one thread. Blocks.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._left: dict[int, bytes] = {}

    def write(self, marks: Mapping[int, bytes | bytearray]) -> None:
        if sum(map(len, self._left.values())) < MOST_LEFT:
            for number, octets in marks.items():
                self._left[number] = self._left.get(number, b"") + octets
        for number, octets in list(self._left.items()):
            with suppress(OSError):
                _append(self._directory / done_name(number), octets)
                del self._left[number]

    def forget(self, segment: int) -> None:
        """It is gone, with what is known of it."""
        self._left.pop(segment, None)


def write_marks(directory: Path, marks: Mapping[int, bytes | bytearray]) -> None:
    """Append to each segment's file; what cannot be written is forgotten. Blocks."""
    MarkWriter(directory).write(marks)


def _append(path: Path, octets: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        # Behind the last whole mark: a torn one would put all later ones out of step.
        write_all(descriptor, octets, os.fstat(descriptor).st_size // SIZE * SIZE)
    finally:
        os.close(descriptor)


def read_marks(directory: Path) -> dict[tuple[int, int], set[int]]:
    """All marks of a spool; one that is torn or damaged is none. Raises OSError."""
    done: dict[tuple[int, int], set[int]] = {}
    for number in numbers(directory, SUFFIX):
        # The daemon may have removed it meanwhile, with its segment.
        with suppress(FileNotFoundError):
            octets = (directory / done_name(number)).read_bytes()
            for at in range(0, len(octets) - SIZE + 1, SIZE):
                offset, recipient = _FIELDS.unpack_from(octets, at)
                if encode_mark(offset, recipient) == octets[at : at + SIZE]:
                    done.setdefault((number, offset), set()).add(recipient)
    return done


def marks_of(done: Done, location: Location) -> Collection[int]:
    """What is marked of one record."""
    return done.get((location.segment, location.offset), ())


def is_done(done: Done, location: Location, recipients: Collection[int]) -> bool:
    """Whether nothing of a record is left to do, given the numbers of its recipients."""
    marks = marks_of(done, location)
    return WHOLE in marks or all(n in marks for n in recipients)
