"""Text that is safe to show, log and send on a line of its own."""

from __future__ import annotations

# To a terminal they mean nothing; Persian, Hindi and emoji are not written without them (RFC 5892 A.1, A.2).
_JOINERS = {0x200C: None, 0x200D: None}


def printable(text: str) -> str:
    """The text with control and other unprintable characters escaped as Python writes them."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def one_line(text: str, most: int) -> str:
    """What a stranger wrote as one printable line of at most `most` characters; what is lost shows as "?".

    White space of any kind becomes a space, a longer text ends in "...".
    """
    if not text.isprintable():
        text = "".join([char if char.isprintable() else " " if char.isspace() else "?" for char in text])
    return text if len(text) <= most else text[: most - 3] + "..."


def is_text(text: str) -> bool:
    """Whether it may stand in an address: printable, but for the two joiners that languages need."""
    return text.isprintable() or text.translate(_JOINERS).isprintable()
