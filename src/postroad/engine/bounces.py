"""Settles messages: tells the sender what failed, warns of delays, gives up on what is too old.

A notification is a message of its own with the null sender: composed from the
stored outcomes (`mail.dsn`), spooled, and added in the very transaction that
settles what it tells of. So whatever crashes when, it is sent exactly once. A
notification that fails is logged and dropped.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Sequence

from postroad.engine.backlog import FULL_DISK_WAIT
from postroad.engine.ledger import Ledger
from postroad.engine.packing import Packer, in_turn
from postroad.engine.scheduler import Scheduler
from postroad.mail.backoff import RetryPolicy, expired
from postroad.mail.dsn import compose
from postroad.mail.events import DoubleBounce, InternalError, Notified, Removed, StorageTrouble
from postroad.mail.headers import rfc5322_date
from postroad.mail.lifecycle import State
from postroad.mail.local_names import expand
from postroad.mail.message import (
    Delivery,
    Envelope,
    EnvelopeRecipient,
    Handling,
    Instant,
    Lane,
    Message,
    Notify,
    Recipient,
)
from postroad.mail.notice import Notice, Report, returns_full, wants_delay, wants_failure, wants_success
from postroad.mail.outcome import Outcome, Reason
from postroad.ports.clock import Clock
from postroad.ports.events import Events
from postroad.ports.queue import Finished, Queue
from postroad.ports.queue_id import NewId
from postroad.ports.spool import Spool
from postroad.ports.storage import StorageBroken, StorageFull

MAILER = "mailer-daemon"
SWEEP_SLICE = 500
# A notification in the spool and its rows, not yet in the index.
Written = tuple[Report, tuple[Message, Sequence[Recipient]]]
_SUCCESS = {Reason.RELAYED: Report.RELAYED, Reason.EXPANDED: Report.EXPANDED}


class Bounces:
    def __init__(
        self,
        *,
        packer: Packer,
        queue: Queue,
        spool: Spool,
        ledger: Ledger,
        scheduler: Scheduler,
        clock: Clock,
        events: Events,
        new_id: NewId,
        chance: random.Random,
        hostname: str,
        retry: RetryPolicy,
    ) -> None:
        self._packer = packer
        self._queue = queue
        self._spool = spool
        self._ledger = ledger
        self._scheduler = scheduler
        self._clock = clock
        self._events = events
        self._new_id = new_id
        self._chance = chance
        self._hostname = hostname
        self._retry = retry
        self._waiting: asyncio.Queue[Finished | None] = asyncio.Queue()
        self._closing = asyncio.Event()

    def reload(self, retry: RetryPolicy) -> None:
        self._retry = retry

    def put(self, finished: Finished) -> None:
        """A message with something to settle; never blocks."""
        self._waiting.put_nowait(finished)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settle_all())
            group.create_task(self._sweep())

    def close(self) -> None:
        """What still waits is settled at the next start."""
        self._closing.set()
        self._waiting.put_nowait(None)

    async def settle_waiting(self) -> None:
        """All that was put so far: for who does not `run`."""
        while not self._waiting.empty():
            finished = self._waiting.get_nowait()
            if finished is not None:
                await self.settle(finished)

    async def _settle_all(self) -> None:
        while (finished := await self._waiting.get()) is not None and not self._closing.is_set():
            await self.settle(finished)

    # --- settling ----------------------------------------------------------------------

    async def settle(self, finished: Finished) -> bool:
        """Tell what is to be told, remove the message if nothing of it is left; waits out a full disk.

        What it says may be old by now: only what the queue still knows as news is told.
        False: not settled, because we are closing or a bug was in the way. The next start
        tries again; meanwhile one such message must not stop the mail.
        """
        while not self._closing.is_set():
            try:
                current = await self._queue.find(finished.message.id)
                if current is not None:
                    await self._settle(current)
                return True
            except StorageFull as error:
                self._events.emit(StorageTrouble("settle", str(error)))
                await self._pause(FULL_DISK_WAIT)
            except StorageBroken:
                raise
            except Exception as error:
                self._events.emit(InternalError("bounce", repr(error), traceback.format_exc()))
                return False
        return False

    async def _settle(self, finished: Finished) -> None:
        message = finished.message
        notices = await self._written(message, self._news(finished))
        told = [r.n for r in finished.recipients if not r.state.is_open and not r.told]
        try:
            gone = await self._queue.settle(message.id, told, [notice for _, notice in notices])
        except StorageFull:
            self._discard(notices)
            raise
        self._tell(message, notices)
        if message.sender is None:
            self._tell_log(finished)
        if gone:
            self._spool.release(message)
            self._events.emit(Removed(message.id))
        else:
            self._spool.done(message, told)

    def _news(self, finished: Finished) -> list[tuple[Report, list[Recipient]]]:
        """What the sender is to hear, by kind of notification."""
        if finished.message.sender is None:
            return []
        about: dict[Report, list[Recipient]] = {}
        for recipient in finished.recipients:
            report = None if recipient.told else _report_of(recipient)
            if report is not None:
                about.setdefault(report, []).append(recipient)
        return list(about.items())

    def _tell_log(self, finished: Finished) -> None:
        """Nobody is told of a notification that failed."""
        for recipient in finished.recipients:
            if recipient.state is State.FAILED and not recipient.told:
                text = recipient.last.text if recipient.last else ""
                self._events.emit(DoubleBounce(finished.message.id, f"{recipient.address}: {text}"))

    async def _written(
        self, message: Message, news: Sequence[tuple[Report, Sequence[Recipient]]]
    ) -> list[Written]:
        """The notifications, spooled; none is left there when the disk has no room for all."""
        notices: list[Written] = []
        try:
            for report, about in news:
                notices.append((report, await self._compose(message, report, about)))
        except StorageFull:
            self._discard(notices)
            raise
        return notices

    def _discard(self, notices: Sequence[Written]) -> None:
        """They did not become ours: their space is free again."""
        for _, (notice, _) in notices:
            self._spool.release(notice)

    async def _compose(
        self, message: Message, report: Report, about: Sequence[Recipient]
    ) -> tuple[Message, Sequence[Recipient]]:
        """The notification as a message in the spool, not yet in the index."""
        assert message.sender is not None, "nobody is told about a notification"
        now = self._clock.now()
        id = self._new_id(now)
        head, body = await self._original(message, report)
        content = compose(
            Notice(
                report=report,
                message=message,
                recipients=tuple(about),
                head=head,
                body=body,
                hostname=self._hostname,
                id=id,
                date=rfc5322_date(now),
                boundary=f"{self._chance.getrandbits(96):024x}",
                until=message.expires_at if report is Report.DELAYED else None,
            )
        )
        to: tuple[EnvelopeRecipient, ...] = (EnvelopeRecipient(message.sender, Notify.NEVER),)
        if message.sender.domain in self._packer.names.domains:
            to = expand(to, self._packer.names).recipients
        return await self._packer.pack(
            id,
            Envelope(
                None,
                to,
                smtputf8=not all(one.address.is_ascii for one in to),
                handling=_as_asked(message),
            ),
            content,
            account=MAILER,
            lane=_lane_of(message),
            now=now,
            place=in_turn,
        )

    async def _original(self, message: Message, report: Report) -> tuple[bytes, bytes | None]:
        try:
            stored = await self._spool.read(message.location, message.id)
        except OSError as error:
            self._events.emit(StorageTrouble("read", f"cannot return {message.id}: {error}"))
            return b"", None
        return stored.head, stored.body if returns_full(message, report) else None

    def _tell(self, message: Message, notices: Sequence[Written]) -> None:
        for report, (notice, recipients) in notices:
            self._events.emit(
                Notified(
                    id=message.id,
                    dsn=notice.id,
                    kind=report.value,
                    to=str(message.sender),
                    size=notice.size,
                )
            )
            for recipient in recipients:
                self._scheduler.due(recipient.hop, recipient.due)

    # --- what time brings ----------------------------------------------------------------

    async def _sweep(self) -> None:
        while not self._closing.is_set():
            try:
                await self._expire()
                await self._warn()
            except StorageFull as error:
                self._events.emit(StorageTrouble("sweep", str(error)))
            await self._pause(self._interval())

    def _interval(self) -> float:
        """Often enough that nobody hears of an expiry or a delay a minute late."""
        shortest = min(self._retry.expire_after, self._retry.warn_after, self._retry.dsn_expire_after)
        return min(max(shortest / 10, 1.0), 30.0)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            pass

    async def _expire(self) -> None:
        now = self._clock.now()
        while deliveries := await self._queue.expired(now, SWEEP_SLICE):
            for delivery in deliveries:
                self._ledger.ended(delivery, _too_old(delivery, now))

    async def _warn(self) -> None:
        now = self._clock.now()
        while messages := await self._queue.delayed(now, SWEEP_SLICE):
            for finished in messages:
                try:
                    await self._warn_of(finished)
                except (StorageFull, StorageBroken):
                    raise
                except Exception as error:
                    self._events.emit(InternalError("warning", repr(error), traceback.format_exc()))
                    await self._queue.warned(finished.message.id, ())

    async def _warn_of(self, finished: Finished) -> None:
        message = finished.message
        about = [r for r in finished.recipients if wants_delay(r.notify) and r.last is not None]
        news = [(Report.DELAYED, about)] if message.sender is not None and about else []
        notices = await self._written(message, news)
        try:
            await self._queue.warned(message.id, [notice for _, notice in notices])
        except StorageFull:
            self._discard(notices)
            raise
        self._tell(message, notices)


def _report_of(recipient: Recipient) -> Report | None:
    """What the sender is to be told of how it ended, if anything."""
    if recipient.state is State.FAILED:
        return Report.FAILED if wants_failure(recipient.notify) else None
    if recipient.state is not State.DELIVERED or recipient.last is None:
        return None
    return _SUCCESS.get(recipient.last.reason) if wants_success(recipient.notify) else None


def _as_asked(message: Message) -> Handling | None:
    """What tells of a message asks for TLS as it did (RFC 8689 5), and has its priority (RFC 6710 4.6)."""
    asked = message.handling
    if asked is None or (not asked.requiretls and asked.priority is None):
        return None
    return Handling(asked.requiretls, asked.priority)


def _lane_of(message: Message) -> Lane:
    """A notification is nobody's hurry, unless the message was."""
    prior = message.handling is not None and message.handling.priority is not None
    return message.lane if prior else Lane.NORMAL


def _too_old(delivery: Delivery, now: Instant) -> tuple[Outcome, ...]:
    since = delivery.message.begins_at
    return tuple(expired(r.last, since, now) for r in delivery.recipients)
