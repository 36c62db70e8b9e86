"""Instants as text for people and programs (RFC 3339)."""

from __future__ import annotations

from datetime import UTC, datetime

from postroad.mail.message import Instant

# datetime ends with the year 9999; what is later can only be a mistake and is shown as the end.
_LAST = 253402300799.0


def rfc3339(instant: Instant) -> str:
    """UTC to the second: "2026-11-23T01:15:12Z"."""
    at = datetime.fromtimestamp(min(max(instant, 0.0), _LAST), UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
