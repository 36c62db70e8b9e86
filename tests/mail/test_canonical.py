from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail.canonical import RelaxedBodyHasher, relaxed_body_hash, relaxed_header
from tests.support.dkim_oracles import relaxed_body, relaxed_field

SHARDS = st.sampled_from(
    [b"a", b"bc ", b" ", b"\t", b" \t  ", b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"\xff", b"."]
)
BODIES = st.lists(SHARDS, max_size=40).map(b"".join)


def sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def as_sent(body: bytes) -> bytes:
    """What a receiver gets: SMTP ends every message with a line end."""
    return body if not body or body.endswith(b"\r\n") else body + b"\r\n"


def hash_in_pieces(body: bytes, cuts: list[int]) -> bytes:
    hasher = RelaxedBodyHasher()
    position = 0
    for cut in sorted(cuts):
        hasher.update(body[position:cut])
        position = max(position, cut)
    hasher.update(body[position:])
    return hasher.digest()


@pytest.mark.parametrize(
    ("body", "relaxed"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"\r\n\r\n\r\n", b""),
        (b" \t\r\n \r\n", b""),
        (b" ", b""),
        (b"a\r\n", b"a\r\n"),
        (b"a", b"a\r\n"),
        (b"a \t", b"a\r\n"),
        (b"a\r\n\r\n \r\n", b"a\r\n"),
        (b"\r\na\r\n", b"\r\na\r\n"),
        (b"\r\n \r\n\t\r\na\r\n", b"\r\n\r\n\r\na\r\n"),
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),
        (b"a\rb\nc\r\n", b"a\rb\nc\r\n"),
        (b"\xff\x00 \r\n", b"\xff\x00\r\n"),
    ],
)
def test_the_relaxed_body_is_that_of_the_rfc(body: bytes, relaxed: bytes) -> None:
    assert relaxed_body_hash(body) == sha256(relaxed)


@given(BODIES, st.lists(st.integers(0, 80), max_size=8))
@settings(max_examples=250, deadline=None)
def test_a_body_hashes_the_same_wherever_it_is_cut(body: bytes, cuts: list[int]) -> None:
    expected = sha256(relaxed_body(as_sent(body)))
    assert relaxed_body_hash(body) == expected
    assert hash_in_pieces(body, cuts) == expected
    assert hash_in_pieces(body, list(range(len(body)))) == expected


@pytest.mark.parametrize(
    "blank", [b"\r\n" * 10_000, b" " * 900, b"\t\r\n" * 10_000, b" \r\n" * 5000 + b"\t" * 900]
)
def test_long_runs_of_nothing_are_held_as_a_count_not_as_octets(blank: bytes) -> None:
    hasher = RelaxedBodyHasher()
    hasher.update(b"a\r\n")
    for _ in range(3):
        hasher.update(blank)
        assert len(hasher._held) <= 2
    hasher.update(b"b")
    assert hasher.digest() == sha256(relaxed_body(b"a\r\n" + blank * 3 + b"b\r\n"))


@pytest.mark.parametrize(
    ("raw", "relaxed"),
    [
        (b"A: X\r\n", b"a:X\r\n"),
        (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n"),
        (b"SUBJect:\r\n", b"subject:\r\n"),
        (b"Subject: \t \r\n \r\n", b"subject:\r\n"),
        (b"Subject:a:  b\xff", b"subject:a: b\xff\r\n"),
    ],
)
def test_the_relaxed_header_is_that_of_the_rfc(raw: bytes, relaxed: bytes) -> None:
    assert relaxed_header(raw) == relaxed


@given(
    st.lists(st.sampled_from([b"x", b" ", b"\t", b"\r\n ", b"\r\n\t", b":", b"\xc3\xbc"]), max_size=20).map(
        b"".join
    )
)
@settings(max_examples=150, deadline=None)
def test_the_relaxed_header_is_that_of_dkimpy(text: bytes) -> None:
    assert relaxed_header(b"X-Name:" + text + b"\r\n") == relaxed_field(b"X-Name", text + b"\r\n")
