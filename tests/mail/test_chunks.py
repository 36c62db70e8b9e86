from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.chunks import BinaryDecoder, Chunk, ChunkDecoder, parse_bdat

OCTETS = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"\xe9", b"\0", b"\r\n.\r\n", b"\n."])
    | st.binary(max_size=3),
    max_size=30,
).map(b"".join)


def decoded(decoder: ChunkDecoder, *chunks: bytes) -> bytes:
    *first, last = chunks
    pieces = [decoder.feed(chunk) for chunk in first]
    decoder.end()
    pieces.append(decoder.feed(last))
    return b"".join(pieces)


@st.composite
def cut(draw: st.DrawFn) -> list[bytes]:
    whole = draw(OCTETS)
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    return [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]


@pytest.mark.parametrize(
    ("argument", "chunk"),
    [
        ("0", Chunk(0)),
        ("86 LAST", Chunk(86, last=True)),
        ("86  last", Chunk(86, last=True)),
        ("007", Chunk(7)),
        ("5 FIRST", Chunk(5, sound=False)),
        ("5 LAST LAST", Chunk(5, sound=False)),
        ("", Chunk(None, sound=False)),
        ("LAST", Chunk(None, sound=False)),
        ("-5 LAST", Chunk(None, sound=False)),
        ("+5", Chunk(None, sound=False)),
        ("0x5", Chunk(None, sound=False)),
        ("5LAST", Chunk(None, sound=False)),
        ("5,000", Chunk(None, sound=False)),
        ("\N{ARABIC-INDIC DIGIT FIVE}", Chunk(None, sound=False)),
        ("1" * 21, Chunk(None, sound=False)),
    ],
)
def test_bdat_is_read(argument: str, chunk: Chunk) -> None:
    assert parse_bdat(argument) == chunk


@given(st.text(max_size=30))
def test_what_bdat_announces_is_a_number_that_was_written_or_none(argument: str) -> None:
    chunk = parse_bdat(argument)
    assert chunk.size is None or argument.partition(" ")[0].lstrip("0") in (str(chunk.size), "")


@given(cut())
def test_text_in_chunks_has_canonical_line_ends_wherever_it_is_cut(chunks: list[bytes]) -> None:
    decoder = ChunkDecoder()
    content = decoded(decoder, *chunks)
    whole = b"".join(chunks)
    mended = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    if mended and not mended.endswith(b"\r\n"):
        mended += b"\r\n"
    assert content == mended
    assert decoder.done
    assert decoder.size == len(content)
    assert decoder.dotted == (content.startswith(b".") or b"\n." in content)
    assert decoder.eight_bit == (not content.isascii())
    assert decoder.nul == (b"\0" in content)
    assert decoder.bare_newline == any(octet in whole.replace(b"\r\n", b"") for octet in b"\r\n")


@given(cut())
def test_a_binary_message_is_its_chunks_octet_for_octet(chunks: list[bytes]) -> None:
    decoder = BinaryDecoder()
    assert decoded(decoder, *chunks) == b"".join(chunks)
    assert decoder.done
    assert decoder.size == sum(map(len, chunks))
    assert not any((decoder.nul, decoder.bare_newline, decoder.eight_bit, decoder.longest_line))


def test_nothing_may_follow_the_end() -> None:
    decoder = ChunkDecoder()
    decoded(decoder, b"a")
    with pytest.raises(ValueError, match="after the end"):
        decoder.feed(b"b")
