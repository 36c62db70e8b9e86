"""XCLIENT arguments: what they say of the client."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.xclient import ATTRIBUTES, Claim, XclientError, parse
from postroad.mail.xtext import encode


@pytest.mark.parametrize(
    ("argument", "claim"),
    [
        ("ADDR=192.0.2.7", Claim(address="192.0.2.7")),
        ("addr=192.0.2.7  port=25", Claim(address="192.0.2.7", port=25)),
        ("ADDR=IPV6:2001:DB8::7", Claim(address="2001:db8::7")),
        ("ADDR=ipv6:::ffff:192.0.2.7", Claim(address="192.0.2.7")),
        ("ADDR=2001:db8::7", Claim(address="2001:db8::7")),
        ("ADDR=[UNAVAILABLE] PORT=[unavailable]", Claim(address="unknown", port=0)),
        ("HELO=c.example PROTO=esmtp", Claim(helo="c.example", protocol="ESMTP")),
        ("HELO=[UNAVAILABLE] PROTO=SMTP", Claim(helo="", protocol="SMTP")),
        ("HELO=my+20pc", Claim(helo="my pc")),
        ("LOGIN=anna+2Bspam@x.example", Claim(login="anna+spam@x.example")),
        ("LOGIN=[Unavailable]", Claim(login="")),
        ("LOGIN=J+C3+BCrgen", Claim(login="Jürgen")),
        ("NAME=spike.example DESTADDR=192.0.2.1 DESTPORT=587", Claim(name="spike.example")),
        ("NAME=[TEMPUNAVAIL] DESTADDR=IPV6:::1 DESTPORT=[UNAVAILABLE]", Claim(name="")),
        ("ADDR=192.0.2.7 ADDR=192.0.2.8", Claim(address="192.0.2.8")),
    ],
)
def test_attributes_say_who_the_client_is(argument: str, claim: Claim) -> None:
    assert parse(argument) == claim


@pytest.mark.parametrize(
    "argument",
    [
        "",
        " ",
        "ADDR",
        "ADDR=",
        "=x",
        "COLOUR=red",
        "ADDR=example.com",
        "ADDR=192.0.2.256",
        "ADDR=IPV6:192.0.2.7",
        "ADDR=IPV6:fe80::1%25eth0",
        "ADDR=[192.0.2.7]",
        "PORT=0",
        "PORT=65536",
        "PORT=http",
        "PROTO=LMTP",
        "PROTO=[UNAVAILABLE]",
        "HELO=a+0Ab",
        "HELO=a+00b",
        "HELO=a+b",
        "HELO=b+C3+BCcher",
        "HELO=" + "x" * 256,
        "LOGIN=a+FF",
        "LOGIN=a+7F",
        "NAME=a+20b",
        "NAME=-x",
        "DESTADDR=here",
        "DESTPORT=there",
        "HELO=c.example nothing",
    ],
)
def test_an_argument_that_is_none_is_refused_in_print(argument: str) -> None:
    with pytest.raises(XclientError) as refusal:
        parse(argument)
    assert str(refusal.value).isprintable()


def test_what_is_offered_is_taken() -> None:
    for name in ATTRIBUTES.split():
        assert parse(f"{name}={'ESMTP' if name == 'PROTO' else '[UNAVAILABLE]'}") is not None


PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="[]"), min_size=1)


@given(st.ip_addresses(), st.integers(1, 65535), PRINTABLE.filter(lambda t: len(t) < 256), st.booleans())
def test_what_a_relay_writes_is_read_back(
    address: IPv4Address | IPv6Address, port: int, text: str, extended: bool
) -> None:
    written = str(address) if address.version == 4 else f"IPV6:{address}"
    protocol = "ESMTP" if extended else "SMTP"
    word = encode(text.encode())
    found = parse(f"ADDR={written} PORT={port} PROTO={protocol} HELO={word} LOGIN={word}")
    assert found.address is not None
    assert ip_address(found.address) in (address, getattr(address, "ipv4_mapped", None))
    assert replace(found, address=None) == Claim(None, port, text, protocol, text)
