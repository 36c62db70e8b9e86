"""The PROXY protocol, versions 1 and 2: who a balancer speaks for (HAProxy, proxy-protocol.txt, section 2).

Pure reading: octets in, a `Header` or the wish for more out. TLVs are skipped,
and with them the header stays below `LONGEST` octets.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from postroad.mail.frozen import dataclass
from postroad.mail.source import plain_address

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
FIXED: Final = 16
"""Octets of a version 2 header before its addresses; no header of either version is much shorter."""
LONGEST: Final = 4096
LONGEST_LINE: Final = 107
"""Octets of a version 1 header with its CRLF (section 2.1)."""

_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")
_LOCAL, _PROXY = 0, 1
_STREAM: Final = 1
# Address families and what their addresses and ports take up (section 2.2).
_INET, _INET6, _UNIX = 1, 2, 3
_ROOM: Final = {0: 0, _INET: 12, _INET6: 36, _UNIX: 216}


class ProxyError(ValueError):
    """No PROXY header, or a wrong one; the text is printable."""


@dataclass(frozen=True, slots=True)
class Header:
    """A whole header: its octets on the wire, and the client.

    `address` None: the connection is the balancer's own (LOCAL, a health check), or
    the balancer does not know whose it is; then the real peer counts. "unknown": a
    client that has no IP address.
    """

    length: int
    address: str | None
    port: int = 0


def read(octets: bytes) -> Header | None:
    """The header at the beginning of what came so far; None where more is needed.

    None also promises that all of `octets` belongs to the header. Raises ProxyError.
    """
    if octets.startswith(SIGNATURE[: len(octets)]):
        return _binary(octets)
    if octets.startswith(b"PROXY "[: len(octets)]):
        return _line(octets)
    raise ProxyError("no PROXY header")


def _line(octets: bytes) -> Header | None:
    end = octets.find(b"\r\n", 0, LONGEST_LINE)
    if end < 0:
        if len(octets) >= LONGEST_LINE:
            raise ProxyError(f"no line end in {LONGEST_LINE} octets")
        if b"\n" in octets:
            raise ProxyError("a line ends with CR LF")
        return None
    try:
        words = octets[:end].decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise ProxyError("not ASCII") from None
    if words[1] == "UNKNOWN":
        return Header(end + 2, None)
    if words[1] not in ("TCP4", "TCP6") or len(words) != 6:
        raise ProxyError("neither TCP4, TCP6 nor UNKNOWN with two addresses and two ports")
    address, _ = (_written_address(words[1], word) for word in words[2:4])
    port, _ = (_written_port(word) for word in words[4:6])
    return Header(end + 2, address, port)


def _written_address(family: str, word: str) -> str:
    try:
        known = IPv4Address(word) if family == "TCP4" else IPv6Address(word)
    except ValueError:
        raise ProxyError(f"an address is not of {family}") from None
    if "%" in word:
        raise ProxyError(f"an address is not of {family}")
    return plain_address(str(known))


def _written_port(word: str) -> int:
    if not _PORT.fullmatch(word) or int(word) > 65535:
        raise ProxyError("a port is none")
    return int(word)


def _binary(octets: bytes) -> Header | None:
    if len(octets) < FIXED:
        return None
    version, command = octets[12] >> 4, octets[12] & 15
    family, transport = octets[13] >> 4, octets[13] & 15
    if version != 2 or command not in (_LOCAL, _PROXY):
        raise ProxyError("neither LOCAL nor PROXY of version 2")
    if family not in _ROOM or transport > 2:
        raise ProxyError("an address family or a transport that is not assigned")
    length = FIXED + int.from_bytes(octets[14:16], "big")
    if length > LONGEST:
        raise ProxyError(f"longer than {LONGEST} octets")
    if command == _PROXY and length < FIXED + _ROOM[family]:
        raise ProxyError("shorter than its addresses")
    if len(octets) < length:
        return None
    if command == _LOCAL or family == 0 or transport == 0:
        return Header(length, None)
    if transport != _STREAM:
        raise ProxyError("datagrams carry no SMTP")
    return _endpoint(family, length, octets[FIXED:length])


def _endpoint(family: int, length: int, block: bytes) -> Header:
    if family == _UNIX:
        return Header(length, "unknown")
    width = 4 if family == _INET else 16
    source = block[:width]
    address = str(IPv4Address(source) if family == _INET else IPv6Address(source))
    return Header(length, plain_address(address), int.from_bytes(block[2 * width : 2 * width + 2], "big"))
