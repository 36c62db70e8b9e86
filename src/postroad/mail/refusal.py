"""What goes back when mail is refused that its program was told is taken.

The sendmail command ends with 0 when a message lies in the maildrop. What is refused later, when the
daemon takes it up, is told as any mail that fails is told: by a notification to its sender.
"""

from __future__ import annotations

from dataclasses import replace

from postroad.mail.data import has_long_line
from postroad.mail.dsn import compose
from postroad.mail.headers import rfc5322_date
from postroad.mail.lifecycle import State
from postroad.mail.message import (
    Content,
    Envelope,
    EnvelopeRecipient,
    Instant,
    Message,
    Notify,
    Recipient,
    Submission,
)
from postroad.mail.notice import Notice, Report, returns_full, wants_failure
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.mail.reply import Reply
from postroad.mail.routing import Hop

MAILER = "mailer-daemon"
_NOWHERE = Hop("", "")


def returned(
    submission: Submission, reply: Reply, *, id: str, hostname: str, now: Instant, boundary: str
) -> Submission | None:
    """The notification, to be submitted under `id`; None: the null sender, or nobody who wants to hear.

    `boundary`: some 20 unpredictable letters or digits.
    """
    sender = submission.envelope.sender
    about = _refused(submission, reply, id, hostname)
    if sender is None or not about:
        return None
    came = submission.received_at
    message = Message.of(
        id,
        submission.envelope,
        submission.content,
        account=submission.account,
        lane=submission.lane,
        received_at=came,
        expires_at=came,
    )
    body, long_lines = submission.content.body, submission.content.long_lines
    # A line too long may be why it was refused: what goes back is to arrive. Its header may have it, too.
    full = isinstance(body, bytes) and not long_lines and returns_full(message, Report.FAILED)
    content = compose(
        Notice(
            report=Report.FAILED,
            message=message,
            recipients=about,
            # A NUL there may be why it was refused.
            head=submission.content.head.replace(b"\0", b"?"),
            body=body if full and isinstance(body, bytes) else None,
            hostname=hostname,
            id=id,
            date=rfc5322_date(now),
            boundary=boundary,
        )
    )
    return Submission(
        envelope=Envelope(None, (EnvelopeRecipient(sender, Notify.NEVER),), smtputf8=not sender.is_ascii),
        content=replace(content, long_lines=long_lines and _has_long_line(content)),
        account=MAILER,
        peer=submission.peer,
        received_at=now,
    )


def _has_long_line(content: Content) -> bool:
    return isinstance(content.body, bytes) and has_long_line(content.head + content.body)


def _refused(submission: Submission, reply: Reply, id: str, hostname: str) -> tuple[Recipient, ...]:
    """Those whose failure the sender wants to hear of."""
    outcome = Outcome(
        Kind.FAILED,
        Scope.MESSAGE,
        Reason.PERMANENT,
        reply.enhanced or "5.0.0",
        # Ours, not the words of a next server.
        f"{hostname} refused it: {reply}",
        Stage.LOCAL,
    )
    return tuple(
        Recipient(
            id,
            n,
            to.address,
            _NOWHERE,
            State.FAILED,
            submission.received_at,
            notify=to.notify,
            orcpt=to.orcpt,
            last=outcome,
        )
        for n, to in enumerate(submission.envelope.recipients)
        if wants_failure(to.notify)
    )
