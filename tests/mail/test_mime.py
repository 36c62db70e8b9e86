"""Where the parts of a message lie: every octet in one region, and as deep as is allowed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail.headers import split
from postroad.mail.mime import TooComplex, TooDeep, may_nest, regions, surely_flat, too_deep

PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=a\r\n",
        b"content-type: MULTIPART/digest; boundary=b\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: multipart/signed; boundary=a\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"\r\n",
        b"--a\r\n",
        b"--b\r\n",
        b"\r\n--a--\r\n",
        b"\r\n--b--",
        b"text\r\n",
        b"x",
    ]
)
WHOLE = st.lists(PIECES, max_size=40).map(b"".join)


@given(WHOLE)
@settings(max_examples=400, deadline=None)
def test_the_regions_are_the_body_from_its_first_octet_to_its_last(whole: bytes) -> None:
    head, body = split(whole)
    try:
        found = regions(head, body)
    except TooComplex:
        return
    ends = [region.end for region in found]
    assert [region.start for region in found] == [0, *ends][: len(found)]
    assert (ends or [0])[-1] == len(body) or not found


@given(WHOLE, st.integers(1, 12))
@settings(max_examples=400, deadline=None)
def test_what_is_surely_flat_is_never_too_deep(whole: bytes, depth: int) -> None:
    head, body = split(whole)
    if surely_flat(body, depth) or not may_nest(head):
        assert too_deep(head, body, depth) is None


@pytest.mark.parametrize("depth", [1, 2, 50])
def test_a_part_one_deeper_than_allowed_is_too_deep(depth: int) -> None:
    whole = b"".join(b"Content-Type: message/rfc822\r\n\r\n" for _ in range(depth)) + b"\r\n"
    head, body = split(whole)
    assert regions(head, body, depth)
    with pytest.raises(TooDeep):
        regions(head, body, depth - 1)
