"""When to try next, or that it is over.

Every deferral has a class (its `Reason`), and some classes know better than the
ordinary schedule when a try may succeed. Their waits are absolute and made for
schedules that reach hours. Two rules keep an installation with short schedules
(a test, a demonstration, an impatient operator) short:

- the short waits (DNS, a session that was cut off) are never longer than the
  ordinary wait would be;
- no other class waits longer than the longest step of `schedule`, where that is
  below the default's 4 h; greylisting's own waits not longer than the longest of
  `greylist` and `schedule`.
"""

from __future__ import annotations

from dataclasses import replace

from postroad.mail.frozen import dataclass
from postroad.mail.message import Lane
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The waits, in seconds; the last of `schedule` repeats. Neither list is empty.

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


@dataclass(frozen=True, slots=True)
class Again:
    """Try at `due`; the other values are what to store with the recipient."""

    due: float
    attempts: int
    first_greylisted: float | None
    hints_used: int


@dataclass(frozen=True, slots=True)
class Over:
    """No further try: `outcome` is final and names the last real reason."""

    outcome: Outcome


# From the end of the attempt; a class that runs out of these waits as ordinary ones do.
_WAITS: dict[Reason, tuple[float, ...]] = {
    Reason.DNS: (1 * MINUTE, 5 * MINUTE, 15 * MINUTE),
    Reason.THROTTLE: (30 * MINUTE, 1 * HOUR, 2 * HOUR, 4 * HOUR),
    Reason.BLOCK: (30 * MINUTE, 1 * HOUR, 2 * HOUR, 4 * HOUR),
    Reason.SPAM: (30 * MINUTE, 1 * HOUR, 2 * HOUR, 4 * HOUR),
    Reason.FULL: (1 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR),
}
_REPEATING = frozenset({Reason.THROTTLE, Reason.BLOCK, Reason.SPAM, Reason.FULL})
_SHORT = frozenset({Reason.CONNECTIONS, Reason.TOO_MANY_RECIPIENTS})
SHORT_TRIES = 10

# A receiver that lost the connection after the final dot may still be at work on the message.
AMBIGUOUS_WAIT = 15 * MINUTE
FULL_EXPIRES = 3 * DAY
BLOCK_EXPIRES = 4 * HOUR

# Many greylisters forget a first contact that does not come back within 4 h.
SECOND_TRY_WITHIN = 4 * HOUR
MAYBE_FOR = 4 * HOUR
MOST_HINTS = 3
MARGIN = 5.0

CLOSEST = 240.0
_DEFAULT_LONGEST = 4 * HOUR


def class_waits(reason: Reason, attempts: int) -> tuple[float, ...]:
    """The waits of a class that knows better than the ordinary schedule; empty where that decides."""
    waits = _WAITS.get(reason, ())
    return waits if reason in _REPEATING or attempts <= len(waits) else ()


def next_attempt(
    policy: RetryPolicy,
    outcome: Outcome,
    *,
    attempts: int,
    received_at: float,
    expires_at: float,
    first_greylisted: float | None,
    hints_used: int,
    now: float,
    spread: float,
) -> Again | Over:
    """What a deferral at `now` leads to; an outcome that is not a deferral is over.

    `attempts` includes the one that failed. `spread` in [0, 1) keeps apart what
    failed together. The last try is at the very end of the message's time.
    """
    if outcome.kind is not Kind.DEFERRED:
        return Over(outcome)
    end = _end(outcome, received_at, expires_at)
    if now >= end:
        return Over(_over(outcome, now, received_at, expires_at))
    if _is_greylisting(outcome, first_greylisted, now):
        first = now if first_greylisted is None else first_greylisted
        wanted, hints = _greylist_due(policy, outcome, attempts, first, hints_used, now, spread)
        if first_greylisted is None:
            wanted = min(wanted, now + SECOND_TRY_WITHIN)
        return Again(min(wanted, end), attempts, first, hints)
    wanted = now + _wait(policy, outcome, attempts, spread)
    if wanted > end - min(CLOSEST, 0.8 * policy.schedule[0]):
        wanted = end
    return Again(wanted, attempts, first_greylisted, hints_used)


def _end(outcome: Outcome, received_at: float, expires_at: float) -> float:
    if is_shut_out(outcome):
        return min(expires_at, received_at + BLOCK_EXPIRES)
    if outcome.reason is Reason.FULL:
        return min(expires_at, received_at + FULL_EXPIRES)
    return expires_at


def is_shut_out(outcome: Outcome) -> bool:
    """Every host refuses to talk to us (5yz greetings): not a matter of this message."""
    return outcome.reason is Reason.BLOCK and outcome.scope is Scope.HOST


def _over(outcome: Outcome, now: float, received_at: float, expires_at: float) -> Outcome:
    if is_shut_out(outcome) and now < expires_at:
        return replace(outcome, kind=Kind.FAILED, status=f"5{outcome.status[1:]}", hint=None)
    text = f"delivery time expired after {_span(now - received_at)}; last: {outcome.text}"
    return replace(outcome, kind=Kind.FAILED, reason=Reason.EXPIRED, status="4.4.7", text=text, hint=None)


def _span(seconds: float) -> str:
    for unit, size in (("d", DAY), ("h", HOUR), ("min", MINUTE)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def expired(last: Outcome | None, received_at: float, now: float) -> Outcome:
    """The final outcome of a recipient whose time ran out while it waited; `last` is its last, if any."""
    if last is None:
        text = f"delivery time expired after {_span(now - received_at)}; it was never tried"
        return Outcome(Kind.FAILED, Scope.RECIPIENT, Reason.EXPIRED, "4.4.7", text, Stage.LOCAL)
    return _over(last, now, received_at, now)


# --- greylisting -----------------------------------------------------------------


def _is_greylisting(outcome: Outcome, first: float | None, now: float) -> bool:
    if outcome.reason is Reason.MAYBE_GREYLIST:
        return first is None or now - first < MAYBE_FOR
    return outcome.reason is Reason.GREYLIST


def _greylist_due(
    policy: RetryPolicy,
    outcome: Outcome,
    attempts: int,
    first: float,
    hints_used: int,
    now: float,
    spread: float,
) -> tuple[float, int]:
    """The due time and the number of hints followed; a liar must not steer us for ever."""
    margin = min(MARGIN, policy.greylist[0] / 10) * (1 + spread)
    if outcome.hint is not None and hints_used < MOST_HINTS:
        wait = min(outcome.hint, _ceiling((*policy.greylist, *policy.schedule)))
        return now + wait + margin, hints_used + 1
    rung = next((wait for wait in policy.greylist if first + wait > now), None)
    if rung is None:
        return now + _ordinary(policy, attempts, spread), hints_used
    # No jitter of a tenth here: earlier is useless, later wastes.
    return max(first + rung, now) + margin, hints_used


# --- the other classes -----------------------------------------------------------


def _wait(policy: RetryPolicy, outcome: Outcome, attempts: int, spread: float) -> float:
    attempts = max(attempts, 1)
    ordinary = _ordinary(policy, attempts, spread)
    reason = outcome.reason
    longest = _ceiling(policy.schedule)
    waits = _WAITS.get(reason, ())
    if reason in _REPEATING:
        return min(_step(waits, attempts), longest) * _jitter(spread)
    if reason in _SHORT or outcome.scope is Scope.SESSION:
        return min(ordinary, MINUTE + 4 * MINUTE * spread) if attempts <= SHORT_TRIES else ordinary
    if reason is Reason.AMBIGUOUS:
        return max(ordinary, min(AMBIGUOUS_WAIT * (1 + 0.1 * spread), longest))
    if reason is Reason.TLS:
        # Never early: an address whose TLS is broken is tried without it after PATIENCE (mail.health).
        return _step(policy.schedule, attempts) * (1 + 0.1 * spread) + min(MARGIN, policy.schedule[0] / 10)
    if attempts <= len(waits):
        return min(ordinary, _step(waits, attempts) * _jitter(spread))
    return ordinary


def _ordinary(policy: RetryPolicy, attempts: int, spread: float) -> float:
    return _step(policy.schedule, attempts) * _jitter(spread)


def _step(waits: tuple[float, ...], attempts: int) -> float:
    return waits[min(max(attempts, 1), len(waits)) - 1]


def _jitter(spread: float) -> float:
    return 0.9 + 0.2 * spread


def _ceiling(waits: tuple[float, ...]) -> float:
    longest = max(waits)
    return longest if longest < _DEFAULT_LONGEST else float("inf")


# --- the whole life of a message -------------------------------------------------

_LANE_EXPIRES = {Lane.TRANSACTIONAL: 1 * DAY, Lane.BULK: 2 * DAY}


def expiry(policy: RetryPolicy, received_at: float, lane: Lane, is_dsn: bool) -> tuple[float, float | None]:
    """When a message expires, and when a delay DSN is due (None: never).

    Only the normal lane warns: who sends transactional or bulk mail watches events.
    """
    lasts = policy.expire_after
    if is_dsn:
        return received_at + min(lasts, policy.dsn_expire_after), None
    lasts = min(lasts, _LANE_EXPIRES.get(lane, lasts))
    warns = lane is Lane.NORMAL and 0 < policy.warn_after < lasts
    return received_at + lasts, received_at + policy.warn_after if warns else None
