"""The live sessions of all doors: who may come in, and who has to go where there is no room.

When the doors are full, the client that said nothing for longest makes room: one that
has neither logged in nor begun a transaction for `shed_after` seconds. Who works here is
never sent away, and ten thousand that say nothing keep nobody out.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from postroad.adapters import smtpd_replies as replies
from postroad.config.model import SubmissionConfig
from postroad.mail.descriptors import Share
from postroad.mail.events import DescriptorsScarce, DoorsFull
from postroad.mail.message import StagedBody
from postroad.mail.reply import Reply
from postroad.mail.source import holder
from postroad.ports.events import Events
from postroad.ports.spool import BodyFile
from postroad.ports.storage import StorageFull

SHED_AT_ONCE: Final = 128
"""Sessions on their way out beyond the limit; more newcomers than that wait for the next second."""
FAREWELLS: Final = 64
"""Clients that are turned away and listened to until they have read why; others are just told."""
TELL_SECONDS: Final = 10.0
"""The log says no more often than this that the doors are full."""
SOURCES_TOLD: Final = 20
"""And of no more addresses than this, in that time, that they were turned away."""
HOLDERS: Final = 5
CROWD: Final = 500
"""Sessions at one time whose memory is worth giving back, once they are gone."""
REST_SECONDS: Final = 60.0
"""And then not again for so long."""
NEAR_LIMIT: Final = 16
"""A descriptor so near to the limit of the process means that none may be left for the next client."""


class Member(Protocol):
    """A session, as the registry sees it."""

    @property
    def stranger(self) -> bool:
        """Whether it never logged in nor began a transaction."""
        ...

    @property
    def busy(self) -> bool:
        """Whether it waits for us and not for its client."""
        ...

    def leave(self) -> None: ...
    def leave_now(self) -> None: ...
    def shed(self) -> None: ...


class Registry:
    """The live sessions, all and by where they come from; full when a limit is reached.

    `share`: the descriptors there are; None: as many as anybody wants.
    """

    def __init__(
        self,
        config: SubmissionConfig,
        events: Events,
        share: Share | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        crowd_gone: Callable[[], None] = lambda: None,
    ) -> None:
        """`crowd_gone` is called when most of many sessions are over."""
        self._crowd_gone = crowd_gone
        self.reload(config, share)
        self._monotonic = monotonic
        self._members: dict[Member, str] = {}
        self._by_address: Counter[str] = Counter()
        self._accounts: dict[Member, str] = {}
        self._by_account: Counter[str] = Counter()
        # In the order in which they came, with that moment; who turned out to be none stays until looked at.
        self._strangers: OrderedDict[Member, float] = OrderedDict()
        self._shed: set[Member] = set()
        self._bodies = 0
        self.farewells = 0
        # The most there were since the crowd was last gone.
        self._peak = 0
        self._rest_until = 0.0
        self._empty: asyncio.Future[None] | None = None
        self._leaving = False
        self._report = Report(events, self._crowd)

    def reload(self, config: SubmissionConfig, share: Share | None) -> None:
        """Other limits, for those to come."""
        self._config = config
        self._most = config.max_connections if share is None else share.sessions
        self._share = share
        self.last_descriptor = share.limit - NEAR_LIMIT if share is not None else 1 << 30

    def __len__(self) -> int:
        return len(self._members)

    # --- in and out ---

    def admit(self, member: Member, address: str | None) -> Reply | None:
        """Count a session in; or the reply that turns it away, uncounted.

        Whoever has one IPv6 address has its /64, and is counted by that. Without an
        address, until it is known, it counts only among all.
        """
        if self._leaving:
            return replies.SHUTTING_DOWN
        source = "" if address is None else holder(address)
        if source and self._by_address[source] >= self._config.max_connections_per_address:
            return replies.TOO_MANY_FROM_YOU
        if len(self._members) - len(self._shed) >= self._most and not self._make_room():
            self._report.refused()
            return replies.TOO_MANY_CONNECTIONS
        self._members[member] = source
        self._by_address[source] += 1
        if len(self._members) > self._peak:
            self._peak = len(self._members)
        self._strangers[member] = self._monotonic()
        return None

    def tells(self, address: str, refusal: Reply) -> bool:
        """Whether the log is told of this client that is turned away: a flood must not be one of lines."""
        return self._report.tells(holder(address), refusal, self._monotonic())

    def gone(self, member: Member) -> None:
        """Its task ended and its connection is closed; harmless when repeated."""
        source = self._members.pop(member, None)
        if source is None:
            return
        self._strangers.pop(member, None)
        self._shed.discard(member)
        self._unclaim(member)
        self._by_address[source] -= 1
        if not self._by_address[source]:
            del self._by_address[source]
        if self._peak >= CROWD and len(self._members) <= self._peak // 8:
            self._dissolve()
        if not self._members and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def _dissolve(self) -> None:
        now = self._monotonic()
        if now >= self._rest_until:
            self._rest_until = now + REST_SECONDS
            self._peak = len(self._members)
            self._crowd_gone()

    def claim(self, member: Member, account: str, most: int) -> bool:
        """Count a session for the account it logged in as; False, and not counted, where that has `most`."""
        self._unclaim(member)
        if self._by_account[account] >= most:
            return False
        self._accounts[member] = account
        self._by_account[account] += 1
        return True

    def _unclaim(self, member: Member) -> None:
        account = self._accounts.pop(member, None)
        if account is not None:
            self._by_account[account] -= 1
            if not self._by_account[account]:
                del self._by_account[account]

    def _make_room(self) -> bool:
        """Send the oldest stranger away; False where all are new, or as many as may be are going."""
        if len(self._shed) >= SHED_AT_ONCE:
            return False
        now = self._monotonic()
        for _ in range(len(self._strangers)):
            member, since = next(iter(self._strangers.items()))
            if now - since < self._config.shed_after:
                return False
            del self._strangers[member]
            if not member.stranger:
                continue
            if member.busy:
                self._strangers[member] = now
                continue
            self._shed.add(member)
            self._report.shed()
            member.shed()
            return True
        return False

    def _crowd(self) -> DoorsFull:
        strangers = sum(member.stranger for member in self._members)
        most = [pair for pair in self._by_address.most_common(HOLDERS + 1) if pair[0]][:HOLDERS]
        holders = tuple(f"{source} ({count})" for source, count in most)
        return DoorsFull(len(self._members), self._most, strangers, 0, 0, holders)

    # --- descriptors ---

    def body(self, file: BodyFile) -> BodyFile:
        """A file to receive a body into, counted while it is open. Raises StorageFull for one too many.

        So many sessions as may come in must still find a descriptor.
        """
        if self._share is not None and len(self._members) + self._bodies >= self._share.door:
            raise StorageFull("too many large messages at one time for the descriptors of the process")
        self._bodies += 1
        return _CountedBody(file, self._body_closed)

    def _body_closed(self) -> None:
        self._bodies -= 1

    def farewell(self) -> bool:
        """Whether one more that is turned away may be listened to, and is counted until it is gone."""
        if self.farewells >= FAREWELLS:
            return False
        self.farewells += 1
        return True

    def tell_scarce(self) -> None:
        self._report.scarce(self._share.limit if self._share is not None else 0)

    # --- the end ---

    def leave(self) -> None:
        """Turn newcomers away and ask everyone to end soon."""
        self._leaving = True
        self._report.close()
        for member in list(self._members):
            member.leave()

    async def wait_empty(self, seconds: float) -> None:
        """Until the last session is gone; those still receiving after `seconds` are cut short.

        A message that is being made durable is always waited for.
        """
        if not self._members:
            return
        loop = asyncio.get_running_loop()
        self._empty = loop.create_future()
        hurry = loop.call_later(seconds, self._hurry)
        try:
            await self._empty
        finally:
            hurry.cancel()

    def _hurry(self) -> None:
        for member in list(self._members):
            member.leave_now()


class Report:
    """What the log is told of full doors: at once, and then every ten seconds with what happened since."""

    def __init__(self, events: Events, crowd: Callable[[], DoorsFull]) -> None:
        self._events = events
        self._crowd = crowd
        self._turned_away = 0
        self._sent_away = 0
        self._next: asyncio.TimerHandle | None = None
        self._scarce_told = 0.0
        # Of whom the log was told since that window began.
        self._told: set[str] = set()
        self._told_until = 0.0

    def refused(self) -> None:
        self._turned_away += 1
        self._tell_soon()

    def tells(self, source: str, refusal: Reply, now: float) -> bool:
        """Where the doors are full a number says it (`DoorsFull`), of others one line for each source."""
        if refusal is replies.TOO_MANY_CONNECTIONS:
            return False
        if now >= self._told_until:
            self._told_until = now + TELL_SECONDS
            self._told.clear()
        if source in self._told or len(self._told) >= SOURCES_TOLD:
            return False
        self._told.add(source)
        return True

    def shed(self) -> None:
        self._sent_away += 1
        self._tell_soon()

    def scarce(self, limit: int) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._scarce_told:
            self._scarce_told = now + TELL_SECONDS
            self._events.emit(DescriptorsScarce(limit))

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _tell_soon(self) -> None:
        if self._next is None:
            self._tell()

    def _tell(self) -> None:
        self._next = None
        if not self._turned_away and not self._sent_away:
            return
        crowd = self._crowd()
        self._events.emit(
            DoorsFull(
                crowd.connections,
                crowd.limit,
                crowd.silent,
                self._sent_away,
                self._turned_away,
                crowd.holders,
            )
        )
        self._turned_away = self._sent_away = 0
        self._next = asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell)


class _CountedBody:
    """A `BodyFile` that tells when it closes, once."""

    def __init__(self, file: BodyFile, closed: Callable[[], None]) -> None:
        self._file = file
        self._closed: Callable[[], None] | None = closed
        self.write = file.write

    def finish(self, relaxed_hash: bytes) -> StagedBody:
        self._tell()
        return self._file.finish(relaxed_hash)

    def discard(self) -> None:
        self._tell()
        self._file.discard()

    def _tell(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()
