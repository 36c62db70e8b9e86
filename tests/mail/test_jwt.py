from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.jwt import Demands, TokenError, account_of, parse_jwt

NOW = 1_000_000.0
GOOD = {
    "sub": "anna",
    "exp": NOW + 1,
    "aud": ["smtp", "imap"],
    "iss": "https://id.example/",
    "scope": "a mail",
}
DEMANDS = Demands("sub", "mail", "smtp", "https://id.example/")


def part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_claims_that_say_all_that_is_demanded_name_the_account() -> None:
    assert account_of(GOOD, DEMANDS, NOW, expires=True) == "anna"
    assert account_of({"email": "a@b.example"}, Demands("email"), NOW, expires=False) == "a@b.example"


@pytest.mark.parametrize(
    "change",
    [
        {"exp": NOW - 61},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": float("nan")},
        {"nbf": NOW + 61},
        {"aud": "imap"},
        {"aud": None},
        {"aud": "smtp imap"},
        {"iss": "https://other.example/"},
        {"scope": "mailbox"},
        {"scope": ["x", 1]},
        {"sub": None},
        {"sub": 7},
        {"sub": "a\nb"},
        {"sub": "uid:0"},
        {"sub": "\ud800"},
    ],
)
def test_claims_that_lack_one_thing_name_nobody(change: dict[str, object]) -> None:
    with pytest.raises(TokenError):
        account_of(GOOD | change, DEMANDS, NOW, expires=True)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c.d",
        f"{part([])}.{part({})}.YQ",
        f"{part({'alg': 1})}.{part({})}.YQ",
        f"{part({'alg': 'RS256', 'crit': ['x']})}.{part({})}.YQ",
        f"{part({'alg': 'RS256'})}.{part({})}.Y=",
        f"{part({'alg': 'RS256'})}=.{part({})}.YQ",
        f"{part({'alg': 'RS256'})}.{part('x' * 20_000)}.YQ",
        f"{'W' * 100}.{'W' * 100}.YQ",
    ],
)
def test_what_is_no_signed_jwt_is_an_error(token: str) -> None:
    with pytest.raises(TokenError):
        parse_jwt(token)


@given(
    st.lists(
        st.sampled_from([".", "eyJ", part({"alg": "RS256"}), part({}), "=", "a", "-", "é"]), max_size=8
    ).map("".join)
)
def test_any_text_is_a_jwt_or_an_error(token: str) -> None:
    with suppress(TokenError):
        assert parse_jwt(token).signed in token.encode()
