from __future__ import annotations

from postroad.engine.idlers import Idlers
from postroad.engine.slots import Slots
from tests.support.build import delivery

DOOR, OTHER = "mx1.example.org[192.0.2.1]:25", "mx2.example.org[192.0.2.2]:25"


async def test_work_goes_to_the_connection_that_idled_least_long() -> None:
    idlers = Idlers(Slots(9))
    first, second = idlers.wait(DOOR), idlers.wait(DOOR)
    assert idlers.give(delivery(), None)
    assert (first.done(), second.result()) == (False, delivery())
    assert idlers.give(delivery(), None)
    assert not idlers.give(delivery(), None)


async def test_what_has_to_go_through_a_door_is_given_there() -> None:
    idlers = Idlers(Slots(9))
    there, elsewhere = idlers.wait(DOOR), idlers.wait(OTHER)
    assert idlers.give(delivery(), DOOR)
    assert not idlers.give(delivery(), DOOR)
    assert (there.done(), elsewhere.done()) == (True, False)


async def test_who_has_gone_is_given_nothing() -> None:
    idlers = Idlers(Slots(9))
    closed, left = idlers.wait(DOOR), idlers.wait(DOOR)
    closed.cancel()
    idlers.stop_waiting(left)
    assert not idlers.give(delivery(), None)


async def test_one_or_all_are_sent_away() -> None:
    idlers = Idlers(Slots(9))
    waiting = [idlers.wait(DOOR) for _ in range(3)]
    idlers.send_one_away()
    assert [waiter.cancelled() for waiter in waiting] == [False, False, True]
    idlers.send_all_away()
    assert all(waiter.cancelled() for waiter in waiting)
