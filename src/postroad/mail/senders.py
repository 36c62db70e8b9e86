"""As whom an account may send: patterns of addresses, held against MAIL FROM and From.

| pattern | means |
|---|---|
| "*" | any address |
| "example.com" | any address of that domain |
| "*.example.com" | any address of a domain below it |
| "anna@example.com" | that address |
| "news-*@example.com", "anna@*.example.com" | the two put together |
| "{account}", "{account}@example.com" | the same with the account's name in its place |

Case makes no difference. Domains are A-labels.
"""

from __future__ import annotations

from collections.abc import Iterable

from postroad.mail.account import matches
from postroad.mail.address import Address

ACCOUNT = "{account}"
ANY = "*"


class Senders:
    """The patterns of one account, read once. `anyone`: nothing needs to be looked at."""

    __slots__ = ("_below", "_domains", "_locals", "anyone")

    def __init__(self, patterns: Iterable[str], account: str) -> None:
        self.anyone = False
        self._domains: set[str] = set()
        self._below: list[str] = []
        self._locals: list[tuple[str, str]] = []
        for pattern in patterns:
            # A name is a name and no pattern, whoever gave it.
            if ACCOUNT not in pattern or "*" not in account:
                self._add(pattern, account)

    def _add(self, pattern: str, account: str) -> None:
        local, at, domain = pattern.rpartition("@")
        if pattern == ANY:
            self.anyone = True
        elif pattern == ACCOUNT:
            self._own(account)
        elif at:
            self._locals.append((local.replace(ACCOUNT, account).casefold(), domain))
        elif domain.startswith("*."):
            self._below.append(domain[1:])
        else:
            self._domains.add(domain)

    def _own(self, account: str) -> None:
        local, at, domain = account.rpartition("@")
        if at:
            self._locals.append((local.casefold(), domain.lower()))

    def allow(self, address: Address) -> bool:
        domain = address.domain
        if self.anyone or domain in self._domains or domain.endswith(tuple(self._below)):
            return True
        local = address.local.casefold()
        return any(
            matches(pattern, local) and (matches(of, domain) if of[:1] == "*" else of == domain)
            for pattern, of in self._locals
        )
