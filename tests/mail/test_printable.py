from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.printable import is_text, one_line, printable


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("as it is", "as it is"),
        ("Grüße", "Grüße"),
        ("one\r\ntwo\tthree\x00\x1b[31m\u202e", "one  two three??[31m?"),
        ("a\u2028b", "a b"),
        ("x" * 41, "x" * 37 + "..."),
        ("", ""),
    ],
)
def test_what_a_stranger_wrote_is_one_printable_bounded_line(text: str, line: str) -> None:
    assert one_line(text, 40) == line


@given(st.text())
def test_whatever_the_text_it_can_be_shown(text: str) -> None:
    assert one_line(text, 100).isprintable()
    assert len(one_line(text, 100)) <= 100
    assert printable(text).isprintable()


def test_only_the_joiners_that_languages_need_may_stand_in_an_address() -> None:
    assert is_text("\u06c1\u200c\u06c1")
    assert not is_text("a\u200bb")
