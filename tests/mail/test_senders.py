from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.address import Address, parse_address
from postroad.mail.senders import Senders


@pytest.mark.parametrize(
    ("patterns", "account", "address", "allowed"),
    [
        (["*"], "anna", "x@example.org", True),
        ([], "anna", "anna@example.com", False),
        (["anna@example.com"], "anna", "anna@example.com", True),
        (["anna@example.com"], "anna", "ANNA@Example.COM", True),
        (["Anna@example.com"], "anna", "anna@example.com", True),
        (["anna@example.com"], "anna", "joanna@example.com", False),
        (["anna@example.com"], "anna", "anna@example.com.evil.example", False),
        (["anna@example.com"], "anna", "anna@sub.example.com", False),
        (["example.com"], "anna", "x@example.com", True),
        (["example.com"], "anna", "x@sub.example.com", False),
        (["example.com"], "anna", "x@badexample.com", False),
        (["*.example.com"], "anna", "x@sub.example.com", True),
        (["*.example.com"], "anna", "x@example.com", False),
        (["*.example.com"], "anna", "x@badexample.com", False),
        (["news-*@example.com"], "anna", "news-42@example.com", True),
        (["news-*@example.com"], "anna", "old-news-42@example.com", False),
        (["anna@*.example.com"], "anna", "anna@a.b.example.com", True),
        (["anna@*.example.com"], "anna", "bert@a.example.com", False),
        (["{account}"], "anna@example.com", "anna@example.com", True),
        (["{account}"], "anna@example.com", "bert@example.com", False),
        (["{account}"], "anna", "x@anna", False),
        (["{account}@example.com"], "anna", "anna@example.com", True),
        (["{account}-*@example.com"], "anna", "anna-2@example.com", True),
        (["{account}@example.com"], "*", "boss@example.com", False),
        (["a@example.org", "example.com"], "anna", "x@example.com", True),
    ],
)
def test_an_address_is_allowed_when_a_pattern_means_it(
    patterns: list[str], account: str, address: str, allowed: bool
) -> None:
    assert Senders(patterns, account).allow(parse_address(address)) is allowed


LOCALS = st.text("abAB.+*", min_size=1, max_size=6)


@given(LOCALS, LOCALS)
def test_a_pattern_without_star_means_one_address_whatever_its_case(pattern: str, local: str) -> None:
    allowed = Senders([f"{pattern}@example.com"], "anna").allow(Address(local, "example.com"))
    if "*" not in pattern:
        assert allowed is (pattern.lower() == local.lower())
    assert not Senders([f"{pattern}@example.com"], "anna").allow(Address(local, "example.net"))
