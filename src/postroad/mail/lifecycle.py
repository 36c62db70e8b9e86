"""The states of a recipient and the table of its transitions.

Stored as small integers; final states leave the queue when their message is
settled. What the engine and its operators decide passes `step`; that many rows are
claimed, expire or are returned at once is a statement of the index, by the same table.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class State(IntEnum):
    """Where a recipient stands. The first three are open, the others final."""

    WAITING = 0
    ACTIVE = 1
    HELD = 2
    DELIVERED = 3
    FAILED = 4
    CANCELLED = 5

    @property
    def is_open(self) -> bool:
        return self <= State.HELD


class Happening(StrEnum):
    """`RETURNED`: claimed, and given back untried."""

    CLAIMED = "claimed"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    FAILED = "failed"
    EXPIRED = "expired"
    RETURNED = "returned"
    HELD = "held"
    RELEASED = "released"
    CANCELLED = "cancelled"


class ImpossibleStep(ValueError):
    """A change that the table does not know: a bug, or an operator asking for the impossible."""


TRANSITIONS: dict[tuple[State, Happening], State] = {
    (State.WAITING, Happening.CLAIMED): State.ACTIVE,
    (State.WAITING, Happening.EXPIRED): State.FAILED,
    (State.WAITING, Happening.HELD): State.HELD,
    (State.WAITING, Happening.CANCELLED): State.CANCELLED,
    # A whole site that cannot be reached or resolved defers or fails what waits for it.
    (State.WAITING, Happening.DEFERRED): State.WAITING,
    (State.WAITING, Happening.FAILED): State.FAILED,
    (State.ACTIVE, Happening.DELIVERED): State.DELIVERED,
    (State.ACTIVE, Happening.DEFERRED): State.WAITING,
    (State.ACTIVE, Happening.FAILED): State.FAILED,
    (State.ACTIVE, Happening.EXPIRED): State.FAILED,
    (State.ACTIVE, Happening.RETURNED): State.WAITING,
    (State.HELD, Happening.RELEASED): State.WAITING,
    (State.HELD, Happening.CANCELLED): State.CANCELLED,
    (State.HELD, Happening.FAILED): State.FAILED,
    (State.HELD, Happening.EXPIRED): State.FAILED,
}


def step(state: State, happening: Happening) -> State:
    """The state after `happening`; ImpossibleStep where the table has no such row."""
    try:
        return TRANSITIONS[state, happening]
    except KeyError:
        raise ImpossibleStep(f"a {state.name.lower()} recipient cannot be {happening.value}") from None
