"""A site's window, pauses and pace: a state, and what a fact makes of it.

The window grows by one when a whole window of deliveries succeeded and halves at
the first trouble after a success; troubles that add up to a whole window pause
the site. A pause ends with one probe: its success opens the site with a window
of one, its failure doubles the pause. Only trouble with the *site* counts here
(connect, TLS, greeting, 421 before MAIL): greylisting and what a receiver says
of a recipient or a message never do.
"""

from __future__ import annotations

from dataclasses import field, replace

from postroad.mail.frozen import dataclass
from postroad.mail.outcome import Outcome

# After "too many connections": this long at the lowered cap, then one more each step.
CAP_LASTS = 3600.0
CAP_STEP = 600.0
# The very first connection was one too many: others use up what the site allows us.
CROWDED_OUT = 60.0
_WHOLE = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Limits:
    """What one site may be asked to bear.

    Times are seconds. `messages_per_connection` and `connection_lifetime` end
    the reuse of a connection, `idle_timeout` closes one that has nothing to do.
    """

    connections: int = 10
    initial_window: int = 2
    messages_per_connection: int = 100
    connection_lifetime: float = 300.0
    idle_timeout: float = 5.0
    recipients_per_transaction: int = 100
    pause_first: float = 60.0
    pause_longest: float = 1800.0


@dataclass(frozen=True, slots=True)
class Throttle:
    """The state of one site. `busy` counts connections, from before the connect until closed.

    `credit` is the part of a window that succeeded, `cohort` the part that met
    trouble since the last success, `halved` whether that halved the window.
    `cap` is the lowered maximum, full until `capped_until` and rising after;
    None: no cap but the limits. `failures` counts pauses since the last success.
    For people: `since` when it is paused, and what taught the cap, when.
    """

    window: int = 2
    busy: int = 0
    credit: float = 0.0
    cohort: float = 0.0
    halved: bool = False
    cap: int | None = None
    capped_until: float = 0.0
    paused_until: float | None = None
    why: Outcome | None = None
    probing: bool = False
    failures: int = 0
    since: float | None = field(default=None, compare=False)
    capped: Outcome | None = field(default=None, compare=False)
    capped_at: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Go:
    """So many more connections may open now."""

    slots: int


@dataclass(frozen=True, slots=True)
class NotBefore:
    """The site is paused until `at`, because of `why`, and has been `since`."""

    at: float
    why: Outcome | None
    since: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Full:
    """As many connections as the site may have are open: ask again when one ends or succeeds."""


FULL = Full()


def opened(limits: Limits) -> Throttle:
    """A site never seen."""
    return Throttle(window=max(1, min(limits.initial_window, limits.connections)))


def started(state: Throttle) -> Throttle:
    """A connection takes its slot, before the connect. After a pause it is the probe."""
    return replace(state, busy=state.busy + 1, probing=state.paused_until is not None)


def finished(state: Throttle) -> Throttle:
    """A connection is closed. A probe that proved nothing may be followed by another."""
    busy = max(0, state.busy - 1)
    return replace(state, busy=busy, probing=state.probing and busy > 0)


def answered(state: Throttle) -> Throttle:
    """The site served a session, whatever it said of the message: a pause is over."""
    if state.paused_until is None:
        # Nearly always so, for every message.
        if not state.cohort and not state.halved:
            return state
        return replace(state, cohort=0.0, halved=False)
    return replace(_anew(state), paused_until=None, why=None, failures=0)


def _anew(state: Throttle) -> Throttle:
    """One connection at first, and what went before forgotten."""
    return replace(state, window=1, credit=0.0, cohort=0.0, halved=False, probing=False)


def succeeded(state: Throttle, limits: Limits) -> Throttle:
    """A delivery succeeded. Credit only counts when the window is in use and may still grow."""
    if state.paused_until is not None:
        return answered(state)
    credit, window = state.credit, state.window
    if state.busy >= window - 1 and window != limits.connections:
        credit += 1 / window
        if credit >= _WHOLE:
            credit, window = max(0.0, credit - 1), max(1, min(window + 1, limits.connections))
    elif not (state.cohort or state.halved or state.failures):
        return state
    return replace(state, credit=credit, window=window, cohort=0.0, halved=False, failures=0)


def troubled(state: Throttle, outcome: Outcome, limits: Limits, now: float, spread: float) -> Throttle:
    """The site failed on every endpoint. `spread` in [0, 1) varies the pause by 10 % either way.

    Trouble of connections opened before a pause does not lengthen it.
    """
    if state.paused_until is not None:
        return _paused(state, outcome, limits, now, spread) if state.probing else state
    cohort = state.cohort + 1 / state.window
    if cohort >= _WHOLE:
        return _paused(state, outcome, limits, now, spread)
    window = state.window if state.halved else max(1, state.window // 2)
    return replace(state, cohort=cohort, window=window, halved=True, credit=0.0)


def _paused(state: Throttle, outcome: Outcome, limits: Limits, now: float, spread: float) -> Throttle:
    longest = max(limits.pause_first, limits.pause_longest)
    pause = min(limits.pause_first * 2.0 ** min(state.failures, 32), longest)
    until = now + pause * (0.9 + 0.2 * spread)
    return replace(_anew(state), paused_until=until, why=outcome, failures=state.failures + 1, since=now)


def too_many(state: Throttle, now: float, outcome: Outcome | None = None) -> Throttle:
    """The site said "too many connections" while so many were open, the refused one included.

    The rest may stay. With no other open, the site is paused for a minute.
    """
    cap = max(1, state.busy - 1)
    if state.cap is not None and now < state.capped_until:
        cap = min(cap, state.cap)
    state = replace(
        state,
        cap=cap,
        capped_until=now + CAP_LASTS,
        window=max(1, min(state.window, cap)),
        credit=0.0,
        capped=outcome,
        capped_at=now,
    )
    if state.busy > 1:
        return state
    return replace(state, paused_until=now + CROWDED_OUT, why=outcome, probing=False, since=now)


def woken(state: Throttle, now: float) -> Throttle:
    """An operator wants a try now: a pause ends early, with its probe."""
    if state.paused_until is None:
        return state
    return replace(state, paused_until=min(state.paused_until, now))


def room(state: Throttle, limits: Limits, now: float) -> Go | NotBefore | Full:
    """May a connection open now: how many, or when and why not, or not while so many are open."""
    if state.paused_until is not None:
        if now < state.paused_until:
            return NotBefore(state.paused_until, state.why, state.since)
        return FULL if state.probing else Go(1)
    slots = state.window - state.busy
    if slots > 0:
        slots = min(slots, _cap(state, limits, now) - state.busy)
    return Go(slots) if slots > 0 else FULL


def allowed(state: Throttle, limits: Limits, now: float) -> int:
    """How many connections may be open now."""
    return 1 if state.paused_until is not None else min(state.window, _cap(state, limits, now))


def _cap(state: Throttle, limits: Limits, now: float) -> int:
    most = max(1, limits.connections)
    if state.cap is None:
        return most
    risen = 0 if now < state.capped_until else 1 + int((now - state.capped_until) // CAP_STEP)
    return min(most, state.cap + risen)
