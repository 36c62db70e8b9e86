"""XCLIENT, by which a named host says for whom it speaks (Postfix, XCLIENT_README).

Pure reading of the command's argument. DESTADDR and DESTPORT are checked and have no use
here; NAME is told in Received and in the log, and no decision goes by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from postroad.mail.frozen import dataclass
from postroad.mail.source import plain_address
from postroad.mail.xtext import XtextError, decode

ATTRIBUTES: Final = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
"""As EHLO offers them."""
UNKNOWN_ADDRESS: Final = "unknown"
LONGEST_VALUE: Final = 255

_UNAVAILABLE: Final = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]"})
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9._])?")
_PORT: Final = re.compile(r"[0-9]{1,5}")


class XclientError(ValueError):
    """An argument that is none; the text is printable."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one XCLIENT says of the client; None where it says nothing.

    `address` "unknown", `port` 0, `helo`, `login` and `name` "": said to be unavailable.
    `protocol` is SMTP or ESMTP.
    """

    address: str | None = None
    port: int | None = None
    helo: str | None = None
    protocol: str | None = None
    login: str | None = None
    name: str | None = None


def parse(argument: str) -> Claim:
    """The attributes behind the verb, the last one counting where one is said twice. Raises XclientError."""
    claim = Claim()
    words = argument.split()
    if not words:
        raise XclientError("no attribute")
    for word in words:
        name, equals, written = word.partition("=")
        read = _READERS.get(name.upper())
        if read is None or not equals:
            raise XclientError("an attribute that is not offered")
        claim = read(claim, _value(name.upper(), written))
    return claim


def _value(name: str, written: str) -> str:
    try:
        value = decode(written).decode()
    except (XtextError, UnicodeDecodeError):
        raise XclientError(f"{name} is not xtext") from None
    if not value or len(value) > LONGEST_VALUE or not value.isprintable():
        raise XclientError(f"{name} is empty, too long or not printable")
    return "" if value.upper() in _UNAVAILABLE else value


def _address(name: str, value: str) -> str:
    if not value:
        return UNKNOWN_ADDRESS
    try:
        if ":" not in value:
            return str(IPv4Address(value))
        address = value[5:] if value[:5].upper() == "IPV6:" else value
        if "%" not in address:
            return plain_address(str(IPv6Address(address)))
    except ValueError:
        pass
    raise XclientError(f"{name} is no IP address")


def _port(name: str, value: str) -> int:
    if not value:
        return 0
    if not _PORT.fullmatch(value) or not 0 < int(value) < 65536:
        raise XclientError(f"{name} is no port")
    return int(value)


def _addr(claim: Claim, value: str) -> Claim:
    return replace(claim, address=_address("ADDR", value))


def _client_port(claim: Claim, value: str) -> Claim:
    return replace(claim, port=_port("PORT", value))


def _helo(claim: Claim, value: str) -> Claim:
    if not value.isascii():
        raise XclientError("HELO is not ASCII")
    return replace(claim, helo=value)


def _proto(claim: Claim, value: str) -> Claim:
    if value.upper() not in ("SMTP", "ESMTP"):
        raise XclientError("PROTO is neither SMTP nor ESMTP")
    return replace(claim, protocol=value.upper())


def _login(claim: Claim, value: str) -> Claim:
    return replace(claim, login=value)


def _name(claim: Claim, value: str) -> Claim:
    if value and not _NAME.fullmatch(value):
        raise XclientError("NAME is no host name")
    return replace(claim, name=value)


def _destaddr(claim: Claim, value: str) -> Claim:
    _address("DESTADDR", value)
    return claim


def _destport(claim: Claim, value: str) -> Claim:
    _port("DESTPORT", value)
    return claim


_READERS: Final[dict[str, Callable[[Claim, str], Claim]]] = {
    "NAME": _name,
    "ADDR": _addr,
    "PORT": _client_port,
    "PROTO": _proto,
    "HELO": _helo,
    "LOGIN": _login,
    "DESTADDR": _destaddr,
    "DESTPORT": _destport,
}
