"""How much an account has sent in this hour and this day, and whether it may send more.

Hours and days are those of the clock, in UTC: a quota is whole again when the next
one begins, and the reply can say when that is.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from postroad.mail.account import AccountPolicy, Rate
from postroad.mail.frozen import dataclass
from postroad.mail.message import Instant, Seconds
from postroad.mail.reply import Reply

HOUR = 3600
DAY = 24
"""Hours of a day."""


@dataclass(frozen=True, slots=True)
class Charge:
    """Messages and their recipients, counted for an account in an hour (since 1970)."""

    account: str
    hour: int
    recipients: int
    messages: int = 1


@dataclass(frozen=True, slots=True)
class Used:
    """What an account has sent in `hour`, and in the day that it belongs to."""

    hour: int
    messages_hour: int = 0
    recipients_hour: int = 0
    messages_day: int = 0
    recipients_day: int = 0

    def at(self, hour: int) -> Used:
        """What of it counts in another hour."""
        if hour == self.hour:
            return self
        if hour // DAY != self.hour // DAY:
            return Used(hour)
        return Used(hour, 0, 0, self.messages_day, self.recipients_day)

    def plus(self, charge: Charge) -> Used:
        """With a charge of the very hour."""
        return Used(
            self.hour,
            self.messages_hour + charge.messages,
            self.recipients_hour + charge.recipients,
            self.messages_day + charge.messages,
            self.recipients_day + charge.recipients,
        )

    def without(self, charge: Charge) -> Used:
        """As if what was charged had never been, as far as it counts in here."""
        here = int(charge.hour == self.hour)
        today = int(charge.hour // DAY == self.hour // DAY)
        return Used(
            self.hour,
            self.messages_hour - here * charge.messages,
            self.recipients_hour - here * charge.recipients,
            self.messages_day - today * charge.messages,
            self.recipients_day - today * charge.recipients,
        )


class Quota(NamedTuple):
    """One quota of an account: `of` messages or recipients, `limit` of them a `per` (hour or day)."""

    of: str
    per: str
    limit: int
    used: int
    until: Instant

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)

    def __str__(self) -> str:
        """What a refusal says: "100 messages an hour, 0 left until 15:00 UTC"."""
        each = "an hour" if self.per == "hour" else "a day"
        until = f"{datetime.fromtimestamp(self.until, UTC):%H:%M}"
        return f"{self.limit} {self.of} {each}, {self.left} left until {until} UTC"


def hour_of(now: Instant) -> int:
    return int(now // HOUR)


def first_hour(hour: int) -> int:
    """The hour with which the day of this one began."""
    return hour - hour % DAY


def has_quota(policy: AccountPolicy) -> bool:
    """Whether anything of the account's mail needs to be counted."""
    return (
        policy.max_messages_per_hour is not None
        or policy.max_messages_per_day is not None
        or policy.max_recipients_per_hour is not None
        or policy.max_recipients_per_day is not None
    )


def quotas(policy: AccountPolicy, used: Used) -> Iterator[Quota]:
    """The quotas that the account has, and what is used of them in the hour of `used`."""
    end_of_hour = (used.hour + 1) * HOUR
    end_of_day = (first_hour(used.hour) + DAY) * HOUR
    for of, per, limit, count, until in (
        ("messages", "hour", policy.max_messages_per_hour, used.messages_hour, end_of_hour),
        ("messages", "day", policy.max_messages_per_day, used.messages_day, end_of_day),
        ("recipients", "hour", policy.max_recipients_per_hour, used.recipients_hour, end_of_hour),
        ("recipients", "day", policy.max_recipients_per_day, used.recipients_day, end_of_day),
    ):
        if limit is not None:
            yield Quota(of, per, limit, count, float(until))


def consider_quota(policy: AccountPolicy, used: Used, recipients: int) -> Reply | None:
    """Whether one more message to so many recipients is within every quota of the account.

    One that no hour could hold is refused for good, so that nobody tries again in vain.
    """
    worst: Quota | None = None
    for quota in quotas(policy, used):
        more = 1 if quota.of == "messages" else recipients
        if more > quota.limit:
            each = "an hour" if quota.per == "hour" else "a day"
            return Reply(
                550, (f"quota: {quota.limit} {quota.of} {each}, and this message has {more}",), "5.7.1"
            )
        if quota.used + more > quota.limit and (worst is None or quota.until >= worst.until):
            worst = quota
    return None if worst is None else Reply(450, (f"quota: {worst}",), "4.7.1")


@dataclass(frozen=True, slots=True)
class Bucket:
    """What may be sent at once, as of `at`."""

    level: float
    at: Instant


def take(rate: Rate, bucket: Bucket | None, now: Instant) -> tuple[Bucket, Seconds]:
    """The bucket after one message more, and 0; or as it is and how many seconds until there is one."""
    level = float(rate.count)
    if bucket is not None:
        # A clock that was set back fills nothing.
        gained = max(0.0, now - bucket.at) * rate.count / rate.seconds
        level = min(level, bucket.level + gained)
    if level >= 1.0:
        return Bucket(level - 1.0, now), 0.0
    return Bucket(level, now), (1.0 - level) * rate.seconds / rate.count


def full(rate: Rate, bucket: Bucket, now: Instant) -> bool:
    """Whether nothing is lost when the bucket is forgotten."""
    return bucket.level + max(0.0, now - bucket.at) * rate.count / rate.seconds >= rate.count


def rate_reply(rate: Rate, wait: Seconds) -> Reply:
    """ "rate: 60 messages in 60 s, 0 left; try again in 2 s"."""
    seconds = f"{rate.seconds:g}"
    return Reply(
        450,
        (f"rate: {rate.count} messages in {seconds} s, 0 left; try again in {max(1, round(wait + 0.5))} s",),
        "4.7.1",
    )
