"""How many failed logins are too many: counts that leak, as pure functions."""

from __future__ import annotations

from postroad.mail.frozen import dataclass


@dataclass(frozen=True, slots=True)
class LoginLimits:
    """Failures from one address, and on one account, before further attempts are refused unchecked.

    Within `memory` seconds a full count is empty again: it leaks evenly.
    """

    per_address: int = 50
    per_account: int = 20
    memory: float = 3600.0


@dataclass(frozen=True, slots=True)
class Failures:
    """A count at a moment, `at` in monotonic seconds."""

    count: float
    at: float


def left(failures: Failures | None, limit: int, memory: float, now: float) -> float:
    """What of the count has not leaked yet."""
    if failures is None:
        return 0.0
    return max(0.0, failures.count - (now - failures.at) * limit / memory)


def failed(failures: Failures | None, limit: int, memory: float, now: float) -> Failures:
    """One more; never more than the limit, so that nobody waits longer than `memory`."""
    return Failures(min(left(failures, limit, memory, now) + 1, float(limit)), now)


def refuses(failures: Failures | None, limit: int, memory: float, now: float) -> bool:
    """Whether there is no room for one more failure."""
    return left(failures, limit, memory, now) > limit - 1
