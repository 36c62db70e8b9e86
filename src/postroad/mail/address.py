"""Parse and normalise addresses and domains (RFC 5321 4.1.2, RFC 6531, RFC 5890).

The grammar is RFC 5321's, not the looser one of header fields: no comments, no
white space, no obsolete routes inside the domain. The usual address is decided
by one regular expression; only quoted, literal and internationalised ones go on.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from postroad.mail.frozen import dataclass
from postroad.mail.printable import is_text

# RFC 5321 4.5.3.1: a path has 256 octets, of which the brackets take two.
MAX_ADDRESS = 254
MAX_LOCAL = 64
MAX_DOMAIN = 255
# A source route may precede an address; what is longer than this is not looked at.
MAX_PATH_TEXT = 1024

# Possessive quantifiers on single characters alone: on groups they are broken before Python 3.11.5.
_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}+(?<!-)"
_DOMAIN_TEXT = rf"{_LABEL}(?:\.{_LABEL})*"
USUAL = rf"([{_ATEXT}]++(?:\.[{_ATEXT}]++)*)@({_DOMAIN_TEXT})"
"""A pattern of the usual address, its local part and domain as groups; lengths are for `usual_address`."""
_USUAL = re.compile(rf"{USUAL}\.?")
_DOMAIN = re.compile(_DOMAIN_TEXT)
_UTEXT = rf"[{_ATEXT}\u0080-\U0010ffff]"
_DOT_STRING = re.compile(rf"{_UTEXT}++(?:\.{_UTEXT}++)*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\[ -~])*)"')
_QUOTED_PAIR = re.compile(r"\\([ -~])")
_SOURCE_ROUTE = re.compile(r"@[^@,:\s]+(?:,@[^@,:\s]+)*:")


class AddressError(ValueError):
    """Not an address; the text says why and is printable."""


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox: `local` unquoted, case kept; `domain` lower-case A-labels or a literal in brackets."""

    local: str
    domain: str

    @property
    def is_ascii(self) -> bool:
        """False: the address can only travel with SMTPUTF8 (RFC 6531)."""
        return self.local.isascii()

    def __str__(self) -> str:
        """The form on the wire: the local part quoted when its characters ask for it."""
        # Letters and digits, of any script, are most local parts.
        if self.local.isalnum() or _DOT_STRING.fullmatch(self.local):
            return f"{self.local}@{self.domain}"
        escaped = self.local.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"@{self.domain}'


def parse_address(text: str, *, smtputf8: bool = False, default_domain: str | None = None) -> Address:
    """`local@domain` -> Address; AddressError where RFC 5321 4.1.2 or its size limits say no.

    Without `smtputf8` only ASCII is an address. `default_domain` completes a text that
    is a local part alone, as command lines and header fields have it.
    """
    usual = _USUAL.fullmatch(text)
    if usual is not None and len(text) <= MAX_ADDRESS:
        local, domain = usual.groups()
        address = usual_address(local, domain)
        if address is not None:
            return address
    return _parse_unusual(text, smtputf8, default_domain)


def usual_address(local: str, domain: str) -> Address | None:
    """What the groups of `USUAL` matched as an address; None where they are too long for one."""
    if len(local) > MAX_LOCAL or len(local) + len(domain) >= MAX_ADDRESS:
        return None
    return Address(local, domain.lower())


def parse_path(text: str, *, smtputf8: bool = False, default_domain: str | None = None) -> Address | None:
    """A path in its brackets, as after `MAIL FROM:` and `RCPT TO:`; None for the null path `<>`.

    A source route is accepted and dropped (RFC 5321 appendix C). Only "Postmaster" may
    come without a domain (4.1.1.3), and gets `default_domain` where one is given.
    """
    if len(text) < 2 or text[0] != "<" or text[-1] != ">":
        raise AddressError(f"no path in angle brackets: {_shown(text)}")
    inner = text[1:-1]
    if not inner:
        return None
    if inner[0] == "@":
        inner = _without_route(inner)
    if default_domain is not None and inner.lower() == "postmaster":
        return Address(inner, default_domain)
    return parse_address(inner, smtputf8=smtputf8)


def normalise_domain(text: str) -> str:
    """Lower-case A-labels without the trailing dot; an address literal in its usual spelling.

    U-labels are mapped by UTS 46 first. Raises AddressError.
    """
    if text.startswith("["):
        return _literal(text)
    name = text.removesuffix(".")
    if not name.isascii():
        name = _a_labels(name)
    if not _DOMAIN.fullmatch(name):
        raise AddressError(f"not a domain name: {_shown(text)}")
    if len(name) > MAX_DOMAIN:
        raise AddressError(f"a domain name of more than {MAX_DOMAIN} octets")
    return name.lower()


def _parse_unusual(text: str, smtputf8: bool, default_domain: str | None) -> Address:
    _check_characters(text, smtputf8)
    local, at, domain = _cut(text)
    if not at and default_domain is not None:
        domain = default_domain
    elif not at:
        raise AddressError(f"an address without a domain: {_shown(text)}")
    if len(local.encode()) > MAX_LOCAL:
        raise AddressError(f"a local part of more than {MAX_LOCAL} octets: {_shown(text)}")
    address = Address(_unquoted(local), normalise_domain(domain))
    if len(str(address).encode()) > MAX_ADDRESS:
        raise AddressError(f"an address of more than {MAX_ADDRESS} octets: {_shown(text)}")
    return address


def _check_characters(text: str, smtputf8: bool) -> None:
    if len(text) > MAX_PATH_TEXT:
        raise AddressError(f"an address of more than {MAX_ADDRESS} octets: {_shown(text)}")
    if not is_text(text):
        raise AddressError(f"a control or unprintable character in an address: {_shown(text)}")
    if not smtputf8 and not text.isascii():
        raise AddressError(f"an address that needs SMTPUTF8: {_shown(text)}")


def _cut(text: str) -> tuple[str, str, str]:
    """Local part, "@" if there is one, domain; the local part keeps its quotes."""
    if not text.startswith('"'):
        return text.partition("@")
    quoted = _QUOTED.match(text)
    if quoted is None:
        raise AddressError(f"a quoted local part that does not end: {_shown(text)}")
    at, domain = text[quoted.end() : quoted.end() + 1], text[quoted.end() + 1 :]
    if at not in ("", "@"):
        raise AddressError(f"text after a quoted local part: {_shown(text)}")
    return quoted.group(), at, domain


def _unquoted(local: str) -> str:
    if local.startswith('"'):
        return _QUOTED_PAIR.sub(r"\1", local[1:-1])
    if not _DOT_STRING.fullmatch(local):
        raise AddressError(f"not a local part: {_shown(local)}")
    return local


def _without_route(inner: str) -> str:
    route = _SOURCE_ROUTE.match(inner)
    if route is None:
        raise AddressError(f"not a source route: {_shown(inner)}")
    for hop in route.group()[1:-1].split(",@"):
        normalise_domain(hop)
    return inner[route.end() :]


def _literal(text: str) -> str:
    """`[1.2.3.4]` or `[IPv6:...]` (RFC 5321 4.1.3); other tags are not registered."""
    inner = text[1:-1]
    try:
        if text[-1] != "]" or "%" in inner:
            raise ValueError
        if inner[:5].lower() == "ipv6:":
            return f"[IPv6:{IPv6Address(inner[5:])}]"
        return f"[{IPv4Address(inner)}]"
    except ValueError:
        raise AddressError(f"not an address literal: {_shown(text)}") from None


def _a_labels(name: str) -> str:
    # Its tables cost 10 ms to load, and most installations never meet a U-label.
    import idna

    if len(name) > MAX_DOMAIN:
        raise AddressError(f"a domain name of more than {MAX_DOMAIN} octets")
    try:
        return idna.encode(name, uts46=True).decode("ascii").removesuffix(".")
    except UnicodeError:
        raise AddressError(f"not an internationalised domain name: {_shown(name)}") from None


def _shown(text: str) -> str:
    """At most 80 characters of what a stranger sent, safe to log and to answer."""
    cut = text if len(text) <= 80 else text[:77] + "..."
    return ascii(cut)
