"""Descriptors are divided so that those of queue and deliveries are never the doors'."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.descriptors import BODIES, FEWEST, KEPT, share, wanting

COUNTS = st.integers(1, 100_000)


@given(st.integers(0, 1 << 30), COUNTS, COUNTS, COUNTS)
def test_the_doors_never_get_what_the_others_need(
    limit: int, sessions: int, deliveries: int, lookups: int
) -> None:
    found = share(limit, sessions=sessions, deliveries=deliveries, lookups=lookups)
    others = KEPT + 2 * deliveries + lookups
    assert found.sessions <= sessions
    assert found.door + others <= limit or found.door == FEWEST + BODIES
    assert found.sessions + BODIES <= found.door
    assert found.enough == (found.sessions == sessions and limit >= found.needed)


def test_the_defaults_fit_into_the_usual_hard_limit() -> None:
    assert share(4096, sessions=1000, deliveries=500, lookups=128).enough


def test_too_few_are_told_with_what_they_mean() -> None:
    found = share(1700, sessions=1000, deliveries=500, lookups=128)
    assert wanting(found).startswith(
        "1700 descriptors, and the configured connections need 2576: the doors will hold 124 clients"
    )
