from __future__ import annotations

from email import message_from_bytes
from email.header import decode_header, make_header

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail.canonical import relaxed_header
from postroad.mail.data import has_long_line
from postroad.mail.folding import CannotFold, fold, folded_field

WORDS = b"word " * 300


def longest(octets: bytes) -> int:
    return max(map(len, octets.split(b"\r\n")))


def test_a_head_without_a_long_line_is_the_very_same() -> None:
    head = b"Subject: " + b"x" * 989 + b"\r\n\r\n"
    assert fold(head) is head


def test_a_long_line_is_folded_where_it_has_white_space() -> None:
    head = b"A: b\r\nSubject: " + WORDS + b"end\r\nC: d\r\n\r\n"
    made = fold(head)
    assert longest(made) <= 78
    assert made.replace(b"\r\n ", b" ") == head
    assert made.startswith(b"A: b\r\nSubject: word")
    assert made.endswith(b"\r\nC: d\r\n\r\n")


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        (b"References", b"<a@b>" * 300, b"<a@b>"),
        (b"To", b",".join(b"a%d@b" % n for n in range(300)), b","),
        (b"To", b",".join(b'"a,b" <a%d@b>' % n for n in range(100)), b","),
        (b"List-Unsubscribe", b"<mailto:" + b"a" * 600 + b">,<https:" + b"b" * 600 + b">", b","),
    ],
)
def test_a_list_is_parted_between_its_items(name: bytes, value: bytes, same: bytes) -> None:
    made = fold(name + b": " + value + b"\r\n\r\n")
    assert longest(made) <= 998
    assert b"".join(made.split()) == b"".join((name + b": " + value).split())
    assert not has_long_line(made)


def test_a_quoted_comma_is_no_place_to_part_a_list() -> None:
    value = b'"' + b"a,b" * 400 + b'" <a@b>'
    with pytest.raises(CannotFold, match="To: it has no place to fold"):
        fold(b"To: " + value + b"\r\n\r\n")


def test_a_subject_without_white_space_becomes_encoded_words() -> None:
    text = "Größe" * 250
    made = fold(b"Subject: " + text.encode() + b"\r\n\r\n")
    assert longest(made) <= 78
    subject = message_from_bytes(made)["Subject"]
    assert str(make_header(decode_header(subject))) == text


@pytest.mark.parametrize("field", [b"X-Token: " + b"x" * 1000, b"Subject: " + b"\xff" * 1000])
def test_what_has_no_place_to_fold_is_not_changed_but_named(field: bytes) -> None:
    name = field.partition(b":")[0].decode()
    with pytest.raises(CannotFold) as caught:
        fold(b"A: b\r\n" + field + b"\r\n\r\n")
    assert caught.value.name == name


SIGNATURE = b"DKIM-Signature: v=1; c=%b; h=subject:to; b=x\r\n"


def test_a_signed_field_is_folded_where_the_signature_does_not_mind() -> None:
    head = SIGNATURE % b"relaxed/simple" + b"Subject: " + WORDS + b"\r\n\r\n"
    made = fold(head)
    assert longest(made) <= 78
    assert relaxed_header(made.partition(b"\r\n")[2][:-2]) == relaxed_header(head.partition(b"\r\n")[2][:-2])


@pytest.mark.parametrize(
    ("form", "field"),
    [
        (b"simple", b"Subject: " + WORDS),
        (b"relaxed", b"To: " + b"a@b," * 300),
        (b"relaxed", b"Subject: " + b"x" * 1000),
    ],
)
def test_a_signature_is_never_broken(form: bytes, field: bytes) -> None:
    with pytest.raises(CannotFold, match="sign"):
        fold(SIGNATURE % form + field + b"\r\n\r\n")


def test_fields_that_no_signature_covers_are_folded() -> None:
    made = fold(SIGNATURE % b"simple" + b"Comments: " + WORDS + b"\r\n\r\n")
    assert longest(made) <= 78


@given(
    st.lists(st.sampled_from([b"word", b" ", b"\t", b"x" * 90, b",", b'"', b"\xc3\xbc"]), max_size=80).map(
        b"".join
    )
)
@settings(max_examples=300, deadline=None)
def test_folding_adds_line_ends_before_white_space_and_nothing_else(value: bytes) -> None:
    raw = b"X-Field: " + value + b"\r\n"
    try:
        made = folded_field(b"X-Field", value)
    except CannotFold:
        return
    assert made.replace(b"\r\n", b"") == raw.replace(b"\r\n", b"")
    lines = made.removesuffix(b"\r\n").split(b"\r\n")
    assert all(len(line) <= 998 for line in lines)
    assert all(line[:1] in (b" ", b"\t") and line.strip() for line in lines[1:])
