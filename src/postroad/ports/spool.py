"""Where the content of messages is kept until they are settled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from postroad.mail.frozen import dataclass
from postroad.mail.message import Content, Hold, Location, Message, Recipient, StagedBody
from postroad.mail.mime import Octets


@dataclass(frozen=True, slots=True)
class Record:
    """What the spool keeps of a message: self-contained, so that the index can be rebuilt from it.

    `message.location` is meaningless in here (the record does not know where it
    will lie); `recipients` are as they were accepted.
    """

    message: Message
    recipients: tuple[Recipient, ...]
    content: Content


class Stored(Protocol):
    """A message's content, ready to be read: prefix and all, as it is sent.

    Small bodies are in memory, so that a delivery costs one read; large ones come
    in chunks read off the loop.
    """

    @property
    def head(self) -> bytes: ...

    @property
    def body(self) -> bytes | None:
        """The body where it is small, else None: then `chunks`."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body in order, at most 256 KiB a piece; raises OSError where the disk does.

        A wrong CRC raises DamagedRecord in place of the last piece, so that a
        damaged message can never be completed.
        """
        ...


class BodyFile(Protocol):
    """A large body on its way to disk, before the message is ours (`Spool.stage`)."""

    async def write(self, chunk: bytes) -> None:
        """Append; StorageFull when there is no room. Never blocks the loop."""
        ...

    def finish(self, relaxed_hash: bytes) -> StagedBody:
        """Close it; from here `Spool.append` owns the file."""
        ...

    def discard(self) -> None:
        """Remove what was written; harmless after `finish` was followed by `append`."""
        ...


class Spool(Protocol):
    async def append(self, record: Record) -> Location:
        """Durable when it returns: everything of the record is synced.

        Raises StorageFull (nothing kept) or StorageBroken (state unknown: end).
        Calls made while a sync runs share the next one.
        """
        ...

    def stage(self, id: str) -> BodyFile:
        """A file for a body too large for memory."""
        ...

    def staged(self, body: StagedBody) -> AbstractContextManager[Octets]:
        """What was staged, to be read before it is appended. Every use of it blocks: for threads only.

        Raises OSError where the disk does.
        """
        ...

    def discard(self, body: StagedBody) -> None:
        """A staged body that will not be appended is removed; harmless when repeated."""
        ...

    async def read(self, location: Location, of: str | None = None) -> Stored:
        """The content of a record; raises DamagedRecord where CRC or length disagree.

        And where it is not the record of the message `of`: what an index says that is not
        the spool's own, or is damaged, must not send one's mail to another.
        """
        ...

    def release(self, message: Message) -> None:
        """The message is settled; its space may be reclaimed when its segment is free.

        Noted beside the record in time, without a sync: an index made anew leaves it out.
        """
        ...

    def done(self, message: Message, recipients: Collection[int]) -> None:
        """These recipients of a message that goes on need nothing any more: noted as in `release`."""
        ...

    def hold(self, message: Message, holds: Mapping[int, Hold | None]) -> None:
        """Recipients that are held from now on, or with None no longer: noted as in `release`."""
        ...

    def low(self) -> bool:
        """Below the low-water mark: no new message is taken, what is left is for what we owe."""
        ...


class SparseSpool(Protocol):
    """What compaction asks of the spool besides."""

    def sparse(self, tried: Collection[int]) -> int | None:
        """The segment most worth emptying, of those not `tried`; None while little is wasted in all."""
        ...

    async def copy(self, location: Location, of: str) -> Location:
        """A second copy of a record of the message `of`, durable when it returns.

        Raises as `Spool.append`, and DamagedRecord.
        """
        ...

    def moved(self, location: Location) -> None:
        """Known from here on: what lies there is not the message any more. It may still be read."""
        ...

    def let_go(self, location: Location) -> None:
        """One of two copies is not needed; the message lives on in the other."""
        ...

    def done(self, message: Message, recipients: Collection[int]) -> None:
        """As `Spool.done`."""
        ...

    def hold(self, message: Message, holds: Mapping[int, Hold | None]) -> None:
        """As `Spool.hold`."""
        ...


class DamagedRecord(OSError):
    """A record whose length or CRC is wrong, or whose file is gone."""
