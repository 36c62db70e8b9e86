"""When a certificate is worth a word."""

from __future__ import annotations

import pytest

from postroad.mail.validity import DAY, Validity, told, wanes

LONG = Validity("c.pem", 0.0, 90 * DAY)
SHORT = Validity("c.pem", 0.0, 5 * DAY)


@pytest.mark.parametrize(
    ("validity", "day", "text"),
    [
        (LONG, 0, ""),
        (LONG, 76, ""),
        (LONG, 76.5, "expires in 13 days"),
        (LONG, 88.5, "expires in 1 day"),
        (LONG, 89.5, "expires in less than a day"),
        (LONG, 90, "expired less than a day ago: clients will refuse it"),
        (LONG, 93, "expired 3 days ago: clients will refuse it"),
        (LONG, -2, "is not good yet, for 2 days"),
        (SHORT, 3.9, ""),
        (SHORT, 4.5, "expires in less than a day"),
    ],
)
def test_it_is_told_in_its_last_two_weeks_or_the_last_fifth_of_a_short_life(
    validity: Validity, day: float, text: str
) -> None:
    assert wanes(validity, day * DAY) == bool(text)
    assert not text or told(validity, day * DAY) == f"c.pem: {text}"
