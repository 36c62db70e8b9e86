"""The account on the terminal: a table that is redrawn in place, or plain lines where nobody watches."""

from __future__ import annotations

import os
import re
import shutil
import time
from typing import TextIO

from postroad.demo.fates import Fate, Stand

MARKS = {
    Stand.SENDING: (".", ""),
    Stand.WAITING: ("~", "33"),
    Stand.REFUSED: ("x", "31"),
    Stand.DELIVERED: ("+", "32"),
    Stand.BOUNCED: ("x", "36"),
}
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """One line of text without controls: what a receiver says must not move our cursor."""
    return CONTROLS.sub("?", text)


def fit(text: str, width: int) -> str:
    """At most `width` characters, the cut shown by a tilde."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "~"


def row(fate: Fate, width: int, titles: int, addresses: int) -> str:
    """One line of the table without colour: mark, title, recipient, what happened."""
    mark = MARKS[fate.stand][0]
    left = f"{mark} {fit(fate.letter.title, titles):{titles}}  {fit(fate.recipient, addresses):{addresses}}  "
    return fit(left + printable(fate.words), width)


class Table:
    """Shows fates on a stream; `say` puts a line of text above the table.

    On a terminal each change redraws the rows; the cursor rests below them.
    """

    def __init__(self, fates: list[Fate], stream: TextIO) -> None:
        self._fates = fates
        self._stream = stream
        # A table taller than the screen could not be redrawn in place.
        tall = len(fates) + 2 > shutil.get_terminal_size().lines
        self._live = stream.isatty() and not tall and os.environ.get("TERM", "dumb") != "dumb"
        self._colour = self._live and not os.environ.get("NO_COLOR")
        self._drawn = 0
        self._shown = False
        self._began = time.monotonic()
        self._titles = max(len(fate.letter.title) for fate in fates)
        self._addresses = max(len(fate.recipient) for fate in fates)

    def changed(self, fate: Fate) -> None:
        """A fate changed: redraw, or say so in a line."""
        if self._live:
            self._erase()
            self._draw()
        else:
            elapsed = time.monotonic() - self._began
            words = f"{fate.letter.title} -> {fate.recipient}: {printable(fate.words)}"
            self._write(f"{elapsed:5.1f} s  {words}\n")

    def say(self, text: str = "") -> None:
        """Text that stays, above the table."""
        self._erase()
        self._write(text + "\n")
        if self._shown:
            self._draw()

    def finish(self) -> None:
        """The last state of every row stays; from here on `say` writes below it."""
        if self._live:
            self._erase()
        for fate in self._fates:
            self._write(self._painted(fate, 10_000) + "\n")
        self._shown = False

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        for fate in self._fates:
            self._write(self._painted(fate, width) + "\n")
        self._drawn = len(self._fates)
        self._shown = True

    def _erase(self) -> None:
        if self._drawn:
            self._write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _painted(self, fate: Fate, width: int) -> str:
        text = row(fate, width, self._titles, self._addresses)
        colour = MARKS[fate.stand][1]
        return f"\x1b[{colour}m{text}\x1b[0m" if colour and self._colour else text

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "ascii"
        self._stream.write(text.encode(encoding, "replace").decode(encoding))
        self._stream.flush()
