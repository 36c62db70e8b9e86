"""What an operator's verbs do to a recipient, and to which: decided here for the daemon, and for a dry run.

Recipients in an attempt are left alone: the attempt says what becomes of them.
"""

from __future__ import annotations

from postroad.mail.frozen import dataclass
from postroad.mail.lifecycle import Happening, ImpossibleStep, State, step
from postroad.mail.message import MAX_REASON, Change, Hold, Instant, Message, Recipient
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.mail.printable import is_text

BY_OPERATOR = Outcome(
    Kind.FAILED, Scope.RECIPIENT, Reason.CANCELLED, "5.7.0", "returned by the operator", Stage.LOCAL
)


@dataclass(frozen=True, slots=True)
class Operation:
    """`happening` None: the state stays, the due time becomes now."""

    happening: Happening | None
    outcome: Outcome | None = None


OPERATIONS = {
    "retry": Operation(None),
    "hold": Operation(Happening.HELD),
    "release": Operation(Happening.RELEASED),
    "delete": Operation(Happening.CANCELLED),
    "bounce": Operation(Happening.FAILED, BY_OPERATOR),
}


def check_reason(reason: str) -> None:
    """ValueError unless it can stand in a line of the queue."""
    if len(reason) > MAX_REASON or not is_text(reason):
        raise ValueError(f"a reason has at most {MAX_REASON} printable characters")


def changed(
    operation: Operation, message: Message, row: Recipient, now: Instant, *, named: bool, reason: str = ""
) -> Change | None:
    """The row after the operation; None where its state, or its sender's schedule, does not allow it.

    `named`: the operator said the message's id. What its sender scheduled (RFC 4865) goes
    early only then. `reason`: why it is to be held.
    """
    handling = message.handling
    until = None if handling is None or (named and operation.happening is None) else handling.hold_until
    if row.state is State.ACTIVE:
        return None
    if operation.happening is None:
        if row.state is not State.WAITING or (until is not None and until > now):
            return None
        state = State.WAITING
    else:
        try:
            state = step(row.state, operation.happening)
        except ImpossibleStep:
            return None
    return Change(
        message=row.message,
        n=row.n,
        state=state,
        due=max(now, until or now) if state is State.WAITING else row.due,
        attempts=row.attempts,
        outcome=operation.outcome,
        at=now,
        first_greylisted=row.first_greylisted,
        hints_used=row.hints_used,
        held=Hold(None, reason, now) if state is State.HELD else None,
    )
