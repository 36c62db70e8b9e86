"""Whether a Date says a moment (RFC 5322 3.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(
    r"(?:([A-Za-z]{3})[ \t]*,)?[ \t]*([0-9]{1,2})[ \t]+([A-Za-z]{3})[ \t]+([0-9]{4})"
    r"[ \t]+([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?[ \t]+(?:[+-][0-9]{2}([0-9]{2})|UTC?|GMT)"
)
_COMMENT = re.compile(r"\([^()]*\)")


def date_fault(text: str) -> str | None:
    """What is wrong with a Date's value, unfolded; None: nothing. Zones by name: UT and GMT."""
    found = _DATE.fullmatch(_COMMENT.sub(" ", text).strip(" \t"))
    if found is None:
        return "is not written as Mon, 23 Nov 2026 01:15:12 +0000"
    weekday, day, month, year, hour, minute, second, zone = found.groups()
    try:
        # A leap second is a second like any other to the calendar.
        moment = datetime(
            int(year),
            _MONTHS.index(month.lower()) + 1,
            int(day),
            int(hour),
            int(minute),
            min(int(second or 0), 59),
            tzinfo=UTC,
        )
    except ValueError:
        return "names a day or a time that there is not"
    if int(second or 0) > 60 or int(zone or 0) > 59:
        return "names a day or a time that there is not"
    if weekday and weekday.lower() != _DAYS[moment.weekday()]:
        return "names the wrong day of the week"
    return None
