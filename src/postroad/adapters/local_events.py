"""Events of one message as lines of JSON for whoever follows it through the local socket."""

from __future__ import annotations

from postroad.mail.events import Accepted, Event, HopDeferred, HopFailed, Notified, Removed, Tried
from postroad.mail.timestamps import rfc3339

Line = dict[str, object]


def event_lines(event: Event) -> list[Line]:
    """What a follower is told: one line an outcome, nothing for events that are not about mail on its way."""
    match event:
        case Tried():
            return _tried(event)
        case HopDeferred():
            return [{"event": "waiting", "hop": event.hop, "text": event.text, "next": rfc3339(event.until)}]
        case HopFailed():
            return [{"event": "hop-failed", "hop": event.hop, "text": event.text}]
        case Notified():
            return [{"event": "notified", "kind": event.kind, "dsn": event.dsn, "to": event.to}]
        case Accepted():
            return [{"event": "accepted", "id": event.id, "size": event.size}]
        case Removed():
            return [{"event": "settled", "id": event.id}]
        case _:
            return []


def _tried(event: Tried) -> list[Line]:
    attempt = event.attempt
    tls = attempt.tls
    return [
        {
            "event": outcome.kind.value,
            "id": recipient.message,
            "recipient": str(recipient.address),
            "attempt": recipient.attempts,
            "status": outcome.status,
            "text": outcome.text,
            "reason": outcome.reason.value,
            "host": outcome.host or (str(attempt.endpoint) if attempt.endpoint else None),
            "tls": f"{tls.version} {tls.cipher}" if tls else None,
            "next": None if due is None else rfc3339(due),
        }
        for recipient, outcome, due in zip(
            attempt.delivery.recipients, attempt.outcomes, event.next_due, strict=True
        )
    ]
