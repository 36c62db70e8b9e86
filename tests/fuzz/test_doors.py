"""Whatever stands before a session, PROXY or XCLIENT, is read or refused as documented."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail.proxy import LONGEST, SIGNATURE, ProxyError
from postroad.mail.proxy import read as read_proxy
from postroad.mail.xclient import XclientError
from postroad.mail.xclient import parse as parse_xclient

PROXY_PIECES = [SIGNATURE, b"PROXY", b" ", b"TCP4", b"TCP6", b"UNKNOWN", b"\r\n", b"1.2.3.4", b"::1", b"25"]
HEADS = st.lists(st.sampled_from([*PROXY_PIECES, b"\x20", b"\x21", b"\x11", b"\0"]) | st.binary(max_size=8))
BINARY = st.tuples(st.integers(0x1F, 0x22), st.integers(0, 0x33), st.binary(max_size=300)).map(
    lambda t: SIGNATURE + bytes([t[0], t[1]]) + len(t[2]).to_bytes(2, "big") + t[2]
)
WORDS = st.sampled_from(
    [
        "NAME",
        "ADDR",
        "PORT",
        "PROTO",
        "HELO",
        "LOGIN",
        "DESTADDR",
        "=",
        "+",
        " ",
        "[UNAVAILABLE]",
        "IPV6:",
        "::1",
    ]
)

T = TypeVar("T")


def answer(parse: Callable[[], T]) -> T | ValueError:
    """What a parser answers, or its documented refusal."""
    try:
        return parse()
    except (ProxyError, XclientError) as refusal:
        return refusal


@given(HEADS.map(b"".join) | BINARY, st.binary(max_size=20))
@settings(max_examples=1000, deadline=None)
def test_a_proxy_header_is_read_awaited_or_refused(octets: bytes, rest: bytes) -> None:
    found = answer(lambda: read_proxy(octets))
    if isinstance(found, ValueError):
        assert str(found).isprintable()
        return
    if found is None:
        assert len(octets) < LONGEST
        return
    assert 0 < found.length <= len(octets)
    assert 0 <= found.port <= 65535
    if found.address not in (None, "unknown"):
        ip_address(found.address)
    # What follows the header does not change what it says, and without it there is none.
    assert read_proxy(octets[: found.length] + rest) == found
    assert read_proxy(octets[: found.length - 1]) is None


@given(st.lists(WORDS | st.text(max_size=5), max_size=20).map("".join))
@settings(max_examples=1000, deadline=None)
def test_an_xclient_argument_is_read_or_refused(argument: str) -> None:
    claim = answer(lambda: parse_xclient(argument))
    if isinstance(claim, ValueError):
        assert str(claim).isprintable()
        return
    for text in (claim.address, claim.helo, claim.login, claim.protocol):
        assert text is None or text.isprintable()
    if claim.address not in (None, "unknown"):
        ip_address(claim.address)
