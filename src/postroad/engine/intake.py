"""Where a 250 is earned: admit, complete, sign, spool, index, and only then say yes.

The order is the promise: the record is synced before the rows are written, the
rows are committed before the reply (states S1 to S3 in `engine.recovery`).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

from postroad.engine.linting import Linter
from postroad.engine.mending import Fitness, Mender
from postroad.engine.packing import Packer
from postroad.engine.scheduler import Scheduler
from postroad.mail.admission import AdmissionLimits, consider
from postroad.mail.completion import Completion, complete
from postroad.mail.events import Accepted, InternalError, Refused, StorageTrouble
from postroad.mail.headers import message_id, rfc5322_date
from postroad.mail.message import Content, Message, Recipient, StagedBody, Submission
from postroad.mail.reply import Reply
from postroad.ports import Clock, Events, NewId, Queue, Spool, StorageBroken, StorageFull

FULL = Reply(452, ("Insufficient system storage, try again later",), "4.3.1")
BROKEN = Reply(451, ("Local error in processing, try again later",), "4.3.0")


class Intake:
    def __init__(
        self,
        *,
        hostname: str,
        origin: str,
        limits: AdmissionLimits,
        packer: Packer,
        spool: Spool,
        queue: Queue,
        scheduler: Scheduler,
        clock: Clock,
        events: Events,
        new_id: NewId,
        fatal: Callable[[BaseException], None],
        fitness: Fitness,
        linter: Linter,
    ) -> None:
        self._hostname = hostname
        self._origin = origin
        self._limits = limits
        self._packer = packer
        self._spool = spool
        self._queue = queue
        self._scheduler = scheduler
        self._clock = clock
        self._events = events
        self._new_id = new_id
        self._fatal = fatal
        self._mender = Mender(spool, fitness)
        self._linter = linter

    def reload(self, limits: AdmissionLimits, origin: str, fitness: Fitness) -> None:
        self._limits = limits
        self._origin = origin
        self._mender.fitness = fitness

    async def accept(self, submission: Submission, id: str | None = None) -> Reply:
        """250 with the queue id once the message is durable, else why not.

        `id` is given by a door that must be able to ask later whether this very
        submission was accepted (the maildrop after a crash).
        """
        refusal = consider(submission.envelope, submission.content, self._limits)
        if refusal is not None:
            self._tell_refused(submission, refusal)
            return refusal
        if self._spool.low():
            self._events.emit(StorageTrouble("accept", "the disk is below the low-water mark"))
            return FULL
        try:
            return await self._accept(submission, id)
        except StorageFull as error:
            self._events.emit(StorageTrouble("accept", str(error)))
            return FULL
        except StorageBroken as error:
            self._events.emit(StorageTrouble("accept", str(error)))
            self._fatal(error)
            return BROKEN
        except Exception as error:
            # A bug, or a key that cannot sign: the client keeps its message.
            self._events.emit(InternalError("intake", repr(error), traceback.format_exc()))
            return BROKEN

    async def _accept(self, submission: Submission, id: str | None) -> Reply:
        now = self._clock.now()
        id = id or self._new_id(now)
        envelope, content = submission.envelope, submission.content
        if self._linter.active:
            refusal = self._linter.judge(submission, id)
            if refusal is not None:
                self._tell_refused(submission, refusal)
                return refusal
        if self._mender.concerns(content):
            mended = await self._mender.mend(content, id)
            if isinstance(mended, Reply):
                self._tell_refused(submission, mended)
                return mended
            content = mended
        only = envelope.recipients[0].address if len(envelope.recipients) == 1 else None
        head = complete(
            content.head,
            Completion(
                peer=submission.peer,
                hostname=self._hostname,
                id=id,
                date=rfc5322_date(now),
                sender=envelope.sender,
                origin=self._origin,
                recipient=only,
            ),
        )
        placed = self._scheduler.placement()
        try:
            message, recipients = await self._packer.pack(
                id,
                envelope,
                Content(head, content.body, content.dotted, content.eight_bit),
                account=submission.account,
                lane=submission.lane,
                now=now,
                place=placed.place,
            )
            await self._add(message, recipients)
        except BaseException:
            placed.give_back()
            if content is not submission.content and isinstance(content.body, StagedBody):
                self._spool.discard(content.body)
            raise
        self._tell_accepted(submission, message, head)
        placed.dispatch(message, recipients)
        return Reply(250, (f"Ok: queued as {id}",), "2.0.0")

    async def _add(self, message: Message, recipients: tuple[Recipient, ...]) -> None:
        try:
            await self._queue.add(message, recipients)
        except StorageFull:
            self._spool.release(message)
            raise

    def _tell_accepted(self, submission: Submission, message: Message, head: bytes) -> None:
        self._events.emit(
            Accepted(
                id=message.id,
                peer=submission.peer,
                account=submission.account,
                sender=str(message.sender) if message.sender else "",
                recipients=tuple([str(to.address) for to in submission.envelope.recipients]),
                size=message.size,
                message_id=message_id(head) or "",
            )
        )

    def _tell_refused(self, submission: Submission, reply: Reply) -> None:
        envelope = submission.envelope
        self._events.emit(
            Refused(
                peer=submission.peer,
                stage="DATA",
                sender=str(envelope.sender) if envelope.sender else "",
                recipient=str(envelope.recipients[0].address) if envelope.recipients else "",
                reply=str(reply),
            )
        )
