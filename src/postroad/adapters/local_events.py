"""Events of one message as lines of JSON for whoever follows it through the local socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from postroad.mail.events import Accepted, Event, HopDeferred, HopFailed, Notified, Removed, Tried
from postroad.mail.timestamps import rfc3339

Line = dict[str, object]


def event_lines(event: Event, by_hop: Mapping[str, Sequence[str]]) -> list[Line]:
    """What a follower is told: a line for every recipient concerned, nothing for other events.

    `by_hop` has the followed recipients by str(Hop): what happens to a hop happens to them.
    """
    match event:
        case Tried():
            return _tried(event)
        case HopDeferred():
            shared = {"attempt": 0, "text": event.text, "host": None, "next": rfc3339(event.until)}
            return [
                {"event": "deferred", "recipient": recipient, **shared}
                for recipient in by_hop.get(event.hop, ())
            ]
        case HopFailed():
            shared = {"attempt": 0, "text": event.text, "host": None, "next": None}
            return [
                {"event": "failed", "recipient": recipient, **shared}
                for recipient in by_hop.get(event.hop, ())
            ]
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
