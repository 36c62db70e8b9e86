"""What the collector is spared, and what it is not."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from postroad.adapters.system_memory import keep


class Link:
    """Refers to itself, as a connection and its task do."""

    def __init__(self) -> None:
        self.other = self


@pytest.fixture
def collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def found_by_collector(each: object) -> bool:
    return any(each is other for other in gc.get_objects())


@pytest.mark.usefixtures("collector")
def test_what_is_kept_is_not_looked_through_again() -> None:
    before = Link()
    keep()
    after = Link()
    assert (found_by_collector(before), found_by_collector(after)) == (False, True)


@pytest.mark.usefixtures("collector")
def test_garbage_is_not_kept() -> None:
    gone = weakref.ref(Link())
    keep()
    assert gone() is None


@pytest.mark.usefixtures("collector")
def test_what_comes_later_is_still_collected() -> None:
    keep()
    gone = weakref.ref(Link())
    gc.collect()
    assert gone() is None
