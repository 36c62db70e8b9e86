from __future__ import annotations

from postroad.engine.ready import PATIENCE, Ready
from postroad.mail.message import Delivery, Lane
from tests.support.build import delivery, message, recipient


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


def part(first: int, last: int, number: int = 1) -> Delivery:
    recipients = [recipient(f"b{n}@example.org", n=n) for n in range(first, last)]
    return delivery(message(number), *recipients)


def test_a_message_that_two_claims_cut_in_two_is_one_delivery_again() -> None:
    ready = Ready(together=100)
    for each in (part(0, 60, 1), part(0, 40, 2), part(40, 60, 2), part(0, 60, 3)):
        ready.put(each)
    assert ready.count == 3
    assert [ready.take() for _ in range(3)] == [part(0, 60, 1), part(0, 60, 2), part(0, 60, 3)]


def test_parts_that_no_transaction_takes_together_stay_apart() -> None:
    ready = Ready(together=100)
    ready.put(part(0, 100))
    ready.put(part(100, 101))
    assert [ready.take(), ready.take()] == [part(0, 100), part(100, 101)]


def test_what_was_given_back_is_next() -> None:
    ready = Ready()
    ready.put(one(Lane.NORMAL, 1))
    ready.put_first(one(Lane.NORMAL, 2))
    assert ready.take() == one(Lane.NORMAL, 2)


def test_an_empty_one_gives_nothing() -> None:
    ready = Ready()
    assert ready.take() is None
    assert ready.count == 0


def test_clearing_takes_everything_out() -> None:
    ready = Ready()
    ready.put(one(Lane.BULK))
    ready.put(one(Lane.TRANSACTIONAL))
    assert ready.has(Lane.TRANSACTIONAL)
    assert ready.clear() == [one(Lane.TRANSACTIONAL), one(Lane.BULK)]
    assert ready.count == 0
    assert not ready.has(Lane.TRANSACTIONAL)
    assert ready.take() is None


DOOR, OTHER = "mx1.example.org[192.0.2.1]:25", "mx2.example.org[192.0.2.2]:25"


def test_what_has_to_go_through_one_door_is_taken_there_and_nowhere_else() -> None:
    ready = Ready()
    ready.put(one(Lane.NORMAL, 1), DOOR)
    ready.put(one(Lane.NORMAL, 2))
    assert (ready.bound, ready.count) == (DOOR, 2)
    assert ready.take(OTHER) == one(Lane.NORMAL, 2)
    assert ready.take(OTHER) is None
    assert ready.take(DOOR) == one(Lane.NORMAL, 1)
    assert (ready.bound, ready.count) == (None, 0)


def test_a_higher_lane_goes_before_what_waits_for_a_door() -> None:
    ready = Ready()
    ready.put(one(Lane.BULK, 1), DOOR)
    ready.put(one(Lane.NORMAL, 2))
    assert [ready.take(DOOR), ready.take(DOOR)] == [one(Lane.NORMAL, 2), one(Lane.BULK, 1)]


def test_what_waited_for_a_door_that_does_not_open_goes_through_any() -> None:
    ready = Ready()
    ready.put(one(Lane.NORMAL, 1), DOOR)
    ready.unbind(OTHER)
    assert ready.take(OTHER) is None
    ready.unbind(DOOR)
    assert (ready.bound, ready.take(OTHER), ready.count) == (None, one(Lane.NORMAL, 1), 0)


def test_what_waits_for_a_door_is_there_like_the_rest() -> None:
    ready = Ready()
    bound = one(Lane.TRANSACTIONAL)
    ready.put(bound, DOOR)
    assert ready.has(Lane.TRANSACTIONAL)
    assert ready.holds(bound.recipients[0])
    assert ready.clear() == [bound]
    assert (ready.bound, ready.count) == (None, 0)


def test_its_lane_is_the_most_urgent_that_has_something() -> None:
    ready = Ready()
    assert ready.lane is Lane.BULK
    for lane in (Lane.BULK, Lane.NORMAL, Lane.TRANSACTIONAL):
        ready.put(one(lane), DOOR if lane is Lane.NORMAL else None)
        assert ready.lane is lane
