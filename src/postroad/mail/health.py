"""What is remembered of one address of a host: whether to skip it, whether its TLS is broken.

A site spans several addresses; one dead address must not cost every message a
connect timeout, and one whose STARTTLS fails must not hold mail forever where
the route asks for TLS only when it works.
"""

from __future__ import annotations

from dataclasses import replace

from postroad.mail.frozen import dataclass
from postroad.mail.tls import TlsLevel

# The second failure in a row is skipped for this long; a timeout costs more than a refusal.
SKIP_REFUSED = 120.0
SKIP_TIMEOUT = 900.0
SKIP_LONGEST = 1800.0
# Longer than who was cut off waits for another try.
SKIP_LOST = 600.0

PATIENCE = 300.0
PLAINTEXT_FIRST = 3600.0
PLAINTEXT_LONGEST = 3 * 86400.0


@dataclass(frozen=True, slots=True)
class HostHealth:
    """One address's record. Times are Instants; None: it never happened.

    `failures` counts connects in a row, `losses` sessions in a row that broke off in the
    middle. `plaintext_for` is how long the present memory of broken TLS lasts, in seconds.
    """

    failures: int = 0
    losses: int = 0
    skipped_until: float | None = None
    first_tls_failure: float | None = None
    plaintext_until: float | None = None
    plaintext_for: float = 0.0


def reached(health: HostHealth) -> HostHealth:
    """It answered a connect: what was held against it is forgotten, but for its TLS and its losses."""
    return replace(health, failures=0, skipped_until=None)


def unreachable(health: HostHealth, timed_out: bool, now: float) -> HostHealth:
    """A connect failed. From the second in a row the address is skipped, ever longer."""
    failures = health.failures + 1
    first = SKIP_TIMEOUT if timed_out else SKIP_REFUSED
    return _skipping(replace(health, failures=failures), failures, first, now)


def lost(health: HostHealth, now: float) -> HostHealth:
    """A session ended in the middle, without a word. From the second in a row as for connects."""
    losses = health.losses + 1
    return _skipping(replace(health, losses=losses), losses, SKIP_LOST, now)


def served(health: HostHealth) -> HostHealth:
    """It took a message."""
    return replace(health, losses=0)


def _skipping(health: HostHealth, times: int, first: float, now: float) -> HostHealth:
    if times < 2:
        return health
    return replace(health, skipped_until=now + min(first * 2.0 ** min(times - 2, 16), SKIP_LONGEST))


def skipped(health: HostHealth, now: float) -> bool:
    """Whether this address is to be passed over now."""
    return health.skipped_until is not None and now < health.skipped_until


def tls_failed(health: HostHealth, now: float) -> HostHealth:
    """STARTTLS or its handshake failed. After a memory that ran out, plaintext again, twice as long."""
    if health.plaintext_until is not None and now >= health.plaintext_until:
        return fell_back(health, now)
    first = health.first_tls_failure
    if first is None or now - first > PLAINTEXT_LONGEST:
        return replace(health, first_tls_failure=now)
    return health


def tls_worked(health: HostHealth) -> HostHealth:
    """A handshake succeeded: its TLS is not broken, and was not."""
    return replace(health, first_tls_failure=None, plaintext_until=None, plaintext_for=0.0)


def fell_back(health: HostHealth, now: float) -> HostHealth:
    """A session went without TLS after it had failed: remembered 1 h, doubling to 3 d."""
    if health.plaintext_until is not None and now < health.plaintext_until:
        return health
    lasting = min(max(health.plaintext_for * 2, PLAINTEXT_FIRST), PLAINTEXT_LONGEST)
    return replace(health, plaintext_until=now + lasting, plaintext_for=lasting)


def plaintext(health: HostHealth, level: TlsLevel, now: float, patience: float = PATIENCE) -> bool:
    """Whether to go without TLS: never but at OPPORTUNISTIC, and not before it has failed for a while.

    TLS failed at least once, `patience` seconds ago or longer, or the memory of
    an earlier fallback still lasts.
    """
    if level is not TlsLevel.OPPORTUNISTIC:
        return False
    if health.plaintext_until is not None:
        return now < health.plaintext_until
    first = health.first_tls_failure
    return first is not None and patience <= now - first <= PLAINTEXT_LONGEST
