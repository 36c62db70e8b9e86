from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail.data import LONG_LINE, DataDecoder

END = b"\r\n.\r\n"
WIRE = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"bc", b"\xe9", b"\r\n.", b"\r\n.\r", b"\n."]),
    max_size=30,
).map(b"".join)


def decoded(*chunks: bytes) -> tuple[bytes, DataDecoder]:
    decoder = DataDecoder()
    pieces = []
    for chunk in chunks:
        if decoder.done:
            decoder.remainder += chunk
        else:
            pieces.append(decoder.feed(chunk))
    return b"".join(pieces), decoder


@pytest.mark.parametrize(
    ("wire", "content", "remainder"),
    [
        (b".\r\n", b"", b""),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b".\r\n.\r\n", b"", b".\r\n"),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b"...a\r\n..\r\n.\r\n", b"..a\r\n.\r\n", b""),
        (b".a\r\n.\r\n", b"a\r\n", b""),
        (b"\r\n.\r\n", b"\r\n", b""),
    ],
)
def test_crlf_dot_crlf_ends_data_and_one_stuffed_dot_goes(
    wire: bytes, content: bytes, remainder: bytes
) -> None:
    assert decoded(wire)[0] == content
    assert decoded(wire)[1].remainder == remainder


@pytest.mark.parametrize(
    ("smuggled", "content"),
    [
        (b"\n.\n", b"\r\n.\r\n"),
        (b"\n.\r\n", b"\r\n.\r\n"),
        (b"\r.\r\n", b" .\r\n"),
        (b"\r.\r", b" . "),
        (b"\r\n.\n", b"\r\n\r\n"),
        (b"\r\n.\r", b"\r\n "),
        (b"\r\n.\r\r\n", b"\r\n \r\n"),
        (b"\n\n.\r\n", b"\r\n\r\n.\r\n"),
        (b"\r\n\x00.\r\n", b"\r\n\x00.\r\n"),
        (b"\r\n.\x0b\r\n", b"\r\n\x0b\r\n"),
        (b"\x0b.\x0b", b"\x0b.\x0b"),
        (b"\x0c.\x0c", b"\x0c.\x0c"),
        (b"\x1c.\x1c", b"\x1c.\x1c"),
        (b"\x85.\x85", b"\x85.\x85"),
        (b"\xe2\x80\xa8.\xe2\x80\xa8", b"\xe2\x80\xa8.\xe2\x80\xa8"),
        (b"\r\n. \r\n", b"\r\n \r\n"),
        (b"\r\n.\t\r\n", b"\r\n\t\r\n"),
    ],
)
def test_nothing_else_ends_data(smuggled: bytes, content: bytes) -> None:
    text, decoder = decoded(b"a" + smuggled + b"b\r\n.\r\n")
    assert text == b"a" + content + b"b\r\n"
    assert decoder.done
    assert decoder.remainder == b""


@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b"a\n..b\r\n.\r\n", b"a\r\n.b\r\n"),
        (b"a\n...\n..\n\r\n.\r\n", b"a\r\n..\r\n.\r\n\r\n"),
        (b"a\n.b\r\n.\r\n", b"a\r\n.b\r\n"),
        (b"a\r..b\r\n.\r\n", b"a ..b\r\n"),
        (b"a\r\n...b\nc\r\n.\r\n", b"a\r\n..b\r\nc\r\n"),
    ],
)
def test_of_two_dots_after_a_bare_newline_one_was_stuffed(wire: bytes, content: bytes) -> None:
    assert decoded(wire)[0] == content
    assert decoded(*(bytes([octet]) for octet in wire))[0] == content


@pytest.mark.parametrize(
    ("wire", "dotted"),
    [
        (b"a.b\r\n.\r\n", False),
        (b".a\r\n.\r\n", False),
        (b"..a\r\n.\r\n", True),
        (b"a\r\n..\r\n.\r\n", True),
        (b"a\n.b\r\n.\r\n", True),
        (b"a\r.\r\n.\r\n", False),
        (b"a\r\n.\r\n..b\r\n", False),
    ],
)
def test_dotted_says_whether_a_line_must_be_stuffed_again(wire: bytes, dotted: bool) -> None:
    assert decoded(wire)[1].dotted is dotted


def test_a_line_that_begins_with_a_dot_is_seen_across_chunks() -> None:
    assert decoded(b"a\n", b".b\r\n.\r\n")[1].dotted


@pytest.mark.parametrize(
    ("wire", "fact", "value"),
    [
        (b"a\r\n.\r\n", "bare_newline", False),
        (b"a\nb\r\n.\r\n", "bare_newline", True),
        (b"a\rb\r\n.\r\n", "bare_newline", True),
        (b"a\r\n.\r\n\n", "bare_newline", False),
        (b"a\0b\r\n.\r\n", "nul", True),
        (b"a\r\n.\r\n\0", "nul", False),
        (b"\xe9\r\n.\r\n", "eight_bit", True),
        (b"e\r\n.\r\n\xe9", "eight_bit", False),
        (b"a\n\r\n.\r\n", "size", 5),
    ],
)
def test_facts_are_of_this_message_alone(wire: bytes, fact: str, value: object) -> None:
    assert getattr(decoded(wire)[1], fact) == value


def test_after_the_end_nothing_may_be_fed() -> None:
    _, decoder = decoded(b".\r\n")
    with pytest.raises(ValueError, match="after the end"):
        decoder.feed(b"x")


def test_what_may_be_an_end_mark_is_held_back() -> None:
    decoder = DataDecoder()
    assert decoder.feed(b"a\r\n.\r") == b"a"
    assert decoder.feed(b"x") == b"\r\n x"


@settings(max_examples=300, deadline=None)
@given(wire=WIRE, rest=WIRE, cuts=st.lists(st.integers(0, 200), max_size=6))
def test_chunks_may_be_cut_anywhere(wire: bytes, rest: bytes, cuts: list[int]) -> None:
    octets = wire + END + rest
    edges = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    chunks = [octets[start:stop] for start, stop in pairwise(edges)]
    facts = ("dotted", "eight_bit", "size", "nul", "bare_newline", "longest_line", "remainder")
    whole, at_once = decoded(octets)
    parts, piecewise = decoded(*chunks)
    assert parts == whole
    assert [getattr(piecewise, fact) for fact in facts] == [getattr(at_once, fact) for fact in facts]


@settings(max_examples=300, deadline=None)
@given(wire=WIRE, rest=WIRE)
def test_the_content_is_what_the_rfc_says(wire: bytes, rest: bytes) -> None:
    """The same in the slow and plain way: cut at the mark, unstuff by lines, mend line ends, look."""
    octets = b"\r\n" + wire + END + rest
    data, _, remainder = octets.partition(END)
    lines = (data + b"\r\n").split(b"\r\n")[1:]
    unstuffed = b"\r\n".join(line.removeprefix(b".") for line in lines)
    bare = re.search(rb"(?<!\r)\n|\r(?!\n)", unstuffed) is not None
    unstuffed = re.sub(rb"(?<!\r)\n\.\.", b"\n.", unstuffed)
    mended = re.sub(rb"\r\n|\n", b"\r\n", re.sub(rb"\r(?!\n)", b" ", unstuffed))
    content, decoder = decoded(wire + END + rest)
    assert content == mended
    assert decoder.remainder == remainder
    assert decoder.size == len(mended)
    assert decoder.dotted == any(line.startswith(b".") for line in mended.split(b"\r\n"))
    assert decoder.eight_bit == (not mended.isascii())
    assert decoder.bare_newline == bare


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 3 * LONG_LINE), min_size=1, max_size=8),
    step=st.integers(1, 2 * LONG_LINE),
)
def test_lines_above_the_limit_are_measured(lengths: list[int], step: int) -> None:
    octets = b"".join(b"x" * length + b"\r\n" for length in lengths) + b".\r\n"
    longest = max(lengths)
    _, decoder = decoded(*(octets[start : start + step] for start in range(0, len(octets), step)))
    assert decoder.longest_line == (longest if longest > LONG_LINE else 0)
