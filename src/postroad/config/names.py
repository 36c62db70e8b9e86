"""How names are spelled: of domains and patterns of them, of DKIM selectors, routes, aliases and hooks."""

from __future__ import annotations

import re

from postroad.config.problems import BadValue, shown
from postroad.config.spelling import TEXT, matching, spelled
from postroad.config.values import text
from postroad.mail.address import Address, AddressError, parse_address
from postroad.mail.printable import printable

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SELECTOR_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?")


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
def selector(value: object) -> str:
    """A DKIM selector (RFC 6376 3.1): labels that may also hold underscores."""
    name = text(value).lower()
    if len(name) > 63 or not all(map(_SELECTOR_LABEL.fullmatch, name.split("."))):
        raise BadValue(f'expected a selector such as "s1" or "2026-11", got {shown(value)}')
    return name


@spelled(matching("[a-z0-9]([a-z0-9_-]{0,38}[a-z0-9])?"))
def route_name(value: object) -> str:
    name = text(value)
    if not _NAME.fullmatch(name):
        raise BadValue(f'expected a short name in lower case such as "relay-1", got {shown(value)}')
    if name == "mx":
        raise BadValue('"mx" is the name of direct delivery; choose another')
    return name


@spelled(TEXT)
def local_target(value: object) -> Address | str:
    """An address, or a name without domain that has an alias."""
    word = text(value)
    try:
        address = parse_address(word, smtputf8=True, default_domain="localhost")
    except AddressError as error:
        raise BadValue(f'expected an address or a name such as "root": {error}') from None
    return address if "@" in word else address.local.lower()


@spelled(matching("[^:]+:[^:]+"))
def hook(value: object) -> str:
    """Python code by its name: "package.module:callable"."""
    word = text(value)
    module, colon, name = word.partition(":")
    parts = [*module.split("."), *name.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise BadValue(f'expected a hook such as "package.module:callable", got {shown(value)}')
    return word
