"""How durations, sizes and rates are spelled."""

from __future__ import annotations

import re

from postroad.config.problems import BadValue, shown
from postroad.config.spelling import matching, spelled
from postroad.config.values import MOST, did_you_mean
from postroad.mail.account import Rate

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(
    r"(?:([0-9]{1,9})w)?(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?"
)
SPELLED_DURATION = r"([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?"
_DURATION_UNITS = ("w", "d", "h", "m", "s", "ms")
LONGEST = 3650 * 86400.0

_OCTETS = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "KB": 10**3,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}
_SIZE = re.compile(r"([0-9]{1,12}) ?([A-Za-z]+)")
LARGEST = 1 << 40

_RATE = re.compile(r"([0-9]{1,9})/(.+)")


@spelled(matching(SPELLED_DURATION))
def duration(value: object) -> float:
    """Seconds, more than none: "90s", "5m", "1h30m", "5d", "250ms"."""
    example = f'expected a duration such as "5m", "1h30m" or "5d", got {shown(value)}'
    found = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if found is None:
        raise BadValue(example)
    seconds = sum(
        int(count) * _SECONDS[unit]
        for count, unit in zip(found.groups(), _DURATION_UNITS, strict=True)
        if count
    )
    if not 0 < seconds <= LONGEST:
        raise BadValue(f"expected a duration of more than 0 and at most 3650d, got {shown(value)}")
    return seconds


@spelled(matching(f"off|{SPELLED_DURATION}"))
def duration_or_off(value: object) -> float:
    """As `duration`, or "off": none, 0."""
    return 0.0 if value == "off" else duration(value)


@spelled(matching(r"[0-9]{1,12} ?([KMG]iB|[KkMG]B|B)"))
def size(value: object) -> int:
    """Octets, more than none: "25MiB" (1024s), "50MB" (1000s), "512B"."""
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2] not in _OCTETS:
        hint = did_you_mean(found[2], [unit for unit in _OCTETS if len(unit) > 1]) if found else ""
        raise BadValue(f'expected a size such as "25MiB" or "50MB", got {shown(value)}{hint}')
    octets = int(found[1]) * _OCTETS[found[2]]
    if not 0 < octets <= LARGEST:
        raise BadValue(f"expected a size of more than 0 and at most 1024GiB, got {shown(value)}")
    return octets


@spelled(matching(r"[0-9]{1,9}/.+"))
def rate(value: object) -> Rate:
    """A number for a time: "60/1m", "10/1s"; the time may be a bare unit, "60/m"."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    try:
        if found is None or not 0 < int(found[1]) <= MOST:
            raise BadValue("no number")
        time = found[2]
        return Rate(int(found[1]), duration(f"1{time}" if time in _SECONDS else time))
    except BadValue:
        raise BadValue(f'expected a rate such as "60/1m" or "10/1s", got {shown(value)}') from None
