from __future__ import annotations

from itertools import product

import pytest

from postroad.mail.lifecycle import TRANSITIONS, Happening, ImpossibleStep, State, step

FINAL = [State.DELIVERED, State.FAILED, State.CANCELLED]


@pytest.mark.parametrize(("state", "happening"), list(product(State, Happening)))
def test_every_pair_is_in_the_table_or_impossible(state: State, happening: Happening) -> None:
    if (state, happening) in TRANSITIONS:
        assert step(state, happening) is TRANSITIONS[state, happening]
    else:
        with pytest.raises(
            ImpossibleStep, match=f"{state.name.lower()} recipient cannot be {happening.value}"
        ):
            step(state, happening)


@pytest.mark.parametrize("state", FINAL)
def test_nothing_leaves_a_final_state(state: State) -> None:
    assert not [key for key in TRANSITIONS if key[0] is state]
    assert not state.is_open


@pytest.mark.parametrize("state", [state for state in State if state.is_open])
def test_every_open_state_can_end(state: State) -> None:
    reachable, seen = {state}, set[State]()
    while reachable - seen:
        here = (reachable - seen).pop()
        seen.add(here)
        reachable |= {after for (before, _), after in TRANSITIONS.items() if before is here}
    assert set(FINAL) <= reachable


def test_only_an_attempt_delivers() -> None:
    assert [before for (before, _), after in TRANSITIONS.items() if after is State.DELIVERED] == [
        State.ACTIVE
    ]


def test_open_states_sort_below_final_ones() -> None:
    assert [state.is_open for state in sorted(State)] == [True, True, True, False, False, False]


@pytest.mark.parametrize("happening", [Happening.HELD, Happening.CANCELLED, Happening.RELEASED])
def test_an_operator_cannot_touch_a_recipient_in_an_attempt(happening: Happening) -> None:
    with pytest.raises(ImpossibleStep):
        step(State.ACTIVE, happening)
