"""For whom mail for a local name is (RFC 5321 2.3.5, 3.9.1): aliases followed to addresses elsewhere.

There are no mailboxes here. A name without an alias goes to the fallback; without
one its mail waits on a hop of its own until the name gets an alias or the message
is too old (`engine.forwarding`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from postroad.mail import xtext
from postroad.mail.address import Address
from postroad.mail.aliases import Target
from postroad.mail.frozen import dataclass
from postroad.mail.headers import fields
from postroad.mail.message import EnvelopeRecipient, Notify
from postroad.mail.notice import wants_success
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.mail.routing import Hop

LOCAL = "local"
"""The route of hops whose name is a local name without an address, lower case."""

ALWAYS_LOCAL = frozenset(("localhost", "localhost.localdomain", "[127.0.0.1]", "[IPv6:::1]"))
# Who must be reachable everywhere (RFC 5321 4.5.1, RFC 2142), where no alias says otherwise.
BUILT_IN: Mapping[str, tuple[Target, ...]] = {"postmaster": ("root",), "mailer-daemon": ("postmaster",)}
# As Postfix's: names behind names, and addresses for one name.
MAX_DEPTH = 50
MAX_ADDRESSES = 1000
# A message that someone sends on by hand comes twice; a loop comes again.
MAX_ROUNDS = 3
_NO_TARGETS: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalNames:
    """`domains` are those in which `aliases` apply; `origin` completes names in them that have no alias.

    An alias may be empty: there is a line for the name, and nothing in it can be done. `fallback`
    is where mail for a name without alias goes, None: it waits. `source` is the alias file,
    to name it to people.
    """

    domains: frozenset[str] = ALWAYS_LOCAL
    aliases: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    origin: str = "localhost"
    fallback: Target | None = None
    source: str = "/etc/aliases"

    def domain_for(self, name: str, origin: str) -> str:
        """The domain of a recipient that was written without one: an alias wins over a far `origin`."""
        known = name.lower() in self.aliases or name.lower() in BUILT_IN
        return "localhost" if known and origin not in self.domains else origin


@dataclass(frozen=True, slots=True)
class Expansion:
    """The recipients after aliases, and which name became which addresses."""

    recipients: tuple[EnvelopeRecipient, ...]
    renamed: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Resolution:
    """`found` are addresses elsewhere, each once, in order; `lost` local names on the way that lead nowhere.

    `wanting` says in words what was in the way.
    """

    found: tuple[Address, ...]
    lost: tuple[str, ...]
    wanting: tuple[str, ...]


def resolve(name: str, names: LocalNames) -> Resolution:
    """For whom mail for a local name is."""
    walk = _Walk(names)
    walk.follow(name.lower(), ())
    return Resolution(tuple(walk.found), tuple(walk.lost), tuple(walk.wanting))


class _Walk:
    """One pass along aliases. `found` and `lost` keep the order and hold each once."""

    def __init__(self, names: LocalNames) -> None:
        self.names = names
        self.found: dict[Address, None] = {}
        self.lost: dict[str, None] = {}
        self.wanting: list[str] = []
        self.seen: set[str] = set()
        self.fallen_back = False

    def follow(self, name: str, trail: tuple[str, ...]) -> None:
        if name in trail or len(trail) >= MAX_DEPTH:
            self.wanting.append("aliases lead in a circle: " + " -> ".join((*trail[-5:], name)))
            return
        if name in self.seen:
            return
        self.seen.add(name)
        targets = self.names.aliases.get(name) or BUILT_IN.get(name, _NO_TARGETS)
        if not targets:
            self.nowhere(name, trail)
        for target in targets:
            self.take(target, (*trail, name))

    def nowhere(self, name: str, trail: tuple[str, ...]) -> None:
        """A name behind an alias may be one of the origin's; the first one of all was local as it came.

        One that has a line of its own is nobody else's, even where it leads to a program alone.
        """
        names = self.names
        if trail and names.origin not in names.domains and name not in names.aliases:
            self.take(Address(name, names.origin), trail)
        elif names.fallback is not None and not self.fallen_back:
            self.fallen_back = True
            self.take(names.fallback, (*trail, name))
        elif names.fallback is None or not self.found:
            self.lost[name] = None
            what = "the alias of" if name in names.aliases else "no alias for"
            nowhere = " has no address behind it" if name in names.aliases else ""
            self.wanting.append(f"{what} {name} in {names.source}{nowhere}")

    def take(self, target: Target, trail: tuple[str, ...]) -> None:
        if isinstance(target, str):
            self.follow(target, trail)
        elif target.domain in self.names.domains:
            self.follow(target.local.lower(), trail)
        elif len(self.found) < MAX_ADDRESSES:
            self.found[target] = None
        else:
            self.wanting.append(f"more than {MAX_ADDRESSES} addresses: the rest is left out")


def expand(recipients: Sequence[EnvelopeRecipient], names: LocalNames) -> Expansion:
    """Every local recipient replaced by those it stands for; one that stands for nobody stays as it is.

    So does one that stands for several when its sender wants to hear of success: that it was
    sent on to them is told of the name itself (`engine.forwarding`).
    """
    kept: dict[Address, EnvelopeRecipient] = {}
    renamed: list[tuple[str, tuple[str, ...]]] = []
    for to in recipients:
        if to.address.domain not in names.domains:
            kept.setdefault(to.address, to)
            continue
        addresses = addresses_for(to.address.local, names)
        if not addresses or is_expanded(to.notify, addresses):
            kept.setdefault(to.address, to)
            continue
        renamed.append((str(to.address), tuple(map(str, addresses))))
        for address in addresses:
            kept.setdefault(address, forwarded(to, address, alone=len(addresses) == 1))
    return Expansion(tuple(kept.values()), tuple(renamed))


def is_expanded(notify: Notify | None, addresses: Sequence[Address]) -> bool:
    """Whether a report is due of a name that was sent on to these (RFC 3461 5.2.7.3, RFC 3464 2.3.3)."""
    return len(addresses) > 1 and wants_success(notify)


def addresses_for(name: str, names: LocalNames) -> tuple[Address, ...]:
    """Where mail for a local name goes; a name on the way that leads nowhere is among them, to wait.

    Empty when all of it leads nowhere.
    """
    way = resolve(name, names)
    return way.found + tuple(Address(one, "localhost") for one in way.lost) if way.found else ()


def forwarded(to: EnvelopeRecipient, address: Address, *, alone: bool) -> EnvelopeRecipient:
    """The recipient behind an alias (RFC 3461 5.2.7.1, 5.2.7.3).

    Reports name the recipient as the sender wrote it. The success of one among several
    is nothing that the sender could make sense of, so it is not asked for.
    """
    notify = to.notify
    if not alone and notify is not None:
        notify = notify & ~Notify.SUCCESS
    orcpt = to.orcpt
    if orcpt is None and to.address.is_ascii:
        orcpt = "rfc822;" + xtext.encode(str(to.address).encode("ascii"))
    return replace(to, address=address, notify=notify, orcpt=orcpt)


def hop_of(address: Address) -> Hop:
    """Where mail for a local name without an address waits."""
    return Hop(LOCAL, address.local.lower())


def waiting(name: str, names: LocalNames) -> Outcome:
    """Why mail for this name waits."""
    text = "; ".join(resolve(name, names).wanting[:3]) or f"no alias for {name} in {names.source}"
    text += f'; add "{name}: you@example.com" there and run newaliases, or set fallback in [local]'
    return Outcome(Kind.DEFERRED, Scope.RECIPIENT, Reason.ROUTING, "4.1.1", text, Stage.LOCAL)


def rounds(head: bytes, hostname: str, address: Address) -> int:
    """How often this host has taken the message in for this very local recipient, by its Received fields."""
    us, them = f"by {hostname} (postroad".lower().encode(), f"for <{address}>".lower().encode()
    raws = [field.raw.lower() for field in fields(head) if field.name == b"received"]
    return sum(us in raw and them in raw for raw in raws)
