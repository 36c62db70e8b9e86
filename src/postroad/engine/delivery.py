"""One delivery over one session: transactions until every recipient has an outcome.

A receiver that takes only so many recipients at a time gets the rest in further
transactions on the same session. What replies mean is decided in `mail.classify`.
"""

from __future__ import annotations

from dataclasses import replace

from postroad.mail.classify import judge_transaction
from postroad.mail.commands import Capabilities
from postroad.mail.message import Delivery, EnvelopeRecipient, Instant, Notify, Recipient
from postroad.mail.outcome import Fault, Kind, Outcome, Reason, Stage
from postroad.mail.rules import Rules
from postroad.mail.transaction import Transaction
from postroad.ports.queue import Witness
from postroad.ports.spool import Stored
from postroad.ports.transport import Session

# How a connection goes that nobody used for a while.
_GONE = frozenset({Fault.LOST, Fault.TIMEOUT, Fault.PROTOCOL})


def died_idle(transaction: Transaction) -> bool:
    """Whether the peer had left, or said only goodbye: how an idle session is found closed."""
    if transaction.mail is not None:
        return transaction.mail.code == 421
    trouble = transaction.trouble
    return trouble is not None and trouble.stage is Stage.MAIL and trouble.fault in _GONE


async def send(
    session: Session,
    delivery: Delivery,
    stored: Stored,
    rules: Rules,
    most: int,
    now: Instant,
    witness: Witness,
) -> tuple[list[Outcome | None], bool]:
    """An outcome per recipient, None where the session ended before that recipient's turn;
    and whether the peer had left before the first word.

    At most `most` recipients go into one transaction, fewer when the peer says so
    (RFC 9422 RCPTMAX).
    """
    message, recipients = delivery.message, delivery.recipients
    endpoint, capabilities = session.endpoint, session.capabilities
    outcomes: list[Outcome | None] = [None] * len(recipients)
    size = min(most, capabilities.rcpt_max or most)
    pending = list(range(len(recipients)))
    gone = False
    while pending and (session.usable or len(pending) == len(recipients)):
        batch, pending = pending[:size], pending[size:]
        chosen = recipients if len(batch) == len(recipients) else [recipients[n] for n in batch]
        envelope = message.envelope(tuple([EnvelopeRecipient(r.address, r.notify, r.orcpt) for r in chosen]))
        witness.about(message.id, [r.n for r in chosen])
        done = await session.send(envelope, stored, message.size, message.dotted, witness)
        gone = died_idle(done)
        if gone and any(outcomes):
            # It wanted one transaction only: the rest is for another session.
            return outcomes, False
        verdicts = judge_transaction(done, endpoint, rules, now)
        for n, verdict in zip(batch, verdicts, strict=True):
            recipient = recipients[n]
            outcomes[n] = verdict if recipient.notify is None else _relayed(verdict, recipient, capabilities)
        pending = [n for n in batch if outcomes[n] is None] + pending
    return outcomes, gone


def _relayed(outcome: Outcome | None, recipient: Recipient, capabilities: Capabilities) -> Outcome | None:
    """Delivered to a host that sends no success DSN: then we do (RFC 3461 5.2.2)."""
    if outcome is None or outcome.kind is not Kind.DELIVERED or capabilities.dsn:
        return outcome
    if recipient.notify is None or Notify.SUCCESS not in recipient.notify:
        return outcome
    return replace(outcome, reason=Reason.RELAYED)
