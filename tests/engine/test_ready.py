from __future__ import annotations

from postroad.engine.ready import PATIENCE, Ready
from postroad.mail.message import Delivery, Lane
from tests.support.build import delivery, message


def one(lane: Lane, number: int = 1) -> Delivery:
    return delivery(message(number, lane=lane))


def test_a_higher_lane_goes_first_whatever_came_first() -> None:
    ready = Ready()
    for lane in (Lane.BULK, Lane.NORMAL, Lane.TRANSACTIONAL):
        ready.put(one(lane))
    taken = [ready.take() for _ in range(3)]
    assert [each.message.lane for each in taken if each] == list(Lane)


def test_within_a_lane_first_come_first_served() -> None:
    ready = Ready()
    deliveries = [one(Lane.NORMAL, n) for n in range(3)]
    for each in deliveries:
        ready.put(each)
    assert [ready.take() for _ in range(3)] == deliveries


def test_every_sixteenth_take_goes_to_the_lowest_lane_that_has_something() -> None:
    ready = Ready()
    for n in range(40):
        ready.put(one(Lane.TRANSACTIONAL, n))
        ready.put(one(Lane.BULK, n))
    lanes = [taken.message.lane for _ in range(2 * PATIENCE) if (taken := ready.take())]
    assert [n for n, lane in enumerate(lanes, 1) if lane is Lane.BULK] == [PATIENCE, 2 * PATIENCE]


def test_what_was_given_back_is_next() -> None:
    ready = Ready()
    ready.put(one(Lane.NORMAL, 1))
    ready.put_first(one(Lane.NORMAL, 2))
    assert ready.peek() == one(Lane.NORMAL, 2)
    assert ready.take() == one(Lane.NORMAL, 2)


def test_an_empty_one_gives_nothing() -> None:
    ready = Ready()
    assert ready.take() is None
    assert ready.peek() is None
    assert len(ready) == 0


def test_clearing_takes_everything_out() -> None:
    ready = Ready()
    ready.put(one(Lane.BULK))
    ready.put(one(Lane.TRANSACTIONAL))
    assert ready.has(Lane.TRANSACTIONAL)
    assert ready.clear() == [one(Lane.TRANSACTIONAL), one(Lane.BULK)]
    assert len(ready) == 0
    assert not ready.has(Lane.TRANSACTIONAL)
    assert ready.take() is None
