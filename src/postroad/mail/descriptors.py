"""Whose the descriptors of the process are: a flood at the doors never gets those of queue and deliveries."""

from __future__ import annotations

from typing import Final

from postroad.mail.frozen import dataclass

KEPT: Final = 384
"""Segments, index, log, control socket, listeners, policies, threads; clients on their way out."""
BODIES: Final = 64
"""Large bodies that are received into files at one time, at the least."""
FEWEST: Final = 16
"""Sessions of the doors, however few descriptors there are."""


@dataclass(frozen=True, slots=True)
class Share:
    """`limit` of the process; `needed` by the configuration; `sessions` that the doors may hold.

    `door`: sessions together with the files of bodies that are being received.
    """

    limit: int
    needed: int
    sessions: int
    door: int

    @property
    def enough(self) -> bool:
        return self.limit >= self.needed


def share(limit: int, *, sessions: int, deliveries: int, lookups: int) -> Share:
    """Divide `limit` descriptors.

    `sessions`, `deliveries`, `lookups`: how many the configuration allows at one time. A
    delivery has its connection and perhaps the file of a large body.
    """
    others = KEPT + 2 * deliveries + lookups
    door = max(FEWEST + BODIES, limit - others)
    return Share(limit, others + BODIES + sessions, min(sessions, door - BODIES), door)


def wanting(found: Share) -> str:
    """What too few descriptors mean and how to get more, for people."""
    return (
        f"{found.limit} descriptors, and the configured connections need {found.needed}: the doors will "
        f"hold {found.sessions} clients (raise LimitNOFILE= of the service, or `ulimit -Hn`)"
    )
