"""Text that is safe to show, log and send on a line of its own."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with control and other unprintable characters escaped as Python writes them."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
