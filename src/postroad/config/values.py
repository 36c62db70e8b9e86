"""How the file spells its values: durations, sizes, addresses, names.

Each reader takes what `tomllib` made of a value and answers what the program
uses, or raises BadValue with a text that shows how it is spelled.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from postroad.config.problems import BadValue, KeyPath, shown
from postroad.config.spelling import TEXT, matching, schema_of, spelled
from postroad.mail.account import Rate
from postroad.mail.address import Address, AddressError, parse_address
from postroad.mail.message import Lane
from postroad.mail.printable import printable
from postroad.mail.sasl import SaslError, login_name

Reader = Callable[[object], Any]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(
    r"(?:([0-9]{1,9})w)?(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?"
)
SPELLED_DURATION = r"([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?"
_DURATION_UNITS = ("w", "d", "h", "m", "s", "ms")
LONGEST = 3650 * 86400.0

_OCTETS = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "KB": 10**3,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}
_SIZE = re.compile(r"([0-9]{1,12}) ?([A-Za-z]+)")
LARGEST = 1 << 40
MOST = 1_000_000_000

_MAPPED = IPv6Network("::ffff:0:0/96")

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SELECTOR_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_RATE = re.compile(r"([0-9]{1,9})/(.+)")
_LOCAL = re.compile(r"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]|[^\x00-\x7f]){1,64}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?")


@spelled(TEXT)
def text(value: object) -> str:
    if not isinstance(value, str):
        raise BadValue(f"expected a text in quotes, got {shown(value)}")
    if not value or not value.isprintable():
        raise BadValue("expected a text that is not empty and has no control characters")
    return value


@spelled({"type": "boolean"})
def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadValue(f"expected true or false, got {shown(value)}")
    return value


def number(low: int, high: int) -> Reader:
    """A whole number from low to high, both allowed."""

    @spelled({"type": "integer", "minimum": low, "maximum": high})
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadValue(f"expected a whole number, got {shown(value)}")
        if not low <= value <= high:
            raise BadValue(f"expected a number from {low} to {high}, got {value}")
        return value

    return read


def choice(*allowed: str) -> Reader:
    @spelled({"enum": list(allowed)})
    def read(value: object) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        listed = ", ".join(f'"{word}"' for word in allowed)
        raise BadValue(f"expected one of {listed}, got {shown(value)}{did_you_mean(value, allowed)}")

    return read


def did_you_mean(word: object, known: tuple[str, ...] | list[str]) -> str:
    """`; did you mean "x"?` where one of the known words is near, else nothing."""
    if not isinstance(word, str):
        return ""
    folded = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), folded, n=1)
    return f'; did you mean "{folded[near[0]]}"?' if near else ""


@spelled(matching(SPELLED_DURATION))
def duration(value: object) -> float:
    """Seconds, more than none: "90s", "5m", "1h30m", "5d", "250ms"."""
    example = f'expected a duration such as "5m", "1h30m" or "5d", got {shown(value)}'
    found = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if found is None:
        raise BadValue(example)
    seconds = sum(
        int(count) * _SECONDS[unit]
        for count, unit in zip(found.groups(), _DURATION_UNITS, strict=True)
        if count
    )
    if not 0 < seconds <= LONGEST:
        raise BadValue(f"expected a duration of more than 0 and at most 3650d, got {shown(value)}")
    return seconds


@spelled(matching(f"off|{SPELLED_DURATION}"))
def duration_or_off(value: object) -> float:
    """As `duration`, or "off": none, 0."""
    return 0.0 if value == "off" else duration(value)


@spelled(matching(r"[0-9]{1,12} ?([KMG]iB|[KkMG]B|B)"))
def size(value: object) -> int:
    """Octets, more than none: "25MiB" (1024s), "50MB" (1000s), "512B"."""
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2] not in _OCTETS:
        hint = did_you_mean(found[2], list(_OCTETS)) if found else ""
        raise BadValue(f'expected a size such as "25MiB" or "50MB", got {shown(value)}{hint}')
    octets = int(found[1]) * _OCTETS[found[2]]
    if not 0 < octets <= LARGEST:
        raise BadValue(f"expected a size of more than 0 and at most 1024GiB, got {shown(value)}")
    return octets


@spelled(TEXT)
def local_target(value: object) -> Address | str:
    """An address, or a name without domain that has an alias."""
    word = text(value)
    try:
        address = parse_address(word, smtputf8=True, default_domain="localhost")
    except AddressError as error:
        raise BadValue(f'expected an address or a name such as "root": {error}') from None
    return address if "@" in word else address.local.lower()


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
def domain(value: object) -> str:
    """A domain name in lower-case A-labels (RFC 1123 2.1, RFC 5890); U-labels are converted."""
    name = text(value).lower().removesuffix(".")
    if not name.isascii():
        name = _a_labels(name, value)
    labels = name.split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise BadValue(f'expected a domain such as "example.com", got {shown(value)}')
    return name


def _a_labels(name: str, value: object) -> str:
    import idna  # its tables cost time at start, and few configurations need them

    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise BadValue(f"{shown(value)} is no domain: {printable(str(error))}") from None


@spelled(TEXT)
def qualified(value: object) -> str:
    """A domain with at least two labels, as HELO and Message-ID want it."""
    name = domain(value)
    if "." not in name:
        raise BadValue(f'expected a full name such as "mail.example.com", got {shown(value)}')
    return name


@spelled(TEXT)
def pattern(value: object) -> str:
    """What a route matches: "example.net", "*.example.org" (below it) or "*" (all)."""
    word = text(value)
    if word == "*":
        return word
    prefix = "*." if word.startswith("*.") else ""
    try:
        return prefix + domain(word.removeprefix(prefix))
    except BadValue:
        raise BadValue(
            f'expected a pattern such as "example.net", "*.example.org" or "*", got {shown(value)}'
        ) from None


@spelled(TEXT)
def sender_pattern(value: object) -> str:
    """As whom an account may send (`mail.senders`): addresses, domains, wildcards, {account}."""
    word = text(value)
    if word in ("*", "{account}"):
        return word
    local, at, name = word.rpartition("@")
    prefix = "*." if name.startswith("*.") else ""
    try:
        if at and (not _LOCAL.fullmatch(local) or " " in local):
            raise BadValue("no local part")
        return f"{local}{at}{prefix}{domain(name.removeprefix(prefix))}"
    except BadValue:
        raise BadValue(
            'expected "anna@example.com", "example.com", "*.example.com", "*@example.com", '
            f'"{{account}}@example.com" or "*", got {shown(value)}'
        ) from None


@spelled(TEXT)
def account_pattern(value: object) -> str:
    """The name of an account, "net:ADDRESS", "net:NETWORK", "uid:NUMBER", or a pattern with "*"."""
    word = text(value)
    if len(word) > 255 or " " in word:
        raise BadValue(f"expected the name of an account, got {shown(value)}")
    if word.startswith("net:") and "*" not in word:
        try:
            found = network(word.removeprefix("net:"))
        except BadValue as bad:
            raise BadValue(f'after "net:": {bad}') from None
        return f"net:{found}" if "/" in word else f"net:{found.network_address}"
    if word.startswith("uid:") and not re.fullmatch(r"[0-9]{1,10}|\*", word.removeprefix("uid:")):
        raise BadValue(f'expected "uid:" and a number, or "uid:*", got {shown(value)}')
    return word


@spelled(matching(r"[0-9]{1,9}/.+"))
def rate(value: object) -> Rate:
    """A number for a time: "60/1m", "10/1s"; the time may be a bare unit, "60/m"."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    try:
        if found is None or not 0 < int(found[1]) <= MOST:
            raise BadValue("no number")
        time = found[2]
        return Rate(int(found[1]), duration(f"1{time}" if time in _SECONDS else time))
    except BadValue:
        raise BadValue(f'expected a rate such as "60/1m" or "10/1s", got {shown(value)}') from None


_LANES = tuple(each.name.lower() for each in Lane)


@spelled({"enum": list(_LANES)})
def lane(value: object) -> Lane:
    return Lane[str(choice(*_LANES)(value)).upper()]


@spelled(matching("(:*[0-9A-Fa-f]){64}:*"))
def fingerprint(value: object) -> str:
    """SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` prints it; answered in lower case."""
    word = text(value).replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", word):
        raise BadValue(f'expected 32 octets such as "AB:CD:...", got {shown(value)}')
    return word


@spelled(matching("/.*"))
def absolute_path(value: object) -> Path:
    """Of a socket, which need not be there yet."""
    word = text(value)
    if not word.startswith("/"):
        raise BadValue(f'expected a path such as "/run/dovecot/auth-client", got {shown(value)}')
    return Path(word)


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
def login(value: object) -> str:
    """The name of an account that logs in."""
    try:
        return login_name(text(value).encode())
    except SaslError:
        raise BadValue(f"expected the name of an account, got {shown(value)}") from None


@spelled(TEXT)
def selector(value: object) -> str:
    """A DKIM selector (RFC 6376 3.1): labels that may also hold underscores."""
    name = text(value).lower()
    if len(name) > 63 or not all(map(_SELECTOR_LABEL.fullmatch, name.split("."))):
        raise BadValue(f'expected a selector such as "s1" or "2026-11", got {shown(value)}')
    return name


@spelled(matching("[^:]+:[^:]+"))
def hook(value: object) -> str:
    """Python code by its name: "package.module:callable"."""
    word = text(value)
    module, colon, name = word.partition(":")
    parts = [*module.split("."), *name.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise BadValue(f'expected a hook such as "package.module:callable", got {shown(value)}')
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


def mapping(known: tuple[str, ...], reader: Reader) -> Reader:
    """A table from these words to what the reader reads, as a tuple of pairs."""

    properties = {key: schema_of(reader) or {} for key in known}

    @spelled({"type": "object", "properties": properties, "additionalProperties": False})
    def read(value: object) -> tuple[tuple[str, Any], ...]:
        if not isinstance(value, dict):
            raise BadValue(f"expected a table in braces, got {shown(value)}")
        faults: list[tuple[KeyPath, str]] = []
        made = []
        for key, item in value.items():
            try:
                if key not in known:
                    raise BadValue(f"unknown here{did_you_mean(key, known)}")
                made.append((key, reader(item)))
            except BadValue as bad:
                faults += [((key, *path), why) for path, why in bad.faults]
        if faults:
            raise BadValue(*faults)
        return tuple(made)

    return read


@spelled(matching("[a-z0-9]([a-z0-9_-]{0,38}[a-z0-9])?"))
def route_name(value: object) -> str:
    name = text(value)
    if not _NAME.fullmatch(name):
        raise BadValue(f'expected a short name in lower case such as "relay-1", got {shown(value)}')
    if name == "mx":
        raise BadValue('"mx" is the name of direct delivery; choose another')
    return name


def listed(reader: Reader, *, empty: bool = False) -> Reader:
    """A list of what the reader reads, as a tuple; every bad item is told."""

    @spelled({"type": "array", "items": schema_of(reader) or {}, **({} if empty else {"minItems": 1})})
    def read(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise BadValue(f"expected a list in brackets, got {shown(value)}")
        if not value and not empty:
            raise BadValue("the list is empty; leave the key out for the default")
        faults: list[tuple[KeyPath, str]] = []
        items = []
        for n, item in enumerate(value):
            try:
                items.append(reader(item))
            except BadValue as bad:
                faults += [((n, *path), why) for path, why in bad.faults]
        if faults:
            raise BadValue(*faults)
        return tuple(items)

    return read
