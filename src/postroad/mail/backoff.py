"""When to try next, or that it is over."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The waits, in seconds, of `delivery.md` sections 3 and 4; the last of `schedule` repeats.

    `greylist` counts from the first refusal, `schedule` from the end of the
    failed attempt. `dsn_expire_after` replaces `expire_after` for our own DSNs.
    """

    schedule: tuple[float, ...] = (
        5 * MINUTE,
        15 * MINUTE,
        30 * MINUTE,
        1 * HOUR,
        2 * HOUR,
        3 * HOUR,
        4 * HOUR,
    )
    greylist: tuple[float, ...] = (5 * MINUTE, 15 * MINUTE, 30 * MINUTE, 1 * HOUR)
    expire_after: float = 5 * DAY
    warn_after: float = 4 * HOUR
    dsn_expire_after: float = 1 * DAY
