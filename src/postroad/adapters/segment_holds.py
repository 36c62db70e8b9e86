"""Notes of what is held: beside each segment a file that only grows, `00000017.held`.

    CRC-32 in hex, a space, JSON: [offset of the record, number of the recipient, the hold or null], LF

The last note about a recipient counts, null: it was released. A record says who is held
from the moment it was accepted; the notes say what came later. They are written as the
marks of what is done are (see segment_marks), and for the same day. Each begins with a
LF, so that one torn by a crash spoils no other.

A copy that compaction made has the record's own word and the notes of who is held then:
where the index is lost, a content policy's hold that was released counts again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from postroad.adapters.segment_body import write_all
from postroad.adapters.segment_reader import numbers
from postroad.mail.message import Hold, Location

SUFFIX = ".held"

Holds = Mapping[int, Hold | None]
# By segment and offset of the record.
Noted = Mapping[tuple[int, int], Holds]

_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder(tuple[int, int, Hold | None]).decode


def held_name(number: int) -> str:
    return f"{number:08d}{SUFFIX}"


def encode_note(offset: int, recipient: int, hold: Hold | None) -> bytes:
    said = _to_json((offset, recipient, hold))
    return b"\n%08x %b\n" % (zlib.crc32(said), said)


class Notes:
    """Notes that wait to be written, by segment. Used on the loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, bytearray] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, location: Location, holds: Holds) -> None:
        waiting = self._waiting.setdefault(location.segment, bytearray())
        for recipient, hold in holds.items():
            waiting += encode_note(location.offset, recipient, hold)

    def forget(self, segment: int) -> None:
        self._waiting.pop(segment, None)

    def take(self) -> dict[int, bytearray]:
        """All that waits; it is the caller's to write."""
        taken, self._waiting = self._waiting, {}
        return taken


def write_notes(directory: Path, notes: Mapping[int, bytes | bytearray]) -> None:
    """Append to each segment's file; what cannot be written is forgotten. Blocks."""
    for number, octets in notes.items():
        with suppress(OSError):
            descriptor = os.open(directory / held_name(number), os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                write_all(descriptor, bytes(octets), os.fstat(descriptor).st_size)
            finally:
                os.close(descriptor)


def read_notes(directory: Path) -> dict[tuple[int, int], dict[int, Hold | None]]:
    """All notes of a spool; one that is torn or damaged is none. Raises OSError."""
    noted: dict[tuple[int, int], dict[int, Hold | None]] = {}
    for number in numbers(directory, SUFFIX):
        # The daemon may have removed it meanwhile, with its segment.
        with suppress(FileNotFoundError):
            for line in (directory / held_name(number)).read_bytes().split(b"\n"):
                crc, _, said = line.partition(b" ")
                if crc == b"%08x" % zlib.crc32(said):
                    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                        offset, recipient, hold = _from_json(said)
                        noted.setdefault((number, offset), {})[recipient] = hold
    return noted
