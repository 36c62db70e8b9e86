"""A client's address, for trust and for limits."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.source import holder, plain_address


@pytest.mark.parametrize(
    ("text", "address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::1", "fe80::/64"),
        ("::1", "::1", "::/64"),
        ("userid 1000", "userid 1000", "userid 1000"),
        ("unknown", "unknown", "unknown"),
        ("no:address", "no:address", "no:address"),
        ("", "", ""),
    ],
)
def test_an_address_has_one_spelling_and_one_holder(text: str, address: str, counted: str) -> None:
    assert plain_address(text) == address
    assert holder(text) == counted


@given(st.ip_addresses())
def test_the_plain_form_means_the_same_host(address: object) -> None:
    plain = ip_address(plain_address(str(address)))
    assert plain in (address, getattr(address, "ipv4_mapped", None))
    assert holder(str(plain)) == holder(str(address))


@given(st.ip_addresses(v=6), st.ip_addresses(v=6))
def test_two_addresses_share_a_holder_where_they_share_64_bits(one: IPv6Address, other: IPv6Address) -> None:
    neighbour = IPv6Address(int(one) >> 64 << 64 | int(other) & (1 << 64) - 1)
    assert one.ipv4_mapped or neighbour.ipv4_mapped or holder(str(one)) == holder(str(neighbour))


@given(st.text(max_size=50))
def test_any_text_is_taken(text: str) -> None:
    assert holder(plain_address(text)) == holder(text)
