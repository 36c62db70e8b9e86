"""Who may send what: the policy of an account, and which policy an account has.

An account is a login ("anna"), a client of a trusted network ("net:192.0.2.7") or a
local user ("uid:1000"). One table of the configuration applies to it: the one of its
very name, else the first whose pattern matches, else the defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from ipaddress import ip_address, ip_network

from postroad.mail.frozen import dataclass
from postroad.mail.message import Lane, Seconds

NETWORK, USER = "net:", "uid:"
NOT_LOGINS = (NETWORK, USER)
"""What the names of accounts begin with that did not log in: nobody may log in as one."""


def of_network(address: str) -> str:
    """The account of a client that is trusted for its address."""
    return f"{NETWORK}{address}"


def of_user(uid: int) -> str:
    """The account of a user of this machine."""
    return f"{USER}{uid}"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` messages in any `seconds`, as a bucket that holds `count` and fills evenly."""

    count: int
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class AccountPolicy:
    """What an account may do. None: no limit beside those that hold for all.

    `allowed_senders` are the patterns of `mail.senders` that MAIL FROM must match,
    `allowed_from` those for every address in From (None: the same). Hours and days
    are those of the clock in UTC. `lane` None: what the client asks for, else normal;
    a client may ask for less than the account's, not for more. `idempotency`: what
    tells that a submission was made before (`mail.idempotency`). `lint`: off | warn |
    reject, what becomes of headers outside the rules (`mail.lint`).
    """

    enabled: bool = True
    allowed_senders: tuple[str, ...] = ("*",)
    allowed_from: tuple[str, ...] | None = None
    max_messages_per_hour: int | None = None
    max_messages_per_day: int | None = None
    max_recipients_per_hour: int | None = None
    max_recipients_per_day: int | None = None
    max_rate: Rate | None = None
    max_message_size: int | None = None
    max_recipients: int | None = None
    max_connections: int = 100
    lane: Lane | None = None
    idempotency: tuple[str, ...] = ("header", "envid")
    lint: str = "off"


FREE = AccountPolicy()
Own = Callable[[int], bool]
"""Whether a user of this machine sends as himself alone."""


@dataclass(frozen=True, slots=True)
class AccountPolicies:
    """The policies by the name or pattern of their table, in the order of the file."""

    defaults: AccountPolicy = FREE
    tables: dict[str, AccountPolicy] = field(default_factory=dict)

    def of(self, account: str) -> tuple[str | None, AccountPolicy]:
        """The name of the table that applies, None for the defaults, and its policy."""
        exact = self.tables.get(account)
        if exact is not None:
            return account, exact
        for name, policy in self.tables.items():
            if names(name, account):
                return name, policy
        return None, self.defaults


def own_senders(local_sender: str, policies: AccountPolicies) -> Own:
    """By `submission.local_sender`: any | own | map, which leaves it to the tables of users that have one."""
    if local_sender == "map":
        return lambda uid: policies.of(of_user(uid))[0] is None
    return lambda uid: local_sender == "own"


def names(pattern: str, account: str) -> bool:
    """Whether the name of a table means this account.

    "*" stands for any characters; "net:10.0.0.0/8" for all clients in that network.
    """
    if pattern.startswith(NETWORK) and "/" in pattern:
        if not account.startswith(NETWORK):
            return False
        try:
            network = ip_network(pattern.removeprefix(NETWORK))
            return ip_address(account.removeprefix(NETWORK)) in network
        except ValueError:
            return False
    return matches(pattern, account)


def matches(pattern: str, text: str) -> bool:
    """Whether the text is the pattern, in which "*" stands for any characters, also none."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    *middle, last = rest
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    place, end = len(first), len(text) - len(last)
    for piece in middle:
        # The leftmost place for each piece leaves the most room for the next.
        found = text.find(piece, place, end)
        if found < 0:
            return False
        place = found + len(piece)
    return True


def lane_of(policy: AccountPolicy, asked: Lane) -> Lane:
    """The lane of a message: `asked` NORMAL is what a client has that asks for nothing."""
    if policy.lane is None:
        return asked
    return policy.lane if asked is Lane.NORMAL else max(asked, policy.lane)
