"""Who is let in and who has to go, by the clock: at the limit, just below and just above."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_registry import CROWD, FAREWELLS, REST_SECONDS, SHED_AT_ONCE, Registry
from postroad.config.model import SubmissionConfig
from postroad.mail.descriptors import Share
from postroad.mail.events import DoorsFull
from tests.support.door import EventList


@dataclass(eq=False)
class Guest:
    """A session that does what the test says."""

    stranger: bool = True
    busy: bool = False
    asked_to_go: int = 0
    leaving: list[str] = field(default_factory=list)

    def shed(self) -> None:
        self.asked_to_go += 1

    def leave(self) -> None:
        self.leaving.append("leave")

    def leave_now(self) -> None:
        self.leaving.append("now")


class Hall:
    """A registry, its log, and a clock that the test moves."""

    def __init__(self, most: int, share: Share | None = None, each: int = 10_000) -> None:
        self.now = 0.0
        self.events = EventList()
        config = SubmissionConfig(max_connections=most, max_connections_per_address=each, shed_after=2.0)
        self.dissolved = 0
        self.registry = Registry(config, self.events, share, lambda: self.now, self._dissolve)

    def _dissolve(self) -> None:
        self.dissolved += 1

    def enter(self, address: str = "192.0.2.1") -> Guest | None:
        one = Guest()
        return one if self.registry.admit(one, address) is None else None


def entered(guest: Guest | None) -> Guest:
    assert guest is not None
    return guest


@pytest.mark.parametrize(("age", "goes"), [(1.999, False), (2.0, True), (2.001, True)])
async def test_a_stranger_has_to_go_from_that_age_on(age: float, goes: bool) -> None:
    hall = Hall(1)
    first = entered(hall.enter())
    hall.now = age
    assert (hall.enter() is not None) is goes
    assert first.asked_to_go == int(goes)


async def test_nobody_is_asked_to_go_while_there_is_room() -> None:
    hall = Hall(3)
    guests = []
    for _ in range(3):
        guests.append(entered(hall.enter()))
        hall.now += 10
    assert sum(guest.asked_to_go for guest in guests) == 0


async def test_the_oldest_stranger_goes_first_and_each_once() -> None:
    hall = Hall(3)
    guests = [entered(hall.enter()) for _ in range(3)]
    guests[0].stranger = False
    guests[1].busy = True
    hall.now = 5.0
    entered(hall.enter())
    assert [guest.asked_to_go for guest in guests] == [0, 0, 1]
    # Who was busy then is a stranger still, and as old as when that was seen.
    guests[1].busy = False
    assert hall.enter() is None
    hall.now = 7.0
    entered(hall.enter())
    assert [guest.asked_to_go for guest in guests] == [0, 1, 1]


async def test_no_more_are_on_their_way_out_than_may_be_at_one_time() -> None:
    hall = Hall(SHED_AT_ONCE + 10)
    guests = [entered(hall.enter()) for _ in range(SHED_AT_ONCE + 10)]
    hall.now = 3.0
    assert sum(hall.enter() is not None for _ in range(SHED_AT_ONCE + 5)) == SHED_AT_ONCE
    assert sum(guest.asked_to_go for guest in guests) == SHED_AT_ONCE
    hall.registry.gone(guests[0])
    hall.registry.gone(guests[0])
    assert hall.enter() is not None


async def test_few_descriptors_mean_few_guests() -> None:
    hall = Hall(100, Share(limit=1000, needed=2000, sessions=2, door=66))
    entered(hall.enter())
    entered(hall.enter())
    assert hall.enter() is None
    told = hall.events.of(DoorsFull)[-1]
    assert (told.connections, told.limit, told.silent, told.refused) == (2, 2, 2, 1)
    assert told.holders == ("192.0.2.1 (2)",)


async def test_an_address_is_counted_before_all_of_them() -> None:
    hall = Hall(10, each=2)
    assert [hall.enter() is not None for _ in range(3)] == [True, True, False]
    assert hall.registry.admit(Guest(), "192.0.2.1") is replies.TOO_MANY_FROM_YOU
    assert hall.enter("192.0.2.2") is not None


async def test_an_account_has_its_number_of_sessions_and_one_counts_for_one_account() -> None:
    hall = Hall(10)
    guests = [entered(hall.enter()) for _ in range(3)]
    claim = hall.registry.claim
    assert [claim(guest, "anna", 2) for guest in guests] == [True, True, False]
    assert claim(guests[1], "bert", 2)
    assert claim(guests[2], "anna", 2)
    hall.registry.gone(guests[0])
    assert claim(guests[1], "anna", 2)


async def test_so_many_are_told_why_and_not_one_more_at_one_time() -> None:
    hall = Hall(10)
    assert [hall.registry.farewell() for _ in range(FAREWELLS + 1)] == [True] * FAREWELLS + [False]


async def test_a_crowd_is_gone_when_seven_of_eight_are_and_that_is_told_once_a_minute() -> None:
    hall = Hall(10_000)

    def come_and_go(count: int) -> None:
        guests = [entered(hall.enter()) for _ in range(count)]
        for guest in guests[: count - count // 8 - 1]:
            hall.registry.gone(guest)
        before = hall.dissolved
        for guest in guests:
            hall.registry.gone(guest)
        assert hall.dissolved - before <= 1

    come_and_go(CROWD - 1)
    assert hall.dissolved == 0
    come_and_go(CROWD)
    assert hall.dissolved == 1
    come_and_go(CROWD)
    assert hall.dissolved == 1
    hall.now += REST_SECONDS
    come_and_go(CROWD)
    assert hall.dissolved == 2
