"""How the queue is shown: as JSON with stable keys, or for people."""

from __future__ import annotations

from collections.abc import Sequence

from postroad.adapters.sqlite_reader import Past
from postroad.cli.text import age, count, octets
from postroad.mail.lifecycle import State
from postroad.mail.message import Handling, Hold, Instant, Message, Recipient
from postroad.mail.timestamps import rfc3339

Row = dict[str, object]


def row(message: Message, recipient: Recipient) -> Row:
    """One recipient as `queue list --json` has it; `sender` "" is the null reverse-path."""
    # What an attempt met is not why it waits while somebody holds it.
    last = recipient.last if recipient.held is None else None
    return {
        "id": message.id,
        "sender": str(message.sender or ""),
        "recipient": str(recipient.address),
        "size": message.size,
        "arrived": rfc3339(message.received_at),
        "state": recipient.state.name.lower(),
        "attempts": recipient.attempts,
        "next_attempt": rfc3339(recipient.due) if recipient.state is State.WAITING else None,
        "site": str(recipient.hop),
        "reason": recipient.reason,
        "status": last.status if last else None,
        "host": last.host if last else None,
        "account": message.account,
        "expires": rfc3339(message.expires_at),
        "held": recipient.held and _hold(recipient.held),
    }


def _hold(hold: Hold) -> Row:
    """`policy` null: an operator holds it."""
    return {"policy": hold.policy, "reason": hold.reason or None, "since": _instant(hold.at)}


def details(message: Message, recipients: Sequence[Recipient], past: Sequence[Past] = ()) -> Row:
    """One message with all its recipients as `queue show --json` has it."""
    return {
        "id": message.id,
        "sender": str(message.sender or ""),
        "account": message.account,
        "size": message.size,
        "arrived": rfc3339(message.received_at),
        "expires": rfc3339(message.expires_at),
        "lane": message.lane.name.lower(),
        "body": message.body.value,
        "smtputf8": message.smtputf8,
        "envid": message.envid,
        **_handling(message),
        "recipients": [
            row(message, recipient)
            | {
                "last_attempt": _instant(recipient.last_attempt_at),
                "history": [_attempt(each) for each in past if each.n == recipient.n],
            }
            for recipient in recipients
        ],
    }


def _attempt(past: Past) -> Row:
    """An attempt that did not deliver; `steps` are seconds, in their order."""
    trace, outcome = past.trace, past.outcome
    return {
        "number": past.number,
        "started": rfc3339(trace.started),
        "finished": rfc3339(trace.finished),
        "host": trace.host,
        "tls": trace.tls,
        "stage": outcome.stage.value,
        "reason": outcome.reason.value,
        "status": outcome.status,
        "text": outcome.text,
        "reply": None if outcome.reply is None else str(outcome.reply),
        "steps": [{"step": name, "seconds": round(seconds, 3)} for name, seconds in trace.steps],
    }


def _handling(message: Message) -> Row:
    asked = message.handling or Handling()
    return {
        "requiretls": asked.requiretls,
        "priority": asked.priority,
        "scheduled": _instant(asked.hold_until),
    }


def _instant(at: Instant | None) -> str | None:
    return None if at is None else rfc3339(at)


def listing(message: Message, recipient: Recipient, now: Instant) -> list[str]:
    """Two lines about one recipient: what it is, and why and until when it waits."""
    head = (
        f"{message.id}  {age(now - message.received_at):>6}  {octets(message.size):>6}  "
        f"{recipient.state.name.lower():<7}  {message.sender or '<>'} -> {recipient.address}"
    )
    return [head, f"    {fate(recipient, now)}"]


def fate(recipient: Recipient, now: Instant) -> str:
    """Where a recipient stands, why, and until when."""
    last = recipient.last
    reason = f": {last.text}" if last else ""
    via = f" via {recipient.hop}" if str(recipient.hop) != recipient.address.domain else ""
    tried = f"{count(recipient.attempts, 'attempt')}{via}"
    match recipient.state:
        case State.WAITING if not recipient.attempts:
            return f"not tried yet{via}, due {_when(recipient.due, now)}{reason}"
        case State.WAITING:
            return f"{tried}, next {_when(recipient.due, now)}{reason}"
        case State.ACTIVE:
            return f"being delivered{via}{reason}"
        case State.HELD:
            return f"{recipient.held or 'held'}; until released, {tried}{reason}"
        case _:
            return f"{recipient.state.name.lower()}, {tried}{reason}"


def _when(due: Instant, now: Instant) -> str:
    return f"in {age(due - now)}" if due - now >= 1 else "now"


def description(
    message: Message, recipients: Sequence[Recipient], past: Sequence[Past], now: Instant
) -> list[str]:
    """One message for people."""
    lines = [
        f"id         {message.id}",
        f"sender     {message.sender or '<>'}",
        f"account    {message.account}",
        f"size       {octets(message.size)} ({message.size} octets)",
        f"arrived    {rfc3339(message.received_at)} ({age(now - message.received_at)} ago)",
        f"expires    {rfc3339(message.expires_at)}",
    ]
    lines += _asked(message)
    for recipient in recipients:
        lines += [f"recipient  {recipient.address}  [{recipient.state.name.lower()}]"]
        lines += [f"           {fate(recipient, now)}"]
        if recipient.last and recipient.last.host:
            lines += [f"           by {recipient.last.host}, status {recipient.last.status}"]
        for each in past:
            if each.n == recipient.n:
                lines += _told(each)
    return lines


def _told(past: Past) -> list[str]:
    """An attempt: when and where, what came of it, what the time went to."""
    trace, outcome = past.trace, past.outcome
    where = trace.host or "nobody was reached"
    tls = f" over {trace.tls}" if trace.tls else ""
    steps = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in trace.steps)
    return [
        f"  attempt {past.number:<3} {rfc3339(trace.started)}  {where}{tls}",
        f"              {outcome.status} {outcome.reason}, at {outcome.stage}: {outcome.text}",
        f"              {steps}",
    ]


def _asked(message: Message) -> list[str]:
    """What the sender asked of the message's whole way, where anything."""
    asked = message.handling
    if asked is None:
        return []
    lines = [] if asked.hold_until is None else [f"scheduled  {rfc3339(asked.hold_until)}"]
    if asked.priority is not None:
        lines.append(f"priority   {asked.priority} ({message.lane.name.lower()} lane)")
    return [*lines, "requires   TLS on its whole way"] if asked.requiretls else lines
