"""How long a receiver asks us to wait, read out of the text of its reply.

There is no standard for it: greylisting servers write the wait into the text,
each in its own words. What is absurd is not believed.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

SHORTEST = 1.0
LONGEST = 6 * 3600.0

_LEAD = r"(?:\b(?:in|after|for|wait|back)\s+)(?:(?:about|another|at least|approximately|in|for)\s+)?"
_UNIT = r"(s|secs?|seconds?|m|mins?|minutes?|h|hours?)\b"
_CLOCK = re.compile(_LEAD + r"(\d{1,3}):(\d\d):(\d\d)\b", re.IGNORECASE)
_AMOUNT = re.compile(_LEAD + r"(\d{1,9})\s*" + _UNIT, re.IGNORECASE)
_LEFT = re.compile(r"(?<![\d.:-])(\d{1,9})\s*" + _UNIT + r"\s+(?:left|missing|remaining)\b", re.IGNORECASE)
_DATE = re.compile(r"\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:[+-]\d{4}|GMT|UTC)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def wait_asked(text: str, now: float | None = None) -> float | None:
    """The wait in seconds that `text` asks for; None when it names none, or an absurd one.

    Believed are SHORTEST to LONGEST. `now` (an Instant) is needed to read an
    RFC 5322 date; without it dates are ignored.
    """
    wait = _stated(text)
    if wait is None and now is not None:
        wait = _until(text, now)
    if wait is None or not SHORTEST <= wait <= LONGEST:
        return None
    return wait


def _stated(text: str) -> float | None:
    if clock := _CLOCK.search(text):
        hours, minutes, seconds = (int(part) for part in clock.groups())
        return float(hours * 3600 + minutes * 60 + seconds)
    amount = _AMOUNT.search(text) or _LEFT.search(text)
    if amount is None:
        return None
    return int(amount[1]) * _SECONDS[amount[2][0].lower()]


def _until(text: str, now: float) -> float | None:
    date = _DATE.search(text)
    if date is None:
        return None
    try:
        return parsedate_to_datetime(date[0]).timestamp() - now
    except ValueError:
        return None
