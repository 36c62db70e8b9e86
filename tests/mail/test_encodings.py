from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import a2b_qp
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail.encodings import Base64, Encoder, QuotedPrintable, Rewrapped

TEXT = st.lists(
    st.sampled_from(
        [b"a", b" ", b"\t", b".", b"=", b"\r\n", b"\r", b"\n", b"\xff", b"\0", b"x" * 80, b"=3D"]
    ),
    max_size=60,
).map(b"".join)
CUTS = st.lists(st.integers(1, 90), min_size=1, max_size=8)


def fed(encoder: Encoder, octets: bytes, cuts: list[int]) -> bytes:
    """All that the encoder writes of the octets, given in pieces of these sizes over and over."""
    made, at, turn = [], 0, 0
    while at < len(octets):
        size = cuts[turn % len(cuts)]
        made.append(encoder.feed(octets[at : at + size]))
        at, turn = at + size, turn + 1
    return b"".join([*made, encoder.finish()])


def decoded(text: bytes) -> bytes:
    """Quoted-printable read by its definition (binascii takes CR and LF for each other)."""
    return re.sub(rb"=([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), text.replace(b"=\r\n", b""))


def check_lines(text: bytes) -> None:
    lines = text.split(b"\r\n")
    assert text.isascii()
    assert all(len(line) <= 76 and not {*line} & {0, 10, 13} for line in lines)


@given(TEXT, CUTS)
@settings(max_examples=500, deadline=None)
def test_quoted_printable_is_read_back_to_the_octet(octets: bytes, cuts: list[int]) -> None:
    text = fed(QuotedPrintable(), octets, cuts)
    assert decoded(text) == octets
    check_lines(text)
    assert not any(line.startswith(b".") or line[-1:] in (b" ", b"\t") for line in text.split(b"\r\n"))
    again = fed(QuotedPrintable(encoded=True), text, cuts)
    assert decoded(again) == octets
    check_lines(again)


def test_quoted_printable_leaves_short_text_alone() -> None:
    text = b"Good morning,\r\n\r\nhow are you?\r\n"
    assert fed(QuotedPrintable(), text, [7]) == text
    assert a2b_qp(fed(QuotedPrintable(), "Grüße\r\n".encode(), [3])) == "Grüße\r\n".encode()


def test_long_quoted_printable_gets_soft_line_ends_that_part_no_escape() -> None:
    text = b"=C3=BC" * 200
    again = fed(QuotedPrintable(encoded=True), text, [11])
    check_lines(again)
    assert decoded(again) == "ü".encode() * 200
    assert not re.search(rb"=[0-9A-F]?=\r\n", again)


@pytest.mark.parametrize(("make", "given"), [(Base64, bytes), (Rewrapped, b64encode)])
@given(octets=st.binary(max_size=400), cuts=CUTS)
@settings(max_examples=200, deadline=None)
def test_base64_is_read_back_to_the_octet(
    make: Callable[[], Encoder], given: Callable[[bytes], bytes], octets: bytes, cuts: list[int]
) -> None:
    text = fed(make(), given(octets), cuts)
    assert b64decode(text, validate=False) == octets
    check_lines(text)
    assert not text.endswith(b"\r\n")
