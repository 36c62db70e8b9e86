"""The clock, and ids made of it."""

from __future__ import annotations

import random
import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from postroad.adapters.system import EPOCH, IdMaker, SystemClock
from postroad.mail.queue_id import parse_id


@given(st.lists(st.floats(0, 3.7e9), min_size=2, max_size=50))
def test_every_id_is_greater_than_the_one_before_however_the_clock_steps(instants: list[float]) -> None:
    new_id = IdMaker(random.Random(1))
    ids = [new_id(now) for now in instants]
    assert all(one < other for one, other in pairwise(ids))


def test_a_millisecond_can_make_many_ids() -> None:
    new_id = IdMaker(random.Random(1))
    assert len({new_id(1.7e9) for _ in range(10_000)}) == 10_000


def test_an_id_holds_the_milliseconds_since_2020() -> None:
    number = parse_id(IdMaker(random.Random(1))(EPOCH + 86400.5))
    assert number >> 19 == 86_400_500


def test_the_clock_is_the_machines() -> None:
    before = time.time()
    assert before <= SystemClock().now() <= time.time()
