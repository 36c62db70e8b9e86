"""The slate: deliveries whose 250 was heard and that the index may not have yet, in memory that outlives us.

    queue id  recipient  CRC-32  zero
      12         4          4      12     (big-endian)

A commit takes milliseconds, in which a busy daemon hears twenty more answers; killed then,
it would deliver all of them again. So each is noted at once in a small file that is mapped
into memory: a store, no call of the system. The pages are the kernel's, and stay when the
process dies; the next start marks what it finds as delivered. A power cut takes them along,
as nobody syncs them: the index alone is what must survive that.

The slots are written round and round, and never cleared: a delivered recipient is in an
attempt never again, so an old entry names nothing. One that is overwritten or torn costs a
repeated delivery, no more. The file's blocks are written when it is made, so that a full
disk cannot fail a store; a disk that fails can, and then ends the process, as it does with
the shared memory of SQLite beside it.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

from postroad.mail.lifecycle import State
from postroad.mail.message import Change
from postroad.mail.queue_id import QueueIdError, parse_id

SLOT = 32
SLOTS = 4096
SIZE = SLOT * SLOTS

_FIELDS = struct.Struct(">12sI")
_CRC = struct.Struct(">I12x")
_pack, _pack_crc, _crc32 = _FIELDS.pack, _CRC.pack, zlib.crc32

_DELIVERED = State.DELIVERED


class Slate:
    """Used on the loop. Raises OSError where the file cannot be made."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size != SIZE:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, bytes(SIZE), 0)
            self._memory = mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)
        self._next = 0

    def read(self) -> list[tuple[int, int]]:
        """(integer of the queue id, number of the recipient) of each whole entry."""
        return [found for at in range(0, SIZE, SLOT) if (found := _entry(self._memory[at : at + SLOT]))]

    def note(self, changes: Iterable[Change]) -> None:
        """The deliveries among these changes were heard."""
        for change in changes:
            if change.state is _DELIVERED:
                at = self._next
                self._memory[at : at + SLOT] = encode_entry(change.message, change.n)
                self._next = (at + SLOT) % SIZE


def encode_entry(id: str, recipient: int) -> bytes:
    """A slot's octets, stored at once and checked when read: death may fall in the middle."""
    fields = _pack(id.encode(), recipient)
    return fields + _pack_crc(_crc32(fields))


def _entry(octets: bytes) -> tuple[int, int] | None:
    fields = octets[: _FIELDS.size]
    if octets[_FIELDS.size :] != _pack_crc(_crc32(fields)):
        return None
    id, recipient = _FIELDS.unpack(fields)
    try:
        return parse_id(id.decode("ascii")), recipient
    except (QueueIdError, UnicodeDecodeError):
        return None
