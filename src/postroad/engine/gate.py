"""Before intake: whether the account may send this, and whether it was sent before.

What every door calls. An account without a policy of its own and a submission without
a key go straight on.
"""

from __future__ import annotations

from dataclasses import replace

from postroad.engine.intake import BROKEN, Intake
from postroad.engine.replays import Replays
from postroad.engine.rights import Rights
from postroad.mail.account import lane_of
from postroad.mail.events import Replayed, StorageTrouble, refused
from postroad.mail.idempotency import OTHER_CONTENT, Kept, key_of, may_have_key, without_key
from postroad.mail.message import StagedBody, Submission
from postroad.mail.permit import Permit
from postroad.mail.reply import Reply
from postroad.ports.events import Events
from postroad.ports.queue import Terms
from postroad.ports.spool import Spool
from postroad.ports.storage import StorageBroken


class Gate:
    """`ports.intake.Intake`."""

    def __init__(
        self, intake: Intake, rights: Rights, replays: Replays, spool: Spool, events: Events
    ) -> None:
        self._intake = intake
        self._rights = rights
        self._replays = replays
        self._spool = spool
        self._events = events

    async def accept(self, submission: Submission, id: str | None = None) -> Reply:
        """As `Intake.accept`, or why this account may not send it."""
        permit = self._rights.permit(submission.account)
        if not permit.free:
            refusal = self._rights.consider(permit, submission)
            if refusal is not None:
                return self._refuse(submission, refusal)
        if permit.policy.lane is not None:
            submission = replace(submission, lane=lane_of(permit.policy, submission.lane))
        if may_have_key(submission, permit.policy.idempotency):
            return await self._once(submission, id, permit)
        if permit.limited:
            return await self._spend(submission, id, permit, None)
        return await self._intake.accept(submission, id)

    async def _once(self, submission: Submission, id: str | None, permit: Permit) -> Reply:
        """A submission that may have been made before."""
        key = key_of(submission, permit.policy.idempotency)
        if key is None:
            return await self._spend(submission, id, permit, None)
        if isinstance(key, Reply):
            return self._refuse(submission, key)
        content = submission.content
        keyless = replace(submission, content=replace(content, head=without_key(content.head)))
        try:
            reply = await self._replays.once(
                key,
                lambda kept: self._spend(keyless, id, permit, kept),
                lambda first: self._tell_replayed(submission, first),
            )
        except StorageBroken as error:
            self._events.emit(StorageTrouble("accept", str(error)))
            return BROKEN
        return self._refuse(submission, reply) if reply is OTHER_CONTENT else reply

    async def _spend(
        self, submission: Submission, id: str | None, permit: Permit, kept: Kept | None
    ) -> Reply:
        """Counted first, and given back where nothing came of it."""
        charge = None
        if permit.limited:
            spent = self._rights.spend(permit, len(submission.envelope.recipients))
            if isinstance(spent, Reply):
                return self._refuse(submission, spent)
            charge = spent
        if charge is None and kept is None:
            return await self._intake.accept(submission, id)
        reply = BROKEN
        try:
            reply = await self._intake.accept(submission, id, Terms(charge, kept))
        finally:
            if charge is not None and reply.kind != 2:
                self._rights.give_back(charge)
        return reply

    def _tell_replayed(self, submission: Submission, id: str) -> None:
        body = submission.content.body
        if isinstance(body, StagedBody):
            # The door keeps off what was answered with 250.
            self._spool.discard(body)
        self._events.emit(Replayed(id, submission.peer, submission.account))

    def _refuse(self, submission: Submission, reply: Reply) -> Reply:
        self._events.emit(refused(submission, reply))
        return reply
