"""How long certificates are good, and when that is worth a word."""

from __future__ import annotations

from postroad.mail.frozen import dataclass
from postroad.mail.message import Instant, Seconds

DAY: Seconds = 86_400.0
SOON: Seconds = 14 * DAY


@dataclass(frozen=True, slots=True)
class Validity:
    """Of a certificate of ours: the file it is in, and from when until when it is good."""

    file: str
    begins: Instant
    ends: Instant


def wanes(validity: Validity, now: Instant) -> bool:
    """Whether it ends soon, or has not begun: within two weeks, or the last fifth of a short life."""
    life = validity.ends - validity.begins
    return validity.ends - now < min(SOON, life / 5) or now < validity.begins


def told(validity: Validity, now: Instant) -> str:
    """What is wrong with one that wanes, for people."""
    if now < validity.begins:
        return f"{validity.file}: is not good yet, for {_days(validity.begins - now)}"
    if now >= validity.ends:
        return f"{validity.file}: expired {_days(now - validity.ends)} ago: clients will refuse it"
    return f"{validity.file}: expires in {_days(validity.ends - now)}"


def _days(seconds: Seconds) -> str:
    days = int(seconds // DAY)
    return "less than a day" if days < 1 else "1 day" if days == 1 else f"{days} days"
