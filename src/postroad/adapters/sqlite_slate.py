"""The slate: what may have left and what was answered, in memory that outlives the process.

    queue id  first and last recipient  CRC-32  zero
      12               4 + 4              4      8     (big-endian)

A commit takes milliseconds, in which a busy daemon hears twenty more answers; killed then,
it would deliver all of them again. So each 250 is noted at once in a small file that is mapped
into memory: a store, no call of the system. The pages are the kernel's, and stay when the
process dies; the next start marks what it finds as delivered. A power cut takes them along,
as nobody syncs them: the index alone is what must survive that.

    RING   slots of what was answered, written round and round and never cleared: a delivered
           recipient is in an attempt never again, so an old entry names nothing
    OPEN   one slot a connection: the message whose end it sent last. What is in an attempt after
           a crash and stands here may have left, and may come twice; what does not, has not
    BOOT   which start of the machine the open slots are of. After a power cut they may be of any
           age, and everything that was in an attempt may come twice

An entry that is overwritten or torn costs a repeated delivery, no more. The file's blocks are
written when it is made, so that a full disk cannot fail a store; a disk that fails can, and
then ends the process, as it does with the shared memory of SQLite beside it.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from postroad.mail.queue_id import QueueIdError, parse_id

SLOT = 32
RING = 4096
# More connections at a time than this make everything ambiguous that was in an attempt.
OPEN = 4096
_RING_END = RING * SLOT
_OPEN_END = _RING_END + OPEN * SLOT
_BOOT = 2 * SLOT
SIZE = _OPEN_END + _BOOT

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_FIELDS = struct.Struct(">12sII")
_CRC = struct.Struct(">I8x")
_pack, _pack_crc, _crc32 = _FIELDS.pack, _CRC.pack, zlib.crc32
_EMPTY = bytes(SLOT)

# Integer of a queue id, numbers of the first and the last recipient.
Span = tuple[int, int, int]


def boot_id() -> bytes:
    """Of this start of the machine; where it cannot be known, one of a kind."""
    try:
        found = BOOT_ID.read_bytes().strip()
    except OSError:
        found = b""
    return (found or os.urandom(16)).ljust(_BOOT, b"\0")[:_BOOT]


class Slate:
    """Used on the loop. Raises OSError where the file cannot be made."""

    def __init__(self, path: Path, boot: bytes | None = None) -> None:
        self._boot = boot_id() if boot is None else boot.ljust(_BOOT, b"\0")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size != SIZE:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, bytes(SIZE), 0)
            self._memory = mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)
        self._next = 0
        # The one that was given back first is taken first: its last words stay the longest.
        self._free = deque(range(_RING_END, _OPEN_END, SLOT))

    def answered(self) -> list[Span]:
        """Whose 250 was read."""
        return list(_spans(self._memory[:_RING_END]))

    def left(self) -> list[Span] | None:
        """What the process before may have sent to its end; None: that cannot be known."""
        if self._memory[_OPEN_END:] != self._boot:
            return None
        return list(_spans(self._memory[_RING_END:_OPEN_END]))

    def begin(self) -> None:
        """The process before is accounted for: the open slots are ours from here."""
        self._memory[_RING_END:_OPEN_END] = bytes(_OPEN_END - _RING_END)
        self._memory[_OPEN_END:] = self._boot

    def witness(self) -> SlateWitness:
        if self._free:
            return SlateWitness(self, self._free.popleft())
        self._memory[_OPEN_END:] = bytes(_BOOT)
        # Shared, and of no use: who starts next will not believe it.
        return SlateWitness(self, _OPEN_END - SLOT, lent=False)

    def give_back(self, slot: int) -> None:
        self._free.append(slot)

    def store(self, slot: int, entry: bytes) -> None:
        self._memory[slot : slot + SLOT] = entry

    def note(self, entry: bytes) -> None:
        """It was answered."""
        at = self._next
        self._memory[at : at + SLOT] = entry
        self._next = (at + SLOT) % _RING_END


class SlateWitness:
    """`Witness`: one open slot of the slate."""

    __slots__ = ("_entry", "_lent", "_message", "_numbers", "_slate", "_slot")

    def __init__(self, slate: Slate, slot: int, *, lent: bool = True) -> None:
        self._slate = slate
        self._slot = slot
        self._lent = lent
        self._message = ""
        self._numbers: Sequence[int] = ()
        self._entry = _EMPTY

    def about(self, message: str, numbers: Sequence[int]) -> None:
        self._message = message
        self._numbers = numbers

    def leaves(self) -> None:
        numbers = self._numbers
        self._entry = entry = encode_entry(self._message, min(numbers), max(numbers))
        self._slate.store(self._slot, entry)

    def taken(self, refused: Collection[int] = ()) -> None:
        if len(self._numbers) == 1:
            self._slate.note(self._entry)
            return
        taken = sorted(n for place, n in enumerate(self._numbers) if place not in refused)
        for first, last in runs(taken):
            self._slate.note(encode_entry(self._message, first, last))

    def close(self) -> None:
        if self._lent:
            self._lent = False
            self._slate.give_back(self._slot)


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Rising numbers as (first, last) of each stretch without a gap."""
    if numbers:
        ends = [one for one, other in pairwise(numbers) if other != one + 1]
        starts = [other for one, other in pairwise(numbers) if other != one + 1]
        yield from zip([numbers[0], *starts], [*ends, numbers[-1]], strict=True)


def encode_entry(id: str, first: int, last: int) -> bytes:
    """A slot's octets, stored at once and checked when read: death may fall in the middle."""
    fields = _pack(id.encode(), first, last)
    return fields + _pack_crc(_crc32(fields))


def _spans(octets: bytes) -> Iterator[Span]:
    for at in range(0, len(octets), SLOT):
        entry = octets[at : at + SLOT]
        if entry != _EMPTY and (found := _span(entry)):
            yield found


def _span(entry: bytes) -> Span | None:
    fields = entry[: _FIELDS.size]
    if entry[_FIELDS.size :] != _pack_crc(_crc32(fields)):
        return None
    id, first, last = _FIELDS.unpack(fields)
    try:
        return parse_id(id.decode("ascii")), first, last
    except (QueueIdError, UnicodeDecodeError):
        return None
