"""Who guesses passwords: failed logins by client address and by account, in bounded memory.

A pair of address and account that was right before has a count of its own, so that a
stranger's guesses shut out neither an account's owner nor the others behind one address.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from postroad.mail.login_limits import Failures, LoginLimits, failed, left, refuses
from postroad.mail.source import holder

ENTRIES: Final = 10_000
"""Addresses, accounts and pairs, each; beyond them the one that has been quiet for longest is forgotten."""
FRIEND_SECONDS: Final = 30 * 86400.0

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Recent(dict[_Key, _Value], Generic[_Key, _Value]):
    """A dictionary of the entries set last."""

    def put(self, key: _Key, value: _Value) -> None:
        self.pop(key, None)
        while len(self) >= ENTRIES:
            del self[next(iter(self))]
        self[key] = value


class LoginGuard:
    """`now` is monotonic seconds. `trusts`: addresses that are not counted, such as a webmail's."""

    def __init__(self, limits: LoginLimits, trusts: Callable[[str], bool]) -> None:
        self._limits = limits
        self._trusts = trusts
        self._addresses: Recent[str, Failures] = Recent()
        self._accounts: Recent[str, Failures] = Recent()
        self._friends: Recent[tuple[str, str], tuple[float, Failures | None]] = Recent()

    def refuses(self, address: str, login: str, now: float) -> bool:
        """Whether an attempt is to be turned away unchecked; `login` "" where no name was said."""
        limits, place = self._limits, holder(address)
        friend = self._friend(place, login, now)
        if friend is not None:
            return refuses(friend[1], limits.per_account, limits.memory, now)
        if not self._trusts(address) and refuses(
            self._addresses.get(place), limits.per_address, limits.memory, now
        ):
            return True
        return refuses(self._accounts.get(login), limits.per_account, limits.memory, now)

    def failed(self, address: str, login: str, now: float) -> int:
        """Count it; how many there were of this address of late."""
        limits, place = self._limits, holder(address)
        friend = self._friend(place, login, now)
        if friend is not None:
            since, failures = friend
            self._friends.put(
                (place, login), (since, failed(failures, limits.per_account, limits.memory, now))
            )
        elif login:
            before = self._accounts.get(login)
            self._accounts.put(login, failed(before, limits.per_account, limits.memory, now))
        if self._trusts(address):
            return 0
        count = failed(self._addresses.get(place), limits.per_address, limits.memory, now)
        self._addresses.put(place, count)
        return int(left(count, limits.per_address, limits.memory, now))

    def succeeded(self, address: str, account: str, now: float) -> None:
        self._friends.put((holder(address), account), (now, None))

    def _friend(self, place: str, login: str, now: float) -> tuple[float, Failures | None] | None:
        found = self._friends.get((place, login))
        return found if found is not None and now - found[0] < FRIEND_SECONDS else None
