from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.hints import LONGEST, SHORTEST, wait_asked

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("Greylisting in action, please come back in 00:30:00", 1800),
        ("come back in 00:05:00", 300),
        ("Greylisted, please try again in 900 seconds", 900),
        ("Greylisting enabled, try again in 15 minutes", 900),
        ("Greylisted for 5 minutes", 300),
        ("Greylisted for 300 seconds, see http://postgrey.example/", 300),
        ("Please retry in about 10 min.", 600),
        ("wait 60s", 60),
        ("try again after 1 hour", 3600),
        ("greylisted, 120 seconds left", 120),
        ("Greylisted: 4 minutes remaining", 240),
        ("greylisted. Back in at least 90 sec", 90),
        ("please wait for 2 h", 7200),
    ],
)
def test_a_stated_wait_is_read(text: str, wait: float) -> None:
    assert wait_asked(text) == wait


@pytest.mark.parametrize(
    "text",
    [
        "Try again later",
        "try again in 0 seconds",
        "try again in 99999999 seconds",
        "try again in -5 minutes",
        "greylisted, -30 seconds left",
        "come back in 99:00:00",
        "try again in 7 hours",
        "Greylisted, see http://postgrey.example/300s",
        "try again in 5 months",
        "",
    ],
)
def test_no_wait_or_an_absurd_one_is_none(text: str) -> None:
    assert wait_asked(text) is None


def test_a_date_is_a_wait_from_now() -> None:
    text = f"Try again later, not before {format_datetime(NOW + timedelta(seconds=301))}"
    assert wait_asked(text, NOW.timestamp()) == 301


@pytest.mark.parametrize(
    "text",
    [
        f"not before {format_datetime(NOW - timedelta(seconds=60))}",
        f"not before {format_datetime(NOW + timedelta(days=2))}",
        "not before 31 Feb 2026 12:00:00 +0000",
        "not before 11 Xyz 2026 12:00:00 +0000",
    ],
)
def test_a_past_distant_or_impossible_date_is_none(text: str) -> None:
    assert wait_asked(text, NOW.timestamp()) is None


def test_without_a_clock_dates_are_not_read() -> None:
    assert wait_asked(f"not before {format_datetime(NOW + timedelta(seconds=301))}") is None


@given(st.text(max_size=300) | st.from_regex(r"(in|wait|for) \d{1,12} ?(s|min|hours|:\d\d:\d\d)( left)?"))
def test_any_text_gives_none_or_a_believable_wait(text: str) -> None:
    wait = wait_asked(text, NOW.timestamp())
    assert wait is None or SHORTEST <= wait <= LONGEST
