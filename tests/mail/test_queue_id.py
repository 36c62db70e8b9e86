"""Queue ids: integers and their 12 characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.queue_id import ALPHABET, LIMIT, QueueIdError, format_id, parse_id

NUMBERS = st.integers(0, LIMIT - 1)


@given(NUMBERS)
def test_an_id_says_its_integer_in_either_case(number: int) -> None:
    text = format_id(number)
    assert len(text) == 12
    assert set(text) <= set(ALPHABET)
    assert parse_id(text) == parse_id(text.lower()) == number


@given(NUMBERS, NUMBERS)
def test_ids_sort_as_their_integers(one: int, other: int) -> None:
    assert (format_id(one) < format_id(other)) == (one < other)


@pytest.mark.parametrize("number", [-1, LIMIT])
def test_only_sixty_bits_have_an_id(number: int) -> None:
    with pytest.raises(QueueIdError):
        format_id(number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 11,
        "0" * 13,
        *("0" * 11 + c for c in "ILOUilou_-+ ~\n\0"),
        "٣" * 12,
        "0o0000000000",
        "é" + "0" * 11,
    ],
)
def test_anything_else_is_no_id(text: str) -> None:
    with pytest.raises(QueueIdError):
        parse_id(text)


@given(st.text(max_size=14))
def test_any_text_is_an_id_or_refused(text: str) -> None:
    try:
        number = parse_id(text)
    except QueueIdError:
        return
    assert format_id(number) == text.upper()
