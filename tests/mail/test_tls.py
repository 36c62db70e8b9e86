from __future__ import annotations

import pytest

from postroad.mail.routing import TlsWish
from postroad.mail.tls import Requirement, TlsLevel, requirement


@pytest.mark.parametrize(
    ("wish", "level"),
    [
        (TlsWish.NONE, TlsLevel.NONE),
        (TlsWish.OPPORTUNISTIC, TlsLevel.OPPORTUNISTIC),
        (TlsWish.REQUIRED, TlsLevel.ENCRYPTED),
        (TlsWish.VERIFIED, TlsLevel.VERIFIED),
    ],
)
def test_each_wish_has_its_level(wish: TlsWish, level: TlsLevel) -> None:
    assert requirement(wish) == Requirement(level)


def test_no_wish_is_without_a_level() -> None:
    assert {requirement(wish).level for wish in TlsWish} == set(TlsLevel)
