"""SASLprep (RFC 4013): one form for names and passwords that look alike."""

from __future__ import annotations

import stringprep
from unicodedata import ucd_3_2_0

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str:
    """The prepared text; what Unicode 3.2 did not know passes. Raises ValueError for what is prohibited."""
    if text.isascii():
        if not text.isprintable():
            raise ValueError("a control character")
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    found = ucd_3_2_0.normalize("NFKC", mapped)
    if any(prohibited(char) for char in found for prohibited in _PROHIBITED):
        raise ValueError("a prohibited character")
    if any(map(stringprep.in_table_d1, found)):
        _check_direction(found)
    return found


def prepared(secret: bytes) -> bytes:
    """A password as it is hashed: by SASLprep, or as it came where that does not take it."""
    try:
        return saslprep(secret.decode()).encode()
    except ValueError:
        return secret


def _check_direction(text: str) -> None:
    """RFC 3454 6: text from right to left is so as a whole."""
    whole = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    if not whole or any(map(stringprep.in_table_d2, text)):
        raise ValueError("right to left mixed with left to right")
