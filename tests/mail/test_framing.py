"""Content on its way out: dots doubled and an end, or a chunk behind its size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.framing import ChunkFramer, DotStuffer, framed


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"a\r\n.b\r\n..c\r\n", b"a\r\n..b\r\n...c\r\n.\r\n"),
        (b"a.b\r\n", b"a.b\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r", b"a\r\r\n.\r\n"),
    ],
)
def test_lines_that_start_with_a_dot_get_another_and_the_end_is_a_dot_alone(
    content: bytes, wire: bytes
) -> None:
    assert framed(content, b"", True) == wire
    assert framed(b"", content, True) == wire


def test_content_without_such_lines_is_not_even_copied() -> None:
    chunk = b"a\r\nb\r\n"
    assert DotStuffer(False).feed(chunk) is chunk


@pytest.mark.parametrize(
    ("head", "body"),
    [(b"a: b\r\n\r\n", b"c\r\n"), (b"a: b\r\n", b""), (b"a: b\r", b"\n"), (b"", b"c"), (b"", b"c\r")],
)
def test_content_that_needs_no_dots_ends_like_any_other(head: bytes, body: bytes) -> None:
    assert framed(head, body, False) == framed(head, body, True)


@given(st.lists(st.text("a.\r\n", max_size=5).map(str.encode), max_size=6))
def test_chunks_are_stuffed_as_the_whole_would_be(chunks: list[bytes]) -> None:
    stuffer = DotStuffer(True)
    assert b"".join(map(stuffer.feed, chunks)) + stuffer.finish() == framed(b"", b"".join(chunks), True)


@given(st.lists(st.text("a.", max_size=4).map(lambda line: line.encode() + b"\r\n"), max_size=6))
def test_the_receiver_gets_back_what_was_sent(lines: list[bytes]) -> None:
    wire = framed(b"", b"".join(lines), True).splitlines(keepends=True)
    assert wire[-1] == b".\r\n"
    assert b".\r\n" not in wire[:-1]
    assert [line.removeprefix(b".") for line in wire[:-1]] == lines


@given(st.lists(st.binary(max_size=9), max_size=9))
def test_a_chunk_is_its_octets_behind_their_number(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    framer = ChunkFramer(len(content) or 7)
    written = b"".join(map(framer.feed, pieces)) + framer.finish()
    assert framer.left == (0 if content else 7)
    assert not pieces or written == b"BDAT %d LAST\r\n" % (len(content) or 7) + content
