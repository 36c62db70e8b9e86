"""What the commands print: nothing that could steer a terminal, and errors that name the way out."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from postroad.mail.printable import printable


class CommandFailed(Exception):
    """A command cannot do what it was asked; `code` is of sysexits.h."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def say(line: str = "") -> None:
    print(printable(line))


def complain(text: str) -> None:
    print(f"postroad: {printable(text)}", file=sys.stderr)


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def age(seconds: float) -> str:
    """A length of time by its two largest units: "3s", "12m", "2h05m", "4d07h"."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def octets(size: int) -> str:
    """A size for people, in multiples of 1024: "812B", "4.1K", "25M"."""
    value = float(size)
    for unit in ("B", "K", "M"):
        if value < 1024:
            return f"{value:.1f}{unit}" if unit != "B" and value < 10 else f"{value:.0f}{unit}"
        value /= 1024
    return f"{value:.1f}G"


def listed(words: Iterable[str], limit: int = 5) -> str:
    """Words with commas, the tail as a number when there are many."""
    shown = list(words)
    rest = len(shown) - limit
    return ", ".join(shown[:limit]) + (f" and {rest} more" if rest > 0 else "")
