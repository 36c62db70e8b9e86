"""Queue ids: 60-bit integers that rise with time, written as 12 characters.

The alphabet is Crockford's base 32 (no I, L, O, U), so that an id survives being
read aloud and sorts as its integer does. The integer is the key of the index.
"""

from __future__ import annotations

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 12
LIMIT = 1 << (5 * LENGTH)

# To the digits that `int` knows in base 32; letters outside the alphabet to none of them.
_TO_DIGITS = str.maketrans(
    {chr(code): "~" for code in range(128)}
    | dict(zip(ALPHABET.lower(), "0123456789abcdefghijklmnopqrstuv", strict=True))
    | dict(zip(ALPHABET, "0123456789abcdefghijklmnopqrstuv", strict=True))
)
# Two characters a step halve the work of the hot path.
_PAIRS = tuple(high + low for high in ALPHABET for low in ALPHABET)


class QueueIdError(ValueError):
    """Not a queue id."""


def format_id(number: int) -> str:
    """The 12 characters of an integer in [0, 2**60); QueueIdError outside."""
    if not 0 <= number < LIMIT:
        raise QueueIdError("a queue id has 60 bits")
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in (50, 40, 30, 20, 10, 0)])


def is_id(text: str) -> bool:
    """Whether it can be one by its form."""
    try:
        parse_id(text)
    except QueueIdError:
        return False
    return True


def parse_id(text: str) -> int:
    """The integer of an id, lower case allowed; QueueIdError for anything else."""
    if len(text) != LENGTH or not text.isascii():
        raise QueueIdError("a queue id has 12 ASCII characters")
    try:
        return int(text.translate(_TO_DIGITS), 32)
    except ValueError:
        raise QueueIdError("a queue id consists of 0-9 and A-Z without I, L, O and U") from None
