from __future__ import annotations

import pytest

from postroad.mail.address import Address
from postroad.mail.routing import DIRECT, Endpoint, Hop, Route, Routes, patterns_of

RELAYED = Route("inside", match=("*.corp.example",), relay=("relay.example", 2525))
BY_MX = Route("strict", match=("bank.example",))
SIX = Route("six", match=("six.example",), relay=("2001:db8::1", 25))
EVERYTHING = Route("rest", match=("*",), relay=("127.0.0.1", 2626))
ROUTES = (RELAYED, BY_MX, SIX)


@pytest.mark.parametrize(
    ("pattern", "domain", "result"),
    [
        ("*", "any.example", True),
        ("example.net", "example.net", True),
        ("example.net", "sub.example.net", False),
        ("example.net", "badexample.net", False),
        ("*.example.net", "sub.example.net", True),
        ("*.example.net", "a.b.example.net", True),
        ("*.example.net", "example.net", False),
        ("*.example.net", "badexample.net", False),
    ],
)
def test_a_pattern_names_a_domain_or_those_below_it(pattern: str, domain: str, result: bool) -> None:
    assert (pattern in patterns_of(domain)) is result
    assert (Routes([Route("r", match=(pattern,))]).place(domain) is not None) is result


@pytest.mark.parametrize(
    ("domain", "hop", "shown"),
    [
        ("other.example", Hop(DIRECT, "other.example"), "other.example"),
        ("a.corp.example", Hop("inside", "relay.example:2525"), "inside:relay.example:2525"),
        ("bank.example", Hop("strict", "bank.example"), "strict:bank.example"),
        ("six.example", Hop("six", "[2001:db8::1]:25"), "six:[2001:db8::1]:25"),
    ],
)
def test_the_hop_of_a_recipient(domain: str, hop: Hop, shown: str) -> None:
    assert Routes(ROUTES).hop_for(Address("a", domain)) == hop
    assert str(hop) == shown


def test_the_first_route_that_matches_wins() -> None:
    assert Routes((EVERYTHING, *ROUTES)).place("a.corp.example") == 0
    assert Routes((*ROUTES, EVERYTHING)).place("a.corp.example") == 0
    assert Routes((*ROUTES, EVERYTHING)).place("other.example") == 3
    assert Routes(ROUTES).place("other.example") is None


def test_of_routes_with_the_same_pattern_the_first_counts() -> None:
    assert Routes((BY_MX, RELAYED, BY_MX)).place("bank.example") == 0


def test_recipients_of_one_relay_share_a_hop() -> None:
    hops = {Routes(ROUTES).hop_for(Address("a", f"{n}.corp.example")) for n in range(3)}
    assert len(hops) == 1


def test_a_route_does_not_show_its_password() -> None:
    assert "secret" not in repr(Route("r", password="secret"))


def test_an_endpoint_reads_as_in_a_log() -> None:
    assert str(Endpoint("mx.example", "192.0.2.1", 25)) == "mx.example[192.0.2.1]:25"
