from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.account import AccountPolicies, AccountPolicy, lane_of, matches, names, own_senders
from postroad.mail.message import Lane


@pytest.mark.parametrize(
    ("pattern", "account", "does"),
    [
        ("anna", "anna", True),
        ("anna", "Anna", False),
        ("anna", "anna2", False),
        ("*", "anything", True),
        ("net:*", "net:192.0.2.7", True),
        ("net:*", "network", False),
        ("uid:*", "uid:1000", True),
        ("*@example.com", "bert@example.com", True),
        ("*@example.com", "bert@example.com.evil", False),
        ("net:10.0.0.0/8", "net:10.255.0.1", True),
        ("net:10.0.0.0/8", "net:11.0.0.1", False),
        ("net:10.0.0.0/8", "uid:10", False),
        ("net:10.0.0.0/8", "net:fd00::1", False),
        ("net:fd00::/8", "net:fd12::1", True),
        ("net:10.0.0.0/8", "net:unknown", False),
    ],
)
def test_a_table_names_an_account_by_its_name_or_a_pattern(pattern: str, account: str, does: bool) -> None:
    assert names(pattern, account) is does


def test_the_own_name_comes_before_a_pattern_and_the_first_pattern_before_the_next() -> None:
    own, first, second = (AccountPolicy(max_recipients=n) for n in (1, 2, 3))
    policies = AccountPolicies(tables={"a*": first, "*": second, "anna": own})
    assert policies.of("anna") == ("anna", own)
    assert policies.of("albert") == ("a*", first)
    assert policies.of("bert") == ("*", second)


@pytest.mark.parametrize(
    ("given_lane", "asked", "lane"),
    [
        (None, Lane.NORMAL, Lane.NORMAL),
        (None, Lane.TRANSACTIONAL, Lane.TRANSACTIONAL),
        (Lane.TRANSACTIONAL, Lane.NORMAL, Lane.TRANSACTIONAL),
        (Lane.TRANSACTIONAL, Lane.BULK, Lane.BULK),
        (Lane.BULK, Lane.NORMAL, Lane.BULK),
        (Lane.BULK, Lane.TRANSACTIONAL, Lane.BULK),
        (Lane.NORMAL, Lane.TRANSACTIONAL, Lane.NORMAL),
    ],
)
def test_a_client_may_ask_for_less_than_its_account_has(
    given_lane: Lane | None, asked: Lane, lane: Lane
) -> None:
    assert lane_of(AccountPolicy(lane=given_lane), asked) is lane


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_a_star_stands_for_any_characters(pattern: str, text: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
    assert matches(pattern, text) is expected


@pytest.mark.parametrize(("local_sender", "own"), [("any", []), ("own", [33, 1000, 1001]), ("map", [1001])])
def test_who_sends_as_himself_alone(local_sender: str, own: list[int]) -> None:
    policies = AccountPolicies(tables={"uid:33": AccountPolicy(), "uid:1000*": AccountPolicy()})
    asked = own_senders(local_sender, policies)
    assert [uid for uid in (33, 1000, 1001) if asked(uid)] == own
