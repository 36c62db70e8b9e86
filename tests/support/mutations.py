"""What is nearly right: valid inputs with pieces dropped, doubled, moved, replaced or put in.

Random text seldom passes a parser's first test; what was once right reaches the others.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

# What parsers trip over: ends and escapes, what is almost white space, digits that are none.
ODD = ["\0", "\r", "\n", "\r\n", " ", "\t", "\x7f", "\x85", "\u00a0", "\u2028", "\u200b", "\ufeff", "٣", "é"]
ODD += [
    "\U0001f600",
    "<",
    ">",
    "@",
    ",",
    ":",
    ";",
    "=",
    "==",
    "+",
    "-",
    ".",
    "..",
    '"',
    "\\",
    "(",
    ")",
    "%00",
]
ODD += ["9" * 25, "-1", "a" * 300, "{", "}", "[", "]", "$", "/", "\ud800"]
MOST_CHANGES = 6


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[str], most: int = 4000) -> str:
    """A text made of `seeds` by a few changes, at most `most` characters."""
    text = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, MOST_CHANGES))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 12)))
        put = draw(
            st.sampled_from(["", text[start:end] * 2, *ODD])
            | st.sampled_from(seeds)
            | st.text(max_size=3)
            | st.just(text[:start][::-1][:5])
        )
        text = text[:start] + put + text[end:]
    return text[:most]


def mutated_octets(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """The same for octets; every octet may come of it."""
    texts = [seed.decode("latin-1") for seed in seeds]
    return mutated(texts).map(lambda text: text.encode("utf-8", "surrogatepass")) | mutated(texts).map(
        lambda text: text.encode("latin-1", "replace")
    )
