from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail import sasl
from postroad.mail.sasl import Bearer, Plain, SaslError
from postroad.mail.saslprep import prepared, saslprep


@pytest.mark.parametrize("line", [b"YQ", b"Y Q==", b"YQ=", b"YQ==YQ==", b"=", b"====", b"YQ==\xff", b"!"])
def test_only_padded_base64_is_base64(line: bytes) -> None:
    with pytest.raises(sasl.NotBase64):
        sasl.decode_line(line)


@given(st.binary(max_size=60))
def test_what_is_encoded_is_decoded(message: bytes) -> None:
    assert sasl.decode_line(sasl.encode_line(message).encode()) == message


def test_plain_has_three_parts() -> None:
    assert sasl.parse_plain(b"z\0a\0s s") == Plain("z", "a", b"s s")
    assert sasl.parse_plain(b"\0a\0") == Plain("", "a", b"")


@pytest.mark.parametrize(
    "message", [b"", b"a", b"\0a", b"\0\0s", b"\0a\0s\0", b"\0\xff\0s", b"\0a\n\0s", b"\0uid:0\0s"]
)
def test_plain_that_is_none_is_an_error(message: bytes) -> None:
    with pytest.raises(SaslError):
        sasl.parse_plain(message)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        # RFC 7628 4.1.
        (
            b"n,a=user@example.com,\1host=server.example.com\1port=143\1auth=Bearer vF9dft4qmT==\1\1",
            Bearer("user@example.com", "vF9dft4qmT=="),
        ),
        (b"n,,\1auth=bearer abc\1\1", Bearer("", "abc")),
        (b"y,a=x=2Cy,\1auth=Bearer abc\1\1", Bearer("x,y", "abc")),
    ],
)
def test_oauthbearer_names_a_token(message: bytes, said: Bearer) -> None:
    assert sasl.parse_oauthbearer(message) == said


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n,,",
        b"n,,\1",
        b"n,,\1\1",
        b"n,,auth=Bearer abc\1\1",
        b"n,,\1auth=Bearer abc\1",
        b"n,,\1auth=Bearer abc\1\1x",
        b"n,,\1auth=Bearer abc\1auth=Bearer abd\1\1",
        b"n,,\1auth=Basic abc\1\1",
        b"n,,\1auth=Bearer \1\1",
        b"n,,\1auth=Bearer a b\1\1",
        b"n,,\1host=x\1\1",
        b"p=tls-unique,,\1auth=Bearer abc\1\1",
    ],
)
def test_oauthbearer_that_is_none_is_an_error(message: bytes) -> None:
    with pytest.raises(SaslError):
        sasl.parse_oauthbearer(message)


def test_xoauth2_names_user_and_token() -> None:
    message = b"user=someuser@example.com\1auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\1\1"
    assert sasl.parse_xoauth2(message) == Bearer(
        "someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
    )


@pytest.mark.parametrize("message", [b"", b"user=\1auth=Bearer a\1\1", b"auth=Bearer a\1\1", b"user=a"])
def test_xoauth2_that_is_none_is_an_error(message: bytes) -> None:
    with pytest.raises(SaslError):
        sasl.parse_xoauth2(message)


def test_a_refused_token_is_told_in_json() -> None:
    told = json.loads(sasl.oauth_failure("OAUTHBEARER", "mail", "https://id.example/"))
    assert told == {
        "status": "invalid_token",
        "scope": "mail",
        "openid-configuration": "https://id.example/",
    }
    assert json.loads(sasl.oauth_failure("XOAUTH2", "", "")) == {"status": "401", "schemes": "bearer"}


@pytest.mark.parametrize(
    ("text", "found"),
    # RFC 4013 3; and a right-to-left name.
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u0627", "\u0627"),
    ],
)
def test_what_looks_alike_is_made_alike(text: str, found: str) -> None:
    assert saslprep(text) == found


@pytest.mark.parametrize("text", ["\x07", "\u06271", "a\u0627", "\ufffd"])
def test_what_is_prohibited_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        saslprep(text)


@given(st.binary(max_size=30))
def test_any_password_has_one_prepared_form(secret: bytes) -> None:
    assert prepared(prepared(secret)) == prepared(secret)


PARSERS: list[Callable[[bytes], object]] = [
    sasl.decode_line,
    sasl.login_name,
    sasl.parse_plain,
    sasl.parse_gs2,
    sasl.saslname,
    sasl.parse_oauthbearer,
    sasl.parse_xoauth2,
]
PIECES = st.lists(
    st.sampled_from(
        [b"n,", b"p=a", b"y", b",", b"a=", b"=2C", b"=", b"\1", b"auth=Bearer ", b"user=", b"x", b"\0"]
    )
    | st.binary(max_size=4),
    max_size=12,
).map(b"".join)


@pytest.mark.parametrize("parse", PARSERS)
@given(message=PIECES)
def test_any_octets_are_a_message_or_an_error_that_can_be_shown(
    parse: Callable[[bytes], object], message: bytes
) -> None:
    assert re.fullmatch("[ -~]*", problem(parse, message))


def problem(parse: Callable[[bytes], object], message: bytes) -> str:
    try:
        parse(message)
    except SaslError as error:
        return str(error)
    return ""
