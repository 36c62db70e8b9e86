"""MX answers -> endpoints in order, and the MX group that names a site (RFC 5321 5.1, RFC 7505)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import groupby, zip_longest

from postroad.mail.frozen import dataclass
from postroad.mail.outcome import Fault, Stage, Trouble
from postroad.mail.routing import Endpoint, Hop
from postroad.mail.tls import Requirement

# Nobody needs more; each host costs two lookups.
MOST_HOSTS = 16

# One host of a plan: preference, name, addresses as text.
HostAddresses = tuple[int, str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class SiteKey:
    """Exactly what may share connections, limits and pauses: route, MX group, TLS requirement.

    `group` is the sorted host names of the MX set, joined with ",", or the relay.
    """

    route: str
    group: str
    tls: Requirement

    def __str__(self) -> str:
        return self.group


@dataclass(frozen=True, slots=True)
class Plan:
    """A hop resolved now: where to knock, in order, and how; good until an Instant."""

    hop: Hop
    site: SiteKey
    endpoints: tuple[Endpoint, ...]
    good_until: float


def host_name(name: str) -> str:
    """As names are compared: lower-case, without the final dot."""
    return name.lower().removesuffix(".")


def arrange(
    domain: str,
    mx: Sequence[tuple[int, str]],
    shuffle: Callable[[list[tuple[int, str]]], None],
    own_names: Collection[str] = frozenset(),
) -> list[tuple[int, str]] | Trouble:
    """The hosts to try for a domain, best preference first, equals in random order.

    Without MX records the domain itself (RFC 5321 5.1); a lone "." is the null MX
    (RFC 7505). Our own name among the hosts cuts its preference and all worse
    ones, since whoever is there would send the mail back to us.
    """
    best: dict[str, int] = {}
    for preference, host in mx or [(0, domain)]:
        name = host_name(host)
        best[name] = min(preference, best.get(name, preference))
    hosts = sorted((preference, name) for name, preference in best.items() if name)
    if not hosts:
        return Trouble(Stage.DNS, Fault.NULL_MX, f"Domain {domain} does not accept mail (null MX)")
    own = [preference for preference, host in hosts if host in own_names]
    hosts = [record for record in hosts if not own or record[0] < min(own)][:MOST_HOSTS]
    if not hosts:
        return _loop(domain)
    shuffle(hosts)
    return sorted(hosts, key=lambda record: record[0])


def _loop(name: str) -> Trouble:
    return Trouble(Stage.DNS, Fault.LOOP, f"mail for {name} loops back to myself")


def group(hosts: Iterable[str]) -> str:
    """The name of the site these hosts make up, whatever their order."""
    return ",".join(sorted({host_name(host) for host in hosts}))


def literal_address(domain: str) -> str | None:
    """The address in an RFC 5321 4.1.3 literal "[192.0.2.1]" or "[IPv6:2001:db8::1]"; None: not one."""
    return written_address(domain) if domain.startswith("[") and domain.endswith("]") else None


def written_address(name: str) -> str | None:
    """The address that is written as itself or as a literal: a name that no lookup is needed for."""
    inner = name[1:-1] if name[:1] == "[" and name[-1:] == "]" else name
    address = _parsed(inner[5:] if inner[:5].lower() == "ipv6:" else inner)
    return None if address is None else str(address)


def _keep(_: list[str]) -> None:
    return None


def endpoints(
    hosts: Sequence[HostAddresses],
    port: int,
    own_addresses: Collection[str],
    allow_private: bool,
    limit: int = 5,
    shuffle: Callable[[list[str]], None] = _keep,
) -> tuple[Endpoint, ...] | Trouble:
    """At most `limit` addresses to try, in order, families taking turns within a preference.

    `hosts` are in the order of `arrange`. An address of ours cuts its preference
    and all worse ones (pass none for a configured relay); loopback, link-local
    and private addresses go unless allowed. `shuffle` spreads the addresses of
    one host.
    """
    names = ", ".join(dict.fromkeys(host for _, host, _ in hosts))
    if not any(addresses for _, _, addresses in hosts):
        return Trouble(Stage.DNS, Fault.NO_ADDRESS, f"Host or domain name not found: no address for {names}")
    ours = {_parsed(address) for address in own_addresses} - {None}
    own = [level for level, _, addresses in hosts if not ours.isdisjoint(map(_parsed, addresses))]
    left = [host for host in hosts if not own or host[0] < min(own)]
    found: list[Endpoint] = []
    for preference, level in groupby(left, key=lambda host: host[0]):
        spots = [spot for host in level for spot in _allowed(host, allow_private, shuffle)]
        found += (Endpoint(host, address, port, preference) for host, address in _families_in_turn(spots))
    if found:
        return tuple(found[:limit])
    if own:
        return _loop(names)
    text = f"{names} has only addresses that mail is not delivered to (loopback or private)"
    return Trouble(Stage.DNS, Fault.FORBIDDEN_ADDRESS, text)


def _allowed(
    host: HostAddresses, allow_private: bool, shuffle: Callable[[list[str]], None]
) -> list[tuple[str, str]]:
    _, name, addresses = host
    good = [address for address in addresses if deliverable(address, allow_private)]
    shuffle(good)
    return [(name, address) for address in good]


def _families_in_turn(spots: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    six = [spot for spot in spots if ":" in spot[1]]
    four = [spot for spot in spots if ":" not in spot[1]]
    return [spot for pair in zip_longest(six, four) for spot in pair if spot is not None]


_NEVER = tuple(ip_network(net) for net in ("0.0.0.0/8", "224.0.0.0/3", "::/128", "ff00::/8"))
_PRIVATE = tuple(
    ip_network(net)
    for net in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/9",
    )
)


def deliverable(address: str, allow_private: bool) -> bool:
    """Whether mail may go to this address at all; private and loopback only when allowed.

    An IPv4 address written as IPv6 ("::ffff:127.0.0.1") is judged as what it is.
    """
    parsed = _parsed(address)
    if parsed is None:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    nets = _NEVER if allow_private else _NEVER + _PRIVATE
    return not any(parsed in net for net in nets)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
