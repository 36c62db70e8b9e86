from __future__ import annotations

from dataclasses import replace
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.mail.throttle import (
    CAP_LASTS,
    CAP_STEP,
    CROWDED_OUT,
    Full,
    Go,
    Limits,
    NotBefore,
    Throttle,
    answered,
    finished,
    opened,
    room,
    started,
    succeeded,
    too_many,
    troubled,
)

LIMITS = Limits()
NOW = 1_795_000_000.0
REFUSED = Outcome(
    Kind.DEFERRED, Scope.HOST, Reason.NETWORK, "4.4.1", "connect: refused", Stage.CONNECT, host="mx"
)


def busy(state: Throttle, connections: int) -> Throttle:
    for _ in range(connections):
        state = started(state)
    return state


def trouble(state: Throttle, now: float = NOW, spread: float = 0.5, limits: Limits = LIMITS) -> Throttle:
    return troubled(state, REFUSED, limits, now, spread)


def paused(limits: Limits = LIMITS) -> Throttle:
    return trouble(Throttle(window=1), limits=limits)


def slots(state: Throttle, now: float = NOW, limits: Limits = LIMITS) -> int:
    answer = room(state, limits, now)
    return answer.slots if isinstance(answer, Go) else 0


class TestWindow:
    def test_a_success_in_a_full_grown_window_after_a_success_changes_nothing(self) -> None:
        grown = busy(Throttle(window=LIMITS.connections), LIMITS.connections)
        assert succeeded(grown, LIMITS) is grown
        assert answered(grown) is grown

    def test_a_full_grown_window_forgets_its_trouble_at_the_first_success(self) -> None:
        limits = Limits(connections=5)
        halved = trouble(busy(Throttle(window=10), 5), limits=limits)
        assert halved.window == 5
        after = succeeded(halved, limits)
        assert (after.window, after.cohort, after.halved) == (5, 0.0, False)

    def test_a_new_site_gets_the_initial_window(self) -> None:
        assert room(opened(LIMITS), LIMITS, NOW) == Go(2)
        assert opened(Limits(connections=1)).window == 1
        assert opened(Limits(initial_window=0)).window == 1

    def test_each_connection_takes_a_slot_until_it_is_closed(self) -> None:
        state = busy(opened(LIMITS), 2)
        assert room(state, LIMITS, NOW) == Full()
        assert room(finished(state), LIMITS, NOW) == Go(1)
        assert finished(opened(LIMITS)).busy == 0

    def test_a_window_of_successes_widens_it_by_one(self) -> None:
        state = busy(opened(LIMITS), 2)
        assert succeeded(state, LIMITS).window == 2
        assert succeeded(succeeded(state, LIMITS), LIMITS).window == 3

    def test_growth_is_linear_in_the_root_of_successes(self) -> None:
        limits = Limits(connections=1000)
        state = opened(limits)
        for _ in range(800):
            state = succeeded(replace(state, busy=state.window), limits)
        assert state.window == pytest.approx(sqrt(2 * 800), abs=3)

    def test_it_never_grows_beyond_the_limit(self) -> None:
        state = replace(opened(LIMITS), busy=10)
        for _ in range(1000):
            state = succeeded(state, LIMITS)
        assert state.window == LIMITS.connections

    def test_an_idle_window_earns_no_credit(self) -> None:
        state = Throttle(window=5, busy=3)
        assert succeeded(state, LIMITS).credit == 0
        assert succeeded(replace(state, busy=4), LIMITS).credit == pytest.approx(0.2)

    def test_a_lowered_limit_holds_at_once(self) -> None:
        assert slots(Throttle(window=10), limits=Limits(connections=3)) == 3
        assert slots(Throttle(window=10), limits=Limits(connections=0)) == 1


class TestTrouble:
    def test_trouble_halves_the_window_once_until_a_success(self) -> None:
        state = trouble(Throttle(window=10))
        assert state.window == 5
        assert trouble(state).window == 5
        assert trouble(succeeded(trouble(state), LIMITS)).window == 2

    def test_a_window_full_of_trouble_pauses_the_site(self) -> None:
        state = trouble(opened(LIMITS))
        assert slots(state) == 1
        assert room(trouble(state), LIMITS, NOW) == NotBefore(NOW + 60, REFUSED)

    def test_a_dead_site_sees_at_most_one_more_than_its_first_window(self) -> None:
        state, connects = busy(opened(LIMITS), 2), 2
        state = finished(trouble(state))
        connects += slots(state)
        state = trouble(state)
        assert connects <= LIMITS.initial_window + 1
        assert slots(state) == 0

    def test_success_between_troubles_keeps_a_half_bad_site_open(self) -> None:
        state = Throttle(window=4, busy=4)
        for _ in range(50):
            state = succeeded(trouble(state), LIMITS)
        assert state.paused_until is None

    @pytest.mark.parametrize(("spread", "pause"), [(0.0, 54), (0.5, 60), (0.999999, 66)])
    def test_pauses_differ_by_a_tenth(self, spread: float, pause: float) -> None:
        state = trouble(Throttle(window=1), spread=spread)
        assert state.paused_until == pytest.approx(NOW + pause, abs=0.01)

    def test_trouble_of_older_connections_does_not_lengthen_a_pause(self) -> None:
        state = paused()
        assert trouble(state, NOW + 1) == state


class TestPause:
    def test_after_it_exactly_one_probe_goes(self) -> None:
        state = paused()
        assert room(state, LIMITS, NOW + 59.9) == NotBefore(NOW + 60, REFUSED)
        assert room(state, LIMITS, NOW + 60) == Go(1)
        assert room(started(state), LIMITS, NOW + 60) == Full()

    def test_a_failed_probe_doubles_it_up_to_the_longest(self) -> None:
        state, now, pauses = paused(), NOW, []
        for _ in range(7):
            assert state.paused_until is not None
            pauses.append(state.paused_until - now)
            now = state.paused_until
            state = finished(trouble(started(state), now))
        assert pauses == [60, 120, 240, 480, 960, 1800, 1800]

    def test_a_probe_that_delivers_opens_the_site_with_a_window_of_one(self) -> None:
        state = succeeded(started(paused()), LIMITS)
        assert (state.window, state.paused_until, state.why, state.failures) == (1, None, None, 0)
        assert room(finished(state), LIMITS, NOW) == Go(1)

    def test_a_probe_whose_message_is_refused_opens_it_too(self) -> None:
        assert answered(started(paused())) == succeeded(started(paused()), LIMITS)

    def test_a_probe_that_proves_nothing_is_followed_by_another(self) -> None:
        assert room(finished(started(paused())), LIMITS, NOW + 60) == Go(1)

    def test_full_speed_is_back_within_sixty_deliveries(self) -> None:
        state = succeeded(started(paused()), LIMITS)
        for _ in range(60):
            state = succeeded(replace(state, busy=state.window), LIMITS)
        assert state.window == LIMITS.connections

    def test_a_pause_set_longer_than_the_longest_is_kept(self) -> None:
        limits = Limits(pause_first=3600, pause_longest=60)
        assert paused(limits).paused_until == NOW + 3600


class TestTooMany:
    def test_what_remains_open_is_the_cap_for_an_hour(self) -> None:
        state = too_many(Throttle(window=10, busy=6), NOW)
        assert slots(replace(state, busy=0)) == 5
        assert slots(replace(state, busy=0, window=10), NOW + CAP_LASTS - 1) == 5

    @pytest.mark.parametrize(("steps", "cap"), [(0, 6), (1, 7), (3, 9), (4, 10), (50, 10)])
    def test_then_it_rises_by_one_each_ten_minutes(self, steps: int, cap: int) -> None:
        state = replace(too_many(Throttle(window=10, busy=6), NOW), window=10, busy=0)
        assert slots(state, NOW + CAP_LASTS + steps * CAP_STEP) == cap

    def test_refusals_that_arrive_together_only_lower_it(self) -> None:
        state = too_many(replace(too_many(Throttle(window=10, busy=6), NOW), busy=9), NOW)
        assert state.cap == 5

    def test_after_the_hour_a_refusal_sets_it_anew(self) -> None:
        state = too_many(Throttle(window=10, busy=3), NOW)
        assert too_many(replace(state, busy=5), NOW + CAP_LASTS + 2 * CAP_STEP).cap == 4

    def test_when_not_even_one_is_let_in_the_site_rests_a_minute(self) -> None:
        state = too_many(Throttle(window=2, busy=1), NOW, REFUSED)
        assert room(state, LIMITS, NOW) == NotBefore(NOW + CROWDED_OUT, REFUSED)

    def test_a_server_that_allows_five_is_met_with_few_refusals(self) -> None:
        limits, state, refused, now = Limits(connections=20), opened(Limits(connections=20)), 0, NOW
        for _ in range(2000):
            now += 1
            for _ in range(slots(state, now, limits)):
                state = started(state)
                if state.busy > 5:
                    state = finished(too_many(state, now))
                    refused += 1
            state = succeeded(state, limits)
        assert refused <= 20
        assert state.busy == 5


FACTS = st.sampled_from(["started", "finished", "succeeded", "answered", "troubled", "too_many", "wait"])


@given(st.lists(FACTS, max_size=60))
def test_whatever_happens_the_state_stays_within_its_limits(facts: list[str]) -> None:
    state, now = opened(LIMITS), NOW
    for fact in facts:
        if fact == "started" and slots(state, now):
            state = started(state)
        elif fact == "finished":
            state = finished(state)
        elif fact == "succeeded":
            state = succeeded(state, LIMITS)
        elif fact == "answered":
            state = answered(state)
        elif fact == "troubled":
            state = trouble(state, now)
        elif fact == "too_many":
            state = too_many(state, now)
        else:
            now += 45
        assert 1 <= state.window <= LIMITS.connections
        assert 0 <= state.busy <= LIMITS.connections
        assert state.paused_until is None or state.paused_until <= now + 1.1 * LIMITS.pause_longest
