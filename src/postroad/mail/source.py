"""A client's address as trust, limits and the log see it (RFC 4291 2.5.5.2, RFC 6177)."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Final

_UPPER_64: Final = ~((1 << 64) - 1)


def plain_address(text: str) -> str:
    """An address without its scope; one that is IPv4 in IPv6's clothes (::ffff:a.b.c.d) as IPv4.

    Text that is no IPv6 address comes back as it is.
    """
    if ":" not in text:
        return text
    try:
        known = IPv6Address(text.partition("%")[0])
    except ValueError:
        return text
    return str(known.ipv4_mapped or known)


def holder(address: str) -> str:
    """What limits count by: an IPv4 address itself, of an IPv6 address its /64, as "2001:db8::/64".

    Whoever has one address of a /64 has all of them. Other text stands for itself.
    """
    if ":" not in address:
        return address
    try:
        known = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return f"{IPv6Address(int(known) & _UPPER_64)}/64"
