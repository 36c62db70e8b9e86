"""How many dots are in flight at a time, on a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from postroad.adapters.smtp_dots import LIMIT, QUICK, DotsInFlight
from tests.support.hand_loop import HandLoop, run_by_hand


class Crowd:
    """Connections that have a dot to send, and which of them have sent it, in order."""

    def __init__(self, size: int) -> None:
        self.loop = HandLoop.running()
        dots = DotsInFlight()
        self.slots = [dots.slot() for _ in range(size)]
        self.sent: list[int] = []

    def leaves(self, *numbers: int) -> None:
        for number in numbers:
            self.slots[number].leaves(partial(self.sent.append, number))

    def answered(self, *numbers: int) -> None:
        for number in numbers:
            self.slots[number].answered()

    def withdraw(self, *numbers: int) -> None:
        for number in numbers:
            self.slots[number].withdraw()


def with_crowd(size: int, test: Callable[[Crowd], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(Crowd(size))

    run_by_hand(main)


def test_of_quick_receivers_so_many_at_a_time_and_the_next_when_an_answer_is_read() -> None:
    async def test(crowd: Crowd) -> None:
        crowd.leaves(*range(10))
        assert crowd.sent == [0, 1, 2]
        crowd.answered(1)
        assert crowd.sent == [0, 1, 2, 3]
        crowd.answered(0, 3)
        assert crowd.sent == [0, 1, 2, 3, 4, 5]

    with_crowd(10, test)


def test_a_receiver_that_was_looked_at_in_vain_holds_nobody_up_and_does_not_wait_again() -> None:
    async def test(crowd: Crowd) -> None:
        crowd.leaves(*range(5))
        await crowd.loop.move(QUICK)
        assert crowd.sent == [0, 1, 2, 3, 4]
        crowd.leaves(5, 6)
        assert crowd.sent == [0, 1, 2, 3, 4, 5]
        crowd.answered(0)
        crowd.leaves(0)
        assert crowd.sent == [0, 1, 2, 3, 4, 5, 0]

    with_crowd(7, test)


def test_an_answer_that_came_in_time_and_was_read_late_makes_no_slow_receiver() -> None:
    async def test(crowd: Crowd) -> None:
        crowd.leaves(*range(4))
        # The loop was busy for long; timers come first, then what the sockets have.
        crowd.loop.now += 10 * QUICK
        crowd.loop.call_soon(crowd.answered, 0, 1, 2)
        await crowd.loop.move(0)
        crowd.leaves(0, 1, 2)
        assert crowd.sent == [0, 1, 2, 3, 0, 1]

    with_crowd(4, test)


def test_a_slow_receiver_that_answers_quickly_again_waits_for_its_turn_again() -> None:
    async def test(crowd: Crowd) -> None:
        crowd.leaves(0, 1, 2, 3)
        await crowd.loop.move(QUICK)
        crowd.answered(0)
        crowd.leaves(0)
        crowd.answered(0)
        crowd.leaves(4, 5, 0)
        assert crowd.sent == [0, 1, 2, 3, 0, 4, 5]

    with_crowd(6, test)


def test_who_has_nothing_to_send_any_more_has_no_turn_and_keeps_no_place() -> None:
    async def test(crowd: Crowd) -> None:
        crowd.leaves(*range(6))
        crowd.withdraw(3, 0)
        assert crowd.sent == [0, 1, 2, 4]
        crowd.leaves(3)
        crowd.answered(4, 1)
        assert crowd.sent == [0, 1, 2, 4, 5, 3]
        # It stands in the row twice; its place is counted once.
        crowd.leaves(0)
        assert crowd.sent == [0, 1, 2, 4, 5, 3]

    with_crowd(6, test)


STEPS = st.lists(
    st.tuples(st.sampled_from(["leaves", "answered", "withdraw", "wait"]), st.integers(0, 7)), max_size=60
)


@given(STEPS)
def test_each_dot_leaves_once_unless_it_is_withdrawn_and_while_no_time_passes_never_too_many(
    steps: list[tuple[str, int]],
) -> None:
    async def test(crowd: Crowd) -> None:
        timeless = "wait" not in dict(steps)
        asked: set[int] = set()
        flying: set[int] = set()

        def learn() -> None:
            for number in crowd.sent:
                asked.remove(number)
                flying.add(number)
            crowd.sent.clear()

        for step, number in steps:
            if step == "wait":
                await crowd.loop.move(QUICK)
            elif step == "leaves" and number not in asked | flying:
                asked.add(number)
                crowd.leaves(number)
            elif step == "answered" and number in flying:
                flying.remove(number)
                crowd.answered(number)
            elif step == "withdraw":
                asked.discard(number)
                flying.discard(number)
                crowd.withdraw(number)
            learn()
            assert not timeless or len(flying) <= LIMIT
        for _ in range(3):
            await crowd.loop.move(QUICK)
        learn()
        assert not asked

    with_crowd(8, test)
