"""The other sides of the local door: an intake and a control that remember, and the door between them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from postroad.adapters import local_client
from postroad.adapters.hub import EventHub
from postroad.adapters.local import LocalDoor, LocalSettings
from postroad.demo.process import HANGS_AFTER
from postroad.mail.address import Address
from postroad.mail.events import Event
from postroad.mail.message import Submission
from postroad.mail.reply import Reply
from postroad.mail.routing import Hop
from postroad.mail.why import Live
from postroad.ports.control import Explained, ImpossibleOperation
from postroad.ports.queue import QueueFilter
from postroad.ports.storage import StorageFull
from tests.support.build import NOW, queue_id
from tests.support.running import running

Answers = list[dict[str, object]]


class RememberingIntake:
    """`Intake`: keeps submissions and gives one reply to all; `gate`, when set, holds them back."""

    def __init__(self) -> None:
        self.taken: list[Submission] = []
        self.reply = Reply(250, (f"queued as {queue_id(1)}",), "2.0.0")
        self.gate: asyncio.Event | None = None

    async def accept(self, submission: Submission) -> Reply:
        self.taken.append(submission)
        if self.gate is not None:
            await self.gate.wait()
        return self.reply


class RememberingControl:
    """`Control`: keeps what was asked; changes two recipients; `refusal` and `full` say why not."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, QueueFilter, int | None]] = []
        self.reasons: list[str] = []
        self.refusal: str | None = None
        self.full = False
        self.explained: list[Explained] = []

    async def status(self) -> dict[str, object]:
        return {"waiting": 3}

    async def explain(self, filter: QueueFilter, limit: int) -> list[Explained]:
        self.asked.append(("why", filter, None))
        return self.explained

    def live(self, hop: Hop) -> Live:
        return Live(site="mx.of." + hop.name, busy=2, window=3, limit=10)

    def hops_of(self, site: str) -> list[str]:
        return [f"hop.of.{site}"]

    async def operate(
        self, verb: str, filter: QueueFilter, uid: int | None, reason: str = ""
    ) -> list[tuple[str, str]]:
        if self.refusal is not None:
            raise ImpossibleOperation(self.refusal)
        if self.full:
            raise StorageFull("index: database or disk is full")
        self.reasons.append(reason)
        self.asked.append((verb, filter, uid))
        return [(queue_id(1), "b@example.org"), (queue_id(1), "c@example.org")]


class StoppedClock:
    def now(self) -> float:
        return NOW


def hop_of(address: Address) -> str:
    return address.domain


class Office:
    """A door at `path` with what stands behind it."""

    def __init__(self, directory: Path, operators: Collection[int] | None) -> None:
        self.path = directory / "postroad.sock"
        self.intake = RememberingIntake()
        self.control = RememberingControl()
        self.hub = EventHub()
        settings = LocalSettings("origin.example", 10_000_000, hop_of)
        self.door = LocalDoor(
            self.path, self.control, self.intake, self.hub, StoppedClock(), settings, operators
        )

    async def ask(self, request: Mapping[str, object], content: bytes = b"") -> Answers:
        """All answers to one request; raises what the client raises."""
        return await asyncio.to_thread(
            lambda: list(local_client.ask(self.path, request, content, HANGS_AFTER))
        )

    def emit(self, *events: Event) -> None:
        for event in events:
            self.hub.emit(event)


@asynccontextmanager
async def office(operators: Collection[int] | None = None) -> AsyncIterator[Office]:
    """A door that is open for the length of the block."""
    # Not pytest's own directory: a Unix socket's path may have 107 octets.
    directory = Path(tempfile.mkdtemp(prefix="postroad-"))
    try:
        opened = Office(directory, operators)
        opened.door.bind()
        async with running(opened.door):
            yield opened
    finally:
        shutil.rmtree(directory)
