from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.dovecot_auth import (
    Answer,
    Continue,
    DovecotError,
    Failed,
    Handshake,
    Passed,
    join,
    parse_answer,
    request,
    response,
    split,
)

WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=6)


@given(WORDS)
def test_words_joined_are_split_again_and_are_one_line(words: list[str]) -> None:
    line = join(words)
    assert split(line) == words
    assert not {"\n", "\r", "\0"} & set(line)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("OK\t1\tuser=anna@example.com\textra", Passed("anna@example.com")),
        ("OK\t1\tuser=a\x01tb", None),
        ("CONT\t1\tVXNlcm5hbWU6", Continue("VXNlcm5hbWU6")),
        ("CONT\t1", Continue("")),
        ("FAIL\t1\tuser=anna\treason=x", Failed("anna", False)),
        ("FAIL\t1\tuser=anna\ttemp", Failed("anna", True)),
        ("FAIL\t1\tcode=temp_fail", Failed("", True)),
        ("FAIL\t1", Failed("", False)),
        ("OK\t1", None),
        ("OK\t1\tuser=uid:0", None),
        ("CONT\t1\tnot base64", None),
    ],
)
def test_an_answer_means_what_the_protocol_says(line: str, answer: Answer | None) -> None:
    if answer is None:
        with pytest.raises(DovecotError):
            parse_answer(line, 1)
    else:
        assert parse_answer(line, 1) == answer


@pytest.mark.parametrize("line", ["OK\t2\tuser=a", "SPID\t1", "", "OK"])
def test_what_is_about_something_else_is_no_answer(line: str) -> None:
    assert parse_answer(line, 1) is None


def test_a_request_ends_with_the_response() -> None:
    assert request(1, "PLAIN", "192.0.2.1", 1234, "AGE=") == (
        "AUTH\t1\tPLAIN\tservice=smtp\tsecured\tnologin\trip=192.0.2.1\trport=1234\tresp=AGE="
    )
    assert request(1, "LOGIN", "unknown", 0, None) == "AUTH\t1\tLOGIN\tservice=smtp\tsecured\tnologin"
    assert response(1, "AGE=") == "CONT\t1\tAGE="


@pytest.mark.parametrize("lines", [["VERSION\t2\t0"], ["VERSION"], ["MECH\tPLAIN"], ["DONE"]])
def test_who_does_not_speak_version_1_first_is_no_dovecot(lines: list[str]) -> None:
    heard = Handshake()
    *before, last = lines
    assert not any(map(heard.take, before))
    with pytest.raises(DovecotError):
        heard.take(last)


@given(st.text(st.sampled_from("OKFAILCNT\t\x01=user1 +/ab"), max_size=40))
def test_any_line_is_an_answer_or_none_or_an_error(line: str) -> None:
    with suppress(DovecotError):
        assert isinstance(parse_answer(line, 1), Continue | Passed | Failed | None)
