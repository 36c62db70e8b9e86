from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.backoff import (
    AMBIGUOUS_WAIT,
    CLOSEST,
    DAY,
    HOUR,
    MINUTE,
    Again,
    Over,
    RetryPolicy,
    expired,
    expiry,
    next_attempt,
)
from postroad.mail.message import Lane
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.mail.reply import Reply

POLICY = RetryPolicy()
NOW = 1_795_000_000.0
REPLY = Reply(450, ("no",), "4.2.0")


def deferral(
    reason: Reason = Reason.TEMPORARY, scope: Scope = Scope.RECIPIENT, hint: float | None = None
) -> Outcome:
    return Outcome(
        Kind.DEFERRED, scope, reason, "4.2.0", "host mx said: 450 4.2.0 no", Stage.RCPT, REPLY, "mx", hint
    )


def decide(
    outcome: Outcome,
    *,
    attempts: int = 1,
    age: float = 0.0,
    first: float | None = None,
    hints: int = 0,
    spread: float = 0.5,
    policy: RetryPolicy = POLICY,
) -> Again | Over:
    """The decision at NOW for a message of this age; `first` seconds ago it was greylisted first."""
    return next_attempt(
        policy,
        outcome,
        attempts=attempts,
        received_at=NOW - age,
        expires_at=NOW - age + policy.expire_after,
        first_greylisted=None if first is None else NOW - first,
        hints_used=hints,
        now=NOW,
        spread=spread,
    )


def wait(
    outcome: Outcome,
    attempts: int = 1,
    *,
    spread: float = 0.5,
    first: float | None = None,
    hints: int = 0,
    age: float = 0.0,
    policy: RetryPolicy = POLICY,
) -> float:
    again = decide(
        outcome, attempts=attempts, spread=spread, first=first, hints=hints, age=age, policy=policy
    )
    assert isinstance(again, Again)
    return again.due - NOW


def attempts_until_over(outcome: Outcome, seed: int = 1, policy: RetryPolicy = POLICY) -> list[float]:
    """The times of all attempts at a receiver that always answers so, from submission on."""
    random, now, attempts = Random(seed), NOW, 0
    first: float | None = None
    hints, times = 0, []
    while True:
        times.append(now - NOW)
        attempts += 1
        decision = next_attempt(
            policy,
            outcome,
            attempts=attempts,
            received_at=NOW,
            expires_at=NOW + policy.expire_after,
            first_greylisted=first,
            hints_used=hints,
            now=now,
            spread=random.random(),
        )
        if isinstance(decision, Over):
            return times
        assert decision.due > now
        now, attempts = decision.due, decision.attempts
        first, hints = decision.first_greylisted, decision.hints_used


class TestOrdinary:
    @pytest.mark.parametrize(
        ("attempts", "minutes"), [(1, 5), (2, 15), (3, 30), (4, 60), (5, 120), (6, 180), (7, 240), (30, 240)]
    )
    def test_waits_grow_to_four_hours_give_or_take_a_tenth(self, attempts: int, minutes: float) -> None:
        assert wait(deferral(), attempts, spread=0.0) == pytest.approx(minutes * 54)
        assert wait(deferral(), attempts, spread=0.5) == pytest.approx(minutes * 60)
        assert wait(deferral(), attempts, spread=0.999999) == pytest.approx(minutes * 66, abs=0.1)

    def test_an_attempt_that_nobody_counted_waits_like_the_first(self) -> None:
        assert wait(deferral(), 0) == wait(deferral(), 1)

    @pytest.mark.parametrize("seed", range(5))
    def test_about_35_attempts_in_five_days_none_closer_than_four_minutes(self, seed: int) -> None:
        times = attempts_until_over(deferral(), seed)
        assert 33 <= len(times) <= 37
        assert min(later - time for time, later in pairwise(times)) >= CLOSEST
        assert times[-1] == POLICY.expire_after

    def test_what_fails_in_the_same_second_comes_back_over_a_minute(self) -> None:
        random = Random(1)
        seconds = Counter(int(wait(deferral(), spread=random.random())) for _ in range(10_000))
        assert len(seconds) >= 60
        assert max(seconds.values()) < 300

    @pytest.mark.parametrize("kind", [Kind.DELIVERED, Kind.FAILED])
    def test_what_is_no_deferral_is_over_as_it_is(self, kind: Kind) -> None:
        outcome = replace(deferral(), kind=kind)
        assert decide(outcome) == Over(outcome)


class TestClasses:
    @pytest.mark.parametrize(
        ("reason", "minutes"),
        [
            (Reason.DNS, [1, 5, 15, 60, 120]),
            (Reason.THROTTLE, [30, 60, 120, 240, 240]),
            (Reason.BLOCK, [30, 60, 120, 240, 240]),
            (Reason.SPAM, [30, 60, 120, 240, 240]),
            (Reason.FULL, [60, 240, 480, 720, 720]),
            (Reason.NETWORK, [5, 15, 30, 60, 120]),
            (Reason.POLICY, [5, 15, 30, 60, 120]),
            (Reason.AMBIGUOUS, [15.75, 15.75, 30, 60, 120]),
        ],
    )
    def test_a_class_has_waits_of_its_own(self, reason: Reason, minutes: list[float]) -> None:
        waits = [wait(deferral(reason), attempts) / MINUTE for attempts in range(1, 6)]
        assert waits == pytest.approx(minutes)

    @pytest.mark.parametrize(
        "outcome",
        [
            deferral(Reason.NETWORK, Scope.SESSION),
            deferral(Reason.CONNECTIONS, Scope.HOST),
            deferral(Reason.TOO_MANY_RECIPIENTS),
        ],
    )
    def test_a_session_cut_short_is_repeated_within_five_minutes_but_not_for_ever(
        self, outcome: Outcome
    ) -> None:
        assert wait(outcome, 1, spread=0.0) == MINUTE
        assert wait(outcome, 10, spread=0.999) == pytest.approx(5 * MINUTE, abs=1)
        assert wait(outcome, 11) == 4 * HOUR

    def test_a_throttle_said_with_421_still_waits_as_a_throttle(self) -> None:
        assert wait(deferral(Reason.THROTTLE, Scope.SESSION)) == 30 * MINUTE

    @given(st.integers(1, 40), st.floats(0, 1, exclude_max=True))
    def test_a_message_perhaps_delivered_is_never_repeated_before_a_quarter_of_an_hour(
        self, attempts: int, spread: float
    ) -> None:
        assert wait(deferral(Reason.AMBIGUOUS), attempts, spread=spread) >= AMBIGUOUS_WAIT

    @pytest.mark.parametrize("spread", [0.0, 0.5, 0.999])
    def test_broken_tls_is_not_retried_before_plaintext_is_allowed(self, spread: float) -> None:
        assert 300 < wait(deferral(Reason.TLS), spread=spread) < 340
        assert 3600 < wait(deferral(Reason.TLS), 4, spread=spread) < 4000


class TestGreylisting:
    def test_the_first_retry_is_five_minutes_after_the_first_refusal(self) -> None:
        assert 305 <= wait(deferral(Reason.GREYLIST), spread=0.0) <= 310
        assert 305 <= wait(deferral(Reason.GREYLIST), spread=0.999) <= 310

    @pytest.mark.parametrize(("since", "rung"), [(299, 300), (305, 900), (910, 1800), (1810, 3600)])
    def test_the_ladder_counts_from_the_first_refusal(self, since: float, rung: float) -> None:
        assert wait(deferral(Reason.GREYLIST), 2, first=since) == rung - since + 7.5

    def test_after_the_ladder_the_ordinary_waits_follow(self) -> None:
        assert wait(deferral(Reason.GREYLIST), 5, first=3610) == 2 * HOUR

    def test_the_first_refusal_is_remembered(self) -> None:
        first = decide(deferral(Reason.GREYLIST))
        assert isinstance(first, Again)
        assert (first.first_greylisted, first.hints_used, first.attempts) == (NOW, 0, 1)
        other = decide(deferral(), attempts=2, first=400, hints=1)
        assert isinstance(other, Again)
        assert (other.first_greylisted, other.hints_used, other.attempts) == (NOW - 400, 1, 2)

    @pytest.mark.parametrize(
        ("hint", "earliest", "latest"),
        [(900, 905, 910), (1800, 1805, 1810), (60, 65, 70), (10, 15, 20), (1, 6, 11)],
    )
    def test_a_stated_wait_is_kept_with_a_margin(self, hint: float, earliest: float, latest: float) -> None:
        for spread in (0.0, 0.3, 0.999):
            assert earliest <= wait(deferral(Reason.GREYLIST, hint=hint), spread=spread) <= latest

    def test_a_receiver_that_lies_about_the_wait_is_believed_three_times(self) -> None:
        times = attempts_until_over(deferral(Reason.GREYLIST, hint=1.0))
        assert [time < 60 for time in times[:4]] == [True] * 4
        assert 305 <= times[4] <= 310
        assert 905 <= times[5] <= 910

    def test_the_second_attempt_is_never_later_than_four_hours_after_the_first(self) -> None:
        assert wait(deferral(Reason.GREYLIST, hint=6 * HOUR)) == 4 * HOUR
        assert wait(deferral(Reason.GREYLIST, hint=6 * HOUR), 2, first=60) > 6 * HOUR

    def test_maybe_greylisting_turns_ordinary_four_hours_after_the_first_refusal(self) -> None:
        outcome = deferral(Reason.MAYBE_GREYLIST, hint=10)
        assert wait(outcome, 3, first=4 * HOUR - 1) == 17.5
        assert wait(outcome, 3, first=4 * HOUR) == 30 * MINUTE

    def test_hardly_more_than_35_attempts_where_greylisting_never_ends(self) -> None:
        for reason in (Reason.GREYLIST, Reason.MAYBE_GREYLIST):
            assert 33 <= len(attempts_until_over(deferral(reason))) <= 37

    @pytest.mark.parametrize(
        ("delay", "sessions", "latest"), [(300, 2, 310), (900, 3, 910), (1800, 4, 1815), (3600, 5, 3610)]
    )
    def test_what_a_greylister_costs(self, delay: float, sessions: int, latest: float) -> None:
        for seed in range(20):
            times = attempts_until_over(deferral(Reason.GREYLIST), seed)
            passed = next(n for n, time in enumerate(times) if time >= delay)
            assert passed + 1 == sessions
            assert times[passed] <= latest


class TestExpiry:
    def test_the_last_attempt_is_at_the_very_end(self) -> None:
        assert wait(deferral(), 9, age=5 * DAY - HOUR) == HOUR
        assert wait(deferral(Reason.GREYLIST), age=5 * DAY - 60) == 60

    def test_a_try_just_before_the_end_moves_to_the_end(self) -> None:
        assert wait(deferral(), 1, age=5 * DAY - 400) == 400

    def test_then_it_is_over_for_the_last_real_reason(self) -> None:
        decision = decide(deferral(), attempts=36, age=5 * DAY)
        assert isinstance(decision, Over)
        outcome = decision.outcome
        assert (outcome.kind, outcome.reason, outcome.status) == (Kind.FAILED, Reason.EXPIRED, "4.4.7")
        assert outcome.text == "delivery time expired after 5 d; last: host mx said: 450 4.2.0 no"
        assert (outcome.reply, outcome.host) == (REPLY, "mx")

    def test_a_full_mailbox_has_three_days(self) -> None:
        assert isinstance(decide(deferral(Reason.FULL), age=3 * DAY - 1), Again)
        decision = decide(deferral(Reason.FULL), age=3 * DAY)
        assert isinstance(decision, Over)
        assert decision.outcome.reason is Reason.EXPIRED

    def test_hosts_that_refuse_to_talk_to_us_have_four_hours_then_it_failed(self) -> None:
        outcome = deferral(Reason.BLOCK, Scope.HOST)
        assert wait(outcome, 3, age=3 * HOUR) == HOUR
        decision = decide(outcome, age=4 * HOUR)
        assert isinstance(decision, Over)
        assert (decision.outcome.kind, decision.outcome.reason) == (Kind.FAILED, Reason.BLOCK)
        assert decision.outcome.status == "5.2.0"

    def test_a_block_of_one_message_has_its_whole_time(self) -> None:
        assert isinstance(decide(deferral(Reason.BLOCK, Scope.MESSAGE), age=5 * HOUR), Again)

    @pytest.mark.parametrize(
        ("age", "said"),
        [(90, "1.5 min"), (5, "5 s"), (-5, "0 s"), (6 * HOUR, "6 h"), (4.5 * DAY, "4.5 d")],
    )
    def test_what_waited_too_long_names_its_age_and_last_reason(self, age: float, said: str) -> None:
        outcome = expired(deferral(Reason.BLOCK, Scope.HOST), NOW - age, NOW)
        assert outcome.reason is Reason.EXPIRED
        assert outcome.text == f"delivery time expired after {said}; last: host mx said: 450 4.2.0 no"

    def test_what_was_never_tried_says_so(self) -> None:
        outcome = expired(None, NOW - DAY, NOW)
        assert (outcome.kind, outcome.status) == (Kind.FAILED, "4.4.7")
        assert outcome.text == "delivery time expired after 1 d; it was never tried"

    @pytest.mark.parametrize(
        ("lane", "is_dsn", "lasts", "warns"),
        [
            (Lane.NORMAL, False, 5 * DAY, 4 * HOUR),
            (Lane.TRANSACTIONAL, False, 1 * DAY, None),
            (Lane.BULK, False, 2 * DAY, None),
            (Lane.NORMAL, True, 1 * DAY, None),
        ],
    )
    def test_a_lane_decides_how_long_and_whether_to_warn(
        self, lane: Lane, is_dsn: bool, lasts: float, warns: float | None
    ) -> None:
        expected = (NOW + lasts, None if warns is None else NOW + warns)
        assert expiry(POLICY, NOW, lane, is_dsn) == expected

    def test_nothing_lasts_longer_than_configured_or_warns_after_its_end(self) -> None:
        policy = RetryPolicy(expire_after=HOUR)
        assert [expiry(policy, 0, lane, dsn) for lane in Lane for dsn in (False, True)] == [(HOUR, None)] * 6
        assert expiry(RetryPolicy(warn_after=0), 0, Lane.NORMAL, False) == (5 * DAY, None)


OUTCOMES = st.builds(
    deferral,
    st.sampled_from([reason for reason in Reason if reason is not Reason.OK]),
    st.sampled_from(Scope),
    st.none() | st.floats(1, 6 * HOUR),
)


class TestShortSchedules:
    @given(OUTCOMES, st.integers(0, 50), st.floats(0, 1, exclude_max=True))
    def test_no_wait_is_longer_than_configured(self, outcome: Outcome, attempts: int, spread: float) -> None:
        policy = RetryPolicy(schedule=(5.0, 10.0), greylist=(2.0, 4.0))
        assert wait(outcome, attempts, spread=spread, policy=policy) <= 11.5

    def test_a_schedule_of_one_minute_means_one_minute(self) -> None:
        policy = RetryPolicy(schedule=(60.0,))
        for reason in (Reason.TEMPORARY, Reason.NETWORK, Reason.DNS, Reason.THROTTLE, Reason.FULL):
            assert [wait(deferral(reason), n, policy=policy) for n in (1, 5, 30)] == [60.0] * 3

    def test_a_short_ladder_has_a_short_margin(self) -> None:
        policy = RetryPolicy(greylist=(2.0,), schedule=(5.0,))
        assert 2.2 <= wait(deferral(Reason.GREYLIST), policy=policy) <= 2.4

    def test_a_schedule_of_hours_leaves_the_classes_their_waits(self) -> None:
        policy = RetryPolicy(schedule=(MINUTE, 6 * HOUR))
        assert wait(deferral(Reason.FULL), 4, policy=policy) == 12 * HOUR


@given(
    OUTCOMES,
    st.integers(0, 60),
    st.floats(0, 6 * DAY),
    st.none() | st.floats(0, 6 * DAY),
    st.integers(0, 4),
    st.floats(0, 1, exclude_max=True),
)
def test_a_decision_is_later_than_now_and_within_the_messages_time(
    outcome: Outcome, attempts: int, age: float, first: float | None, hints: int, spread: float
) -> None:
    decision = decide(outcome, attempts=attempts, age=age, first=first, hints=hints, spread=spread)
    if isinstance(decision, Over):
        assert decision.outcome.kind is Kind.FAILED
        return
    assert NOW < decision.due <= NOW - age + POLICY.expire_after
    assert decision.hints_used <= max(hints, 3)
    assert decision.attempts == attempts
