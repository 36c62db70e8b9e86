"""Who may send what, while the daemon runs: policies by account, and what of their quotas is used.

What is counted here decides; the same is written with the message in its transaction,
so that a restart begins with what was accepted and not with nothing. A message is
counted before it is made durable, and given back where that fails: two that arrive
together cannot share the last one of a quota.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from postroad.mail.account import AccountPolicies
from postroad.mail.address import Address
from postroad.mail.message import Instant, Submission
from postroad.mail.permit import Permit
from postroad.mail.quota import (
    Bucket,
    Charge,
    Used,
    consider_quota,
    first_hour,
    full,
    hour_of,
    rate_reply,
    take,
)
from postroad.mail.reply import Reply
from postroad.ports.clock import Clock

# Accounts remembered, as permits and as buckets of their rates; beyond it they are made anew.
MOST = 10_000


class Rights:
    """`ports.rights.Rights`. `origin` completes addresses in From that have no domain."""

    def __init__(self, policies: AccountPolicies, origin: str, clock: Clock) -> None:
        self._clock = clock
        self._used: dict[str, Used] = {}
        self._buckets: dict[str, Bucket] = {}
        self._permits: dict[str, Permit] = {}
        # Who may be sending again what was accepted: that costs nothing, and only the message tells.
        self.repeaters: Container[str] = ()
        self._hour = hour_of(clock.now())
        self.reload(policies, origin)

    def reload(self, policies: AccountPolicies, origin: str) -> None:
        """New policies; what is used of the quotas stays."""
        self._policies = policies
        self._origin = origin
        self._permits.clear()

    def since(self) -> int:
        """The hour with which the day began: what was charged before does not count any more."""
        return first_hour(self._hour)

    def load(self, charges: Iterable[Charge]) -> None:
        """What the index has of this day, by account and hour, the hours in order."""
        for charge in charges:
            used = self._used.get(charge.account) or Used(charge.hour)
            self._used[charge.account] = used.at(charge.hour).plus(charge)

    def permit(self, account: str) -> Permit:
        found = self._permits.get(account)
        if found is None:
            if len(self._permits) >= MOST:
                self._permits.clear()
            _, policy = self._policies.of(account)
            found = self._permits[account] = Permit(account, policy)
        return found

    def mail(self, permit: Permit, sender: Address | None, size: int | None) -> Reply | None:
        """The answer to MAIL: None, or why this account may not send that now."""
        refusal = permit.sender(sender, size)
        if refusal is None and permit.counted and permit.account not in self.repeaters:
            hour = hour_of(self._clock.now())
            refusal = consider_quota(permit.policy, self._used_by(permit.account, hour), 0)
        return refusal

    def consider(self, permit: Permit, submission: Submission) -> Reply | None:
        """None, or why this account may not send this at any time."""
        return None if permit.free else permit.submission(submission, self._origin)

    def spend(self, permit: Permit, recipients: int) -> Reply | Charge | None:
        """Count a message; what is to be written with it, None where nothing is counted; or why not now."""
        account = permit.account
        now = self._clock.now()
        hour = hour_of(now)
        used = self._used_by(account, hour)
        refusal = consider_quota(permit.policy, used, recipients) or self._hasten(permit, now)
        if refusal is not None:
            return refusal
        if not permit.counted:
            return None
        charge = Charge(account, hour, recipients)
        self._used[account] = used.plus(charge)
        return charge

    def give_back(self, charge: Charge) -> None:
        """The message of that charge was not accepted."""
        used = self._used.get(charge.account)
        if used is not None:
            self._used[charge.account] = used.without(charge)

    def _used_by(self, account: str, hour: int) -> Used:
        if hour != self._hour:
            self._turn(hour)
        used = self._used.get(account)
        return Used(hour) if used is None else used.at(hour)

    def _turn(self, hour: int) -> None:
        """With the day, what was used in it is forgotten."""
        if first_hour(hour) != first_hour(self._hour):
            self._used = {name: used for name, used in self._used.items() if used.hour >= first_hour(hour)}
        self._hour = hour

    def _hasten(self, permit: Permit, now: Instant) -> Reply | None:
        rate = permit.policy.max_rate
        if rate is None:
            return None
        bucket, wait = take(rate, self._buckets.get(permit.account), now)
        if permit.account not in self._buckets and len(self._buckets) >= MOST:
            self._forget_full(now)
        self._buckets[permit.account] = bucket
        return rate_reply(rate, wait) if wait else None

    def _forget_full(self, now: Instant) -> None:
        self._buckets = {
            account: bucket
            for account, bucket in self._buckets.items()
            if (rate := self.permit(account).policy.max_rate) is not None and not full(rate, bucket, now)
        }
