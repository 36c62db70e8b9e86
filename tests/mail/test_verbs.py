"""A command line becomes verb and argument, or is no text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.printable import is_text
from postroad.mail.verbs import is_hello_name, split_command


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"NOOP", ("NOOP", "")),
        (b"mail FROM:<a@b.example>", ("MAIL", "FROM:<a@b.example>")),
        (b"MAIL  FROM:<a@b.example>  SIZE=1 ", ("MAIL", "FROM:<a@b.example>  SIZE=1")),
        (b"", ("", "")),
        (b" NOOP", ("", "NOOP")),
        ("VRFY grün".encode(), ("VRFY", "grün")),
        # A sharp s and a dotless i have an upper case in ASCII.
        ("EXPN\u0131".encode(), ("", None)),
        (b"NOOP \xff", ("", None)),
        ("NOOP a\x85b".encode(), ("", None)),
        ("NOOP a\u202eb".encode(), ("", None)),
        ("NOOP a\u200db".encode(), ("NOOP", "a\u200db")),
    ],
)
def test_a_line_is_a_verb_in_any_case_and_its_argument(line: bytes, found: tuple[str, str | None]) -> None:
    assert split_command(line) == found


@given(st.binary(max_size=80))
def test_any_line_is_text_or_said_not_to_be(line: bytes) -> None:
    verb, argument = split_command(line)
    assert verb.isascii() or line.isascii()
    assert argument is None or line.isascii() or is_text(argument)


@pytest.mark.parametrize("name", ["client.example", "[127.0.0.1]", "[IPv6:::1]", "my_pc", "x" * 255])
def test_a_client_may_call_itself(name: str) -> None:
    assert is_hello_name(name)


@pytest.mark.parametrize("name", ["", "a b", "a(b", "a\\b", 'a"b', "a,b", "bücher.example", "x" * 256])
def test_a_client_may_not_call_itself(name: str) -> None:
    assert not is_hello_name(name)
