"""`Spool` in a dictionary; the same contract as the segments (tests/contracts/test_spool.py)."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from postroad.mail.message import Hold, Location, Message, StagedBody
from postroad.ports.spool import DamagedRecord, Record
from postroad.ports.storage import StorageBroken, StorageFull

CHUNK = 256 * 1024
# What the segments keep of a record besides its content, about.
OVERHEAD = 300


@dataclass(frozen=True, slots=True)
class MemoryStored:
    """`Stored`: a staged body is given in chunks, as the real one does."""

    head: bytes
    octets: bytes
    staged: bool

    @property
    def body(self) -> bytes | None:
        return None if self.staged else self.octets

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.octets), CHUNK):
            yield self.octets[start : start + CHUNK]


class MemoryBody:
    """`BodyFile` in memory."""

    def __init__(self, spool: MemorySpool, id: str) -> None:
        self._spool = spool
        self._octets = bytearray()
        self._name = f"stage/{id}"
        spool.unfinished.add(self._name)

    async def write(self, chunk: bytes) -> None:
        self._spool.check()
        self._octets += chunk

    def finish(self, relaxed_hash: bytes) -> StagedBody:
        octets = bytes(self._octets)
        self._spool.unfinished.discard(self._name)
        self._spool.waiting[self._name] = octets
        return StagedBody(self._name, len(octets), zlib.crc32(octets), relaxed_hash)

    def discard(self) -> None:
        self._spool.unfinished.discard(self._name)
        self._spool.waiting.pop(self._name, None)


class MemorySpool:
    """`full` and `broken` make the next writes fail, `below` is the low-water mark.

    `records`, `released`, `finished` and `unfinished` (bodies being written) are there to be looked at.
    """

    def __init__(self) -> None:
        self.records: dict[Location, Record] = {}
        self.released: list[Location] = []
        self.waiting: dict[str, bytes] = {}
        self.unfinished: set[str] = set()
        self.bodies: dict[Location, bytes] = {}
        # Recipients that are done, of messages that go on.
        self.finished: dict[str, set[int]] = {}
        # Who is held, or no longer, as far as it was told after the acceptance.
        self.held: dict[str, dict[int, Hold | None]] = {}
        self.full = False
        self.below = False
        self.broken = False
        self._end = 0

    def check(self) -> None:
        if self.broken:
            raise StorageBroken("the disk of the test is broken")
        if self.full:
            raise StorageFull("the disk of the test is full")

    async def append(self, record: Record) -> Location:
        self.check()
        body = record.content.body
        location = Location(1, self._end, OVERHEAD + record.content.size)
        if isinstance(body, StagedBody):
            self.bodies[location] = self.waiting.pop(body.name)
        self._end += location.length
        self.records[location] = record
        return location

    def stage(self, id: str) -> MemoryBody:
        return MemoryBody(self, id)

    @contextmanager
    def staged(self, body: StagedBody) -> Iterator[bytes]:
        yield self.waiting[body.name]

    def discard(self, body: StagedBody) -> None:
        self.waiting.pop(body.name, None)

    async def read(self, location: Location, of: str | None = None) -> MemoryStored:
        record = self.records.get(location)
        if record is None:
            raise DamagedRecord(f"nothing lies at {location}")
        if of not in (None, record.message.id):
            raise DamagedRecord(f"the record of {record.message.id} lies there")
        body = record.content.body
        if isinstance(body, StagedBody):
            return MemoryStored(record.content.head, self.bodies[location], staged=True)
        return MemoryStored(record.content.head, body, staged=False)

    def release(self, message: Message) -> None:
        self.records.pop(message.location)
        self.bodies.pop(message.location, None)
        self.released.append(message.location)

    def done(self, message: Message, recipients: Collection[int]) -> None:
        self.finished.setdefault(message.id, set()).update(recipients)

    def hold(self, message: Message, holds: Mapping[int, Hold | None]) -> None:
        self.held.setdefault(message.id, {}).update(holds)

    def low(self) -> bool:
        return self.below
