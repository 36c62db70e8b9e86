"""PROXY headers: what is one, what is not, and how much of the stream belongs to it."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.proxy import LONGEST, SIGNATURE, Header, ProxyError, read

V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7")
INET = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack(">HH", 40000, 587)
INET6 = V6 + V6 + struct.pack(">HH", 40000, 587)


def binary(command: int, family: int, block: bytes = b"", *, length: int | None = None) -> bytes:
    size = len(block) if length is None else length
    return SIGNATURE + bytes([command, family]) + struct.pack(">H", size) + block


@pytest.mark.parametrize(
    ("octets", "address", "port"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 587\r\n", "192.0.2.7", 40000),
        (b"PROXY TCP6 2001:DB8::7 2001:db8::1 65535 0\r\n", "2001:db8::7", 65535),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.8 1 2\r\n", "192.0.2.7", 1),
        (b"PROXY UNKNOWN\r\n", None, 0),
        (b"PROXY UNKNOWN whatever this is\r\n", None, 0),
        (binary(0x21, 0x11, INET), "192.0.2.7", 40000),
        (binary(0x21, 0x21, INET6), "2001:db8::7", 40000),
        (binary(0x21, 0x11, INET + b"\x03\0\x04abcd\x20\0\0"), "192.0.2.7", 40000),
        (binary(0x21, 0x31, b"/run/a".ljust(216, b"\0")), "unknown", 0),
        (binary(0x21, 0x00), None, 0),
        (binary(0x21, 0x10, INET), None, 0),
        (binary(0x20, 0x00), None, 0),
        (binary(0x20, 0x11, INET), None, 0),
        (binary(0x20, 0x11, b"short"), None, 0),
    ],
)
def test_a_header_names_the_client(octets: bytes, address: str | None, port: int) -> None:
    assert read(octets) == Header(len(octets), address, port)
    assert read(octets + b"EHLO c\r\n") == Header(len(octets), address, port)
    assert all(read(octets[:n]) is None for n in range(len(octets)))


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO c\r\n",
        b"\x16\x03\x01",
        b"proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
        b"PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
        b"PROXY TCP4 2001:db8::7 198.51.100.1 1 2\r\n",
        b"PROXY TCP6 192.0.2.7 2001:db8::7 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::7 1 2\r\n",
        b"PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1 -2\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.\xff 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n",
        b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n",
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
        b"PROXY " + b"x" * 200,
        binary(0x11, 0x11, INET),
        binary(0x22, 0x11, INET),
        binary(0x21, 0x41, INET),
        binary(0x21, 0x13, INET),
        binary(0x21, 0x12, INET),
        binary(0x21, 0x11, INET[:-1]),
        binary(0x21, 0x21, INET6[:-1]),
        binary(0x21, 0x11, INET, length=LONGEST),
        binary(0x20, 0x00, length=65535),
        SIGNATURE[:-1] + b"\r" + INET,
    ],
)
def test_anything_else_is_refused_as_soon_as_it_is_certain(octets: bytes) -> None:
    with pytest.raises(ProxyError) as refusal:
        read(octets)
    assert str(refusal.value).isprintable()


V4_PAIR = st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4))
V6_PAIR = st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
PORT = st.integers(0, 65535)


@given(st.one_of(V4_PAIR, V6_PAIR), PORT, PORT, st.binary(max_size=300), st.booleans())
def test_what_a_balancer_writes_is_read_back(
    pair: tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address],
    port: int,
    other: int,
    rest: bytes,
    first_version: bool,
) -> None:
    source, target = pair
    if first_version:
        octets = f"PROXY TCP{source.version} {source} {target} {port} {other}\r\n".encode()
    else:
        block = source.packed + target.packed + struct.pack(">HH", port, other) + rest
        octets = binary(0x21, 0x11 if source.version == 4 else 0x21, block)
    found = read(octets + rest)
    assert found is not None
    assert (found.length, found.port) == (len(octets), port)
    assert found.address is not None
    assert ip_address(found.address) in (source, getattr(source, "ipv4_mapped", None))
