"""How hosts are spelled: networks of them, with or without a port, and as the address of a web service."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from postroad.config.names import domain
from postroad.config.problems import BadValue, shown
from postroad.config.spelling import TEXT, spelled
from postroad.config.values import text

_MAPPED = IPv6Network("::ffff:0:0/96")


@spelled(TEXT)
def network(value: object) -> IPv4Network | IPv6Network:
    """A network in CIDR; a single address is a network of one.

    One of IPv4 addresses in IPv6's clothes is the IPv4 network, as such clients are IPv4 clients.
    """
    try:
        found = ip_network(text(value))
        if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
            return ip_network((int(found.network_address) & 0xFFFFFFFF, found.prefixlen - 96))
        return found
    except ValueError as error:
        reason = " (host bits are set)" if "host bits" in str(error) else ""
        raise BadValue(
            f'expected a network such as "10.0.0.0/8" or "fd00::/8", got {shown(value)}{reason}'
        ) from None


@spelled(TEXT)
def nameserver(value: object) -> tuple[str, int]:
    """Address and port of a resolver; port 53 where none is written."""
    example = f'expected a resolver such as "127.0.0.1:53" or "[::1]:53", got {shown(value)}'
    if isinstance(value, str) and value.count(":") > 1 and not value.startswith("["):
        return host_address(value, example), 53
    host, port = split_port(value, example)
    if port == 0:
        raise BadValue(f"{example}: port 0 is no place to ask")
    return host_address(host, example), port or 53


@spelled(TEXT)
def relay(value: object) -> tuple[str, int | None]:
    """Next hop as host and port, None where no port is written.

    An address literal comes without brackets; a name in brackets keeps them: it is
    taken as a host and not looked up as MX.
    """
    example = f'expected a host such as "smtp.example.net:587" or "[2001:db8::25]:25", got {shown(value)}'
    host, port = split_port(value, example)
    if port == 0:
        raise BadValue(f"{example}: port 0 is no place to deliver to")
    bracketed = isinstance(value, str) and value.startswith("[")
    try:
        return str(ip_address(host)), port
    except ValueError:
        if bracketed and ":" in host:
            raise BadValue(example) from None
    try:
        name = domain(host)
    except BadValue:
        raise BadValue(example) from None
    return (f"[{name}]" if bracketed else name), port


def split_port(value: object, example: str) -> tuple[str, int | None]:
    found = (
        re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:]*))(?::([0-9]{1,5}))?", value)
        if isinstance(value, str)
        else None
    )
    if found is None or not value:
        raise BadValue(example)
    port = int(found[3]) if found[3] else None
    if port is not None and port > 65535:
        raise BadValue(f"{example}: ports end at 65535")
    return found[1] or found[2], port


def host_address(host: str, example: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        raise BadValue(example) from None


@spelled(TEXT)
def web_address(value: object) -> str:
    """https everywhere; http on loopback alone, since tokens go there."""
    word = text(value)
    example = f'expected an address such as "https://id.example.com/introspect", got {shown(value)}'
    try:
        parts = urlsplit(word)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise BadValue(example) from None
    if (
        parts.scheme not in ("https", "http")
        or not host
        or parts.username
        or not word.isascii()
        or " " in word
    ):
        raise BadValue(example)
    if parts.scheme == "http" and host not in ("127.0.0.1", "::1", "localhost"):
        raise BadValue(f"{example}: http would send tokens in the clear")
    return word


@spelled(TEXT)
def http_address(value: object) -> str:
    word = text(value)
    try:
        parts = urlsplit(word)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or parts.query or parts.username:
        raise BadValue(f'expected an address such as "http://127.0.0.1:11333", got {shown(value)}')
    return word
