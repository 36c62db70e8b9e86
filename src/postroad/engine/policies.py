"""Content policies are asked in their order, each within its time, before anything is signed.

Each sees what those before it made of the message. A refusal ends it; a hold is kept and
the rest are asked all the same, since one of them may refuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from postroad.mail.events import Held, PolicyFailed
from postroad.mail.frozen import dataclass
from postroad.mail.message import MAX_REASON, Content, Envelope, Hold, Submission
from postroad.mail.mime import Octets
from postroad.mail.policy import BadVerdict, Verdict, View, checked, with_headers, with_recipients
from postroad.mail.printable import printable
from postroad.mail.reply import Reply
from postroad.ports.events import Events
from postroad.ports.policy import Policy
from postroad.ports.spool import Spool

LATER = Reply(451, ("The content could not be checked, try again later",), "4.7.1")
NEVER = Reply(550, ("The content could not be checked",), "5.7.1")


@dataclass(frozen=True, slots=True)
class Asked:
    """One policy, how long it may take in seconds, and what its failure means: accept | tempfail | reject."""

    name: str
    policy: Policy
    timeout: float = 10.0
    on_error: str = "tempfail"


@dataclass(frozen=True, slots=True)
class Decided:
    """The message as the policies left it; `held`: why it is to be held, if it is."""

    envelope: Envelope
    content: Content
    held: Hold | None = None


class Policies:
    """`asked` is empty where nothing is configured; then nothing else is asked of it."""

    def __init__(self, spool: Spool, events: Events, asked: Sequence[Asked], max_recipients: int) -> None:
        self._spool = spool
        self._events = events
        self.reload(asked, max_recipients)

    def reload(self, asked: Sequence[Asked], max_recipients: int) -> None:
        self.asked = tuple(asked)
        self._max_recipients = max_recipients

    async def decide(self, submission: Submission, content: Content, id: str) -> Decided | Reply:
        """`content` is what would be sent, without our trace field."""
        now = Decided(submission.envelope, content)
        for each in self.asked:
            try:
                verdict = checked(await _within(each, self._view(submission, now, id)))
                if verdict.refusal is not None:
                    return verdict.refusal
                now = self._after(now, verdict, Hold(each.name, at=submission.received_at), id)
            except Exception as error:
                text = printable(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
                self._events.emit(PolicyFailed(id, each.name, text[:500], each.on_error))
                if each.on_error != "accept":
                    return LATER if each.on_error == "tempfail" else NEVER
        return now

    def _after(self, now: Decided, verdict: Verdict, own: Hold, id: str) -> Decided:
        envelope, content, held = now.envelope, now.content, now.held
        if verdict.recipients is not None:
            envelope = with_recipients(envelope, verdict.recipients, self._max_recipients)
        if verdict.add or verdict.remove:
            head = with_headers(content.head, verdict, smtputf8=envelope.smtputf8)
            eight_bit = content.eight_bit or not head.isascii()
            content = Content(head, content.body, content.dotted, eight_bit)
        if verdict.hold is not None:
            reason = verdict.hold[:MAX_REASON]
            self._events.emit(Held(id, own.policy or "", reason))
            held = held or replace(own, reason=reason)
        return Decided(envelope, content, held)

    def _view(self, submission: Submission, now: Decided, id: str) -> View:
        body = now.content.body

        def opened() -> AbstractContextManager[Octets]:
            return nullcontext(body) if isinstance(body, bytes) else self._spool.staged(body)

        async def slice(start: int, end: int) -> bytes:
            if isinstance(body, bytes):
                return body[start:end]
            return await asyncio.to_thread(_read, opened(), start, end)

        return View(
            id=id,
            envelope=now.envelope,
            account=submission.account,
            lane=submission.lane,
            peer=submission.peer,
            received_at=submission.received_at,
            head=now.content.head,
            size=now.content.size,
            opened=opened,
            slice=slice,
        )


def _read(opened: AbstractContextManager[Octets], start: int, end: int) -> bytes:
    with opened as octets:
        return octets[start:end]


async def _within(each: Asked, view: View) -> object:
    """The policy's answer, or TimeoutError when its time is up, whether it lets itself be stopped or not."""
    task = asyncio.ensure_future(each.policy.consider(view))
    try:
        await asyncio.wait((task,), timeout=each.timeout)
        if not task.done():
            raise TimeoutError(f"no answer in {each.timeout:g} s")
        if task.cancelled():
            raise BadVerdict("was cancelled by itself")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_forget)


def _forget(task: asyncio.Future[Verdict | None]) -> None:
    """Nobody waits any more; what came of it is looked at so that nothing is reported as never retrieved."""
    if not task.cancelled():
        task.exception()
