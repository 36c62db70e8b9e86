"""What MAIL may ask of a message's whole way: RFC 8689 REQUIRETLS, 4865 FUTURERELEASE, 6710 MT-PRIORITY.

What a client wrote is `Asks`; within what is allowed it becomes `Handling`, which
stays with the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from postroad.mail.frozen import dataclass
from postroad.mail.message import Handling, Instant, Lane, Seconds
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.mail.timestamps import rfc3339

REQUIRETLS = "REQUIRETLS"
HOLD_PARAMETERS = frozenset({"HOLDFOR", "HOLDUNTIL"})
PRIORITY = "MT-PRIORITY"
PARAMETERS = HOLD_PARAMETERS | {REQUIRETLS, PRIORITY}

_SECONDS = re.compile(r"[1-9][0-9]{0,8}")
_PRIORITY = re.compile(r"-?[1-9]|0")
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


class HandlingError(ValueError):
    """What is asked is malformed or not allowed; the text says which, `enhanced` as RFC 3463 does."""

    def __init__(self, text: str, enhanced: str = "5.5.4") -> None:
        super().__init__(text)
        self.enhanced = enhanced


@dataclass(frozen=True, slots=True)
class Asks:
    """As the parameters say it: `hold_for` in seconds from acceptance, or `hold_until`, never both."""

    requiretls: bool = False
    priority: int | None = None
    hold_for: Seconds | None = None
    hold_until: Instant | None = None


@dataclass(frozen=True, slots=True)
class HandlingLimits:
    """What a client may ask at most, and which priorities leave the normal lane.

    `max_hold` 0: nothing is held. From `transactional` on a message is transactional,
    up to `bulk` it is bulk: by default as the profile MIXER has it (RFC 6710, appendix).
    """

    max_hold: Seconds = 30 * 86400.0
    max_priority: int = 9
    transactional: int = 4
    bulk: int = -4


def parse_asks(parameters: Mapping[str, str | None]) -> Asks | None:
    """From MAIL's parameters by upper-case name; None where none of these is given. Raises HandlingError."""
    if PARAMETERS.isdisjoint(parameters):
        return None
    if parameters.get(REQUIRETLS) is not None:
        raise HandlingError("REQUIRETLS takes no value")
    if parameters.keys() >= HOLD_PARAMETERS:
        raise HandlingError("HOLDFOR or HOLDUNTIL, not both")
    return Asks(
        REQUIRETLS in parameters,
        _priority(parameters[PRIORITY]) if PRIORITY in parameters else None,
        _seconds(parameters["HOLDFOR"]) if "HOLDFOR" in parameters else None,
        _date(parameters["HOLDUNTIL"]) if "HOLDUNTIL" in parameters else None,
    )


def _priority(value: str | None) -> int:
    if value is None or not _PRIORITY.fullmatch(value):
        # RFC 6710 4.1 asks for this code.
        raise HandlingError("MT-PRIORITY is a number from -9 to 9", "5.5.2")
    return int(value)


def _seconds(value: str | None) -> Seconds:
    if value is None or not _SECONDS.fullmatch(value):
        raise HandlingError("HOLDFOR is a number of seconds, at most nine digits")
    return float(value)


def _date(value: str | None) -> Instant:
    try:
        if value is not None and _DATE.fullmatch(value.upper()):
            return datetime.fromisoformat(value.upper().replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        pass
    raise HandlingError("HOLDUNTIL is a date such as 2026-11-30T08:00:00Z (RFC 3339)")


def settle(asks: Asks, now: Instant, limits: HandlingLimits) -> Handling:
    """What is granted. A priority too high is lowered, a date that has passed holds nothing back.

    Raises HandlingError where a message would be held too long.
    """
    until = asks.hold_until if asks.hold_for is None else now + asks.hold_for
    if until is not None and until > now + limits.max_hold:
        latest = rfc3339(now + limits.max_hold)
        raise HandlingError(f"A message is held {limits.max_hold:.0f} seconds at most, now until {latest}")
    priority = None if asks.priority is None else min(asks.priority, limits.max_priority)
    if until is not None and until <= now:
        until = None
    return Handling(asks.requiretls, priority, until, asks.hold_for)


def lane_of(handling: Handling | None, limits: HandlingLimits) -> Lane:
    """The lane that a message asks for by its priority."""
    if handling is None or handling.priority is None:
        return Lane.NORMAL
    if handling.priority >= limits.transactional:
        return Lane.TRANSACTIONAL
    return Lane.BULK if handling.priority <= limits.bulk else Lane.NORMAL


def scheduled(until: Instant) -> Outcome:
    """Why a message that its sender has put off waits."""
    text = f"scheduled by the sender until {rfc3339(until)}"
    return Outcome(Kind.DEFERRED, Scope.MESSAGE, Reason.SCHEDULED, "4.0.0", text, Stage.LOCAL)
