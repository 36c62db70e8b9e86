from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail.dsn_text import escape

PRINTABLE = re.compile(r"[ -~]*")


def unescape(text: str) -> str:
    """The original of an escaped text: what a reader of the report would do."""
    if "\\x{" not in text:
        return text
    return re.sub(r"\\x\{([0-9A-F]{2,6})\}", lambda match: chr(int(match[1], 16)), text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("550 5.1.1 no such user", "550 5.1.1 no such user"),
        ("a\\b", "a\\b"),
        ("a\r\nSubject: b", "a\\x{0D}\\x{0A}Subject: b"),
        ("\x1b[2J\\", "\\x{1B}[2J\\x{5C}"),
        ("\\x{41}", "\\x{5C}x{41}"),
        (" a ", "\\x{20}a\\x{20}"),
        ("  ", "\\x{20}\\x{20}"),
        ("", ""),
        ("\u00fc\U0001f600", "\\x{FC}\\x{1F600}"),
        ("\x85\u2028", "\\x{85}\\x{2028}"),
    ],
)
def test_foreign_text_becomes_printable_ascii_on_one_line(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text(st.characters(codec="utf-8") | st.sampled_from(" \\x{}41\r\n"), max_size=20))
@settings(max_examples=300, deadline=None)
def test_nothing_is_lost_by_escaping(text: str) -> None:
    assert PRINTABLE.fullmatch(escape(text))
    assert unescape(escape(text)) == text
