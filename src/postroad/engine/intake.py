"""Where a 250 is earned: admit, complete, sign, spool, index, and only then say yes.

The order is the promise: the record is synced before the rows are written, the
rows are committed before the reply (states S1 to S3 in `engine.recovery`).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace

from postroad.engine.linting import Linter
from postroad.engine.mending import Fitness, Mender
from postroad.engine.packing import Packer, Place, Start, in_queue_run
from postroad.engine.places import Places
from postroad.engine.policies import Decided, Policies
from postroad.engine.scheduler import Scheduler
from postroad.mail.admission import AdmissionLimits, consider
from postroad.mail.completion import Completion, complete, received, traced
from postroad.mail.events import Accepted, Expanded, InternalError, StorageTrouble, refused
from postroad.mail.headers import message_id, rfc5322_date
from postroad.mail.lifecycle import State
from postroad.mail.local_names import MAX_ROUNDS, expand, rounds
from postroad.mail.message import (
    Content,
    Envelope,
    Hold,
    Instant,
    Lane,
    Message,
    Peer,
    Recipient,
    StagedBody,
    Submission,
)
from postroad.mail.reply import Reply
from postroad.mail.routing import Hop
from postroad.ports.clock import Clock
from postroad.ports.events import Events
from postroad.ports.queue import Queue, Terms
from postroad.ports.queue_id import NewId
from postroad.ports.spool import Spool
from postroad.ports.storage import StorageBroken, StorageFull

Renamed = tuple[tuple[str, tuple[str, ...]], ...]
_UNCHANGED: Renamed = ()
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
        policies: Policies,
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
        self._policies = policies

    def reload(self, limits: AdmissionLimits, origin: str, fitness: Fitness) -> None:
        self._limits = limits
        self._origin = origin
        self._mender.fitness = fitness

    async def accept(
        self, submission: Submission, id: str | None = None, terms: Terms | None = None
    ) -> Reply:
        """250 with the queue id once the message is durable, else why not.

        `id` is given by a door that must be able to ask later whether this very
        submission was accepted (the maildrop after a crash). `terms` are written with it.
        """
        refusal = consider(submission.envelope, submission.content, self._limits)
        if refusal is not None:
            self._events.emit(refused(submission, refusal))
            return refusal
        if self._spool.low():
            self._events.emit(StorageTrouble("accept", "the disk is below the low-water mark"))
            return FULL
        try:
            return await self._accept(submission, id, terms)
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

    async def _accept(self, submission: Submission, id: str | None, terms: Terms | None) -> Reply:
        now = self._clock.now()
        id = id or self._new_id(now)
        envelope, content = submission.envelope, submission.content
        if self._linter.active:
            refusal = self._linter.judge(submission, id)
            if refusal is not None:
                return self._refuse(submission, content, refusal)
        if self._mender.concerns(content):
            mended = await self._mender.mend(content, id)
            if isinstance(mended, Reply):
                return self._refuse(submission, content, mended)
            content = mended
        facts = self._facts(submission.peer, envelope, id, now)
        head = (traced if submission.gateway else complete)(content.head, facts)
        held: Hold | None = None
        if self._policies.asked:
            decided = await self._decide(submission, content, head, facts)
            if isinstance(decided, Reply):
                return self._refuse(submission, content, decided)
            content, held, head = decided.content, decided.held, decided.content.head
            submission = replace(submission, envelope=decided.envelope)
        envelope, renamed, local = submission.envelope, _UNCHANGED, self._packer.names.domains
        for to in envelope.recipients:
            if to.address.domain in local:
                expanded = self._expanded(submission)
                if isinstance(expanded, Reply):
                    return self._refuse(submission, content, expanded)
                envelope, renamed = expanded
                break
        places = self._scheduler.places()
        try:
            message, recipients = await self._packer.pack(
                id,
                envelope,
                Content(head, content.body, content.dotted, content.eight_bit),
                account=submission.account,
                lane=submission.lane,
                now=now,
                place=_place(places, held, later=submission.later),
            )
            await self._add(message, recipients, terms)
        except BaseException:
            places.give_back()
            self._discard(submission, content)
            raise
        self._tell_accepted(submission, message, head)
        if renamed:
            self._tell_expanded(id, renamed)
        places.dispatch(message, recipients)
        return Reply(250, (f"Ok: queued as {id}",), "2.0.0")

    def _facts(self, peer: Peer, envelope: Envelope, id: str, now: Instant) -> Completion:
        recipients, asked = envelope.recipients, envelope.handling
        return Completion(
            peer=peer,
            hostname=self._hostname,
            id=id,
            date=rfc5322_date(now),
            sender=envelope.sender,
            origin=self._origin,
            recipient=recipients[0].address if len(recipients) == 1 else None,
            priority=None if asked is None else asked.priority,
        )

    def _refuse(self, submission: Submission, content: Content, reply: Reply) -> Reply:
        self._events.emit(refused(submission, reply))
        self._discard(submission, content)
        return reply

    def _tell_expanded(self, id: str, renamed: Renamed) -> None:
        for name, addresses in renamed:
            self._events.emit(Expanded(id, name, addresses, id))

    async def _decide(
        self, submission: Submission, content: Content, head: bytes, facts: Completion
    ) -> Decided | Reply:
        """What the policies say; the head they leave has its trace field again."""
        try:
            bare = head[len(received(facts)) :]
            decided = await self._policies.decide(
                submission, Content(bare, content.body, content.dotted, content.eight_bit), facts.id
            )
        except BaseException:
            self._discard(submission, content)
            raise
        if isinstance(decided, Reply):
            return decided
        recipients, left = decided.envelope.recipients, decided.content
        only = recipients[0].address if len(recipients) == 1 else None
        head = received(replace(facts, recipient=only)) + left.head
        return replace(decided, content=Content(head, left.body, left.dotted, left.eight_bit))

    def _discard(self, submission: Submission, content: Content) -> None:
        """A body that was staged anew; the one that came is its door's."""
        if content.body is not submission.content.body and isinstance(content.body, StagedBody):
            self._spool.discard(content.body)

    def _expanded(self, submission: Submission) -> tuple[Envelope, Renamed] | Reply:
        """The envelope after aliases.

        Refused is a message that a local name brings again and again (RFC 5321 6.3).
        """
        envelope, names = submission.envelope, self._packer.names
        for to in envelope.recipients:
            if (
                to.address.domain in names.domains
                and rounds(submission.content.head, self._hostname, to.address) >= MAX_ROUNDS
            ):
                return Reply(554, (f"{to.address} leads back to here: the message loops",), "5.4.6")
        expansion = expand(envelope.recipients, names)
        utf8 = envelope.smtputf8 or not all(to.address.is_ascii for to in expansion.recipients)
        return replace(envelope, recipients=expansion.recipients, smtputf8=utf8), expansion.renamed

    async def _add(self, message: Message, recipients: tuple[Recipient, ...], terms: Terms | None) -> None:
        try:
            if terms is None:
                await self._queue.add(message, recipients)
            else:
                await self._queue.accept(message, recipients, terms)
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
                priority=None if message.handling is None else message.handling.priority,
            )
        )


def _place(places: Places, held: Hold | None, *, later: bool) -> Place:
    if held is not None:
        return _holding(held)
    return in_queue_run if later else places.place


def _holding(why: Hold) -> Place:
    def place(hop: Hop, lane: Lane, now: Instant) -> Start:
        return Start(State.HELD, now, held=why)

    return place
