"""Where the addresses stand in a header field such as From or To (RFC 5322 3.4), as octets.

Only found, not judged: display names, comments, groups and folding are stepped
over, and what is left of each mailbox is its address as written.
"""

from __future__ import annotations

import re
import sys
from typing import Final, NamedTuple

LONGEST: Final = 32 * 1024
"""Octets of a value that are looked at, some 700 addresses: while it is, nobody else is served."""

_TOKEN = re.compile(
    rb"""(?P<space>[ \t\r\n]+)
    |(?P<quoted>"(?:[^"\\]|\\.)*"?)
    |(?P<literal>\[[^\]\[]*+\]?)
    |(?P<special>[()<>,:;])
    |(?P<text>[^ \t\r\n"\[()<>,:;]+|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_IN_COMMENT = re.compile(rb"[^()\\]+|\\.|[()]|\\\Z", re.DOTALL)


class TooLong(ValueError):
    """A value that is not looked at."""


class Mailbox(NamedTuple):
    """One address as written, without white space and comments, and where it ends in the field's value."""

    spec: bytes
    end: int


class _Scan:
    """One pass over a value. `words` are the pieces of the current mailbox outside brackets."""

    def __init__(self, value: bytes, most: int) -> None:
        self.value = value
        self.most = most
        self.found: list[Mailbox] = []
        self.words: list[tuple[bytes, int]] = []
        self.angle: list[tuple[bytes, int]] | None = None
        self.inside = False
        # Two words stand apart (a name, not an address) when space or a comment parts them.
        self.gap = False
        self.apart = False

    def run(self) -> list[Mailbox]:
        position = 0
        while (token := _TOKEN.match(self.value, position)) is not None:
            position = token.end()
            if token.lastgroup == "space":
                self.gap = True
            elif token.lastgroup != "special":
                self._word(token.group(), position)
            elif token.group() == b"(":
                position = _comment_end(self.value, position)
                self.gap = True
            else:
                self._special(token.group())
                if len(self.found) >= self.most:
                    return self.found
        self._finish()
        return self.found

    def _word(self, text: bytes, end: int) -> None:
        if self.inside and self.angle is not None:
            self.angle.append((text, end))
            return
        if self.gap and self.words and not _joins(self.words[-1][0], text):
            self.apart = True
        self.gap = False
        self.words.append((text, end))

    def _special(self, character: bytes) -> None:
        if character == b"<" and self.angle is None:
            self.angle, self.inside = [], True
        elif character == b">":
            self.inside = False
        elif character == b":" and self.inside and self.angle is not None:
            # A source route: what follows it is the address.
            self.angle.clear()
        elif character == b":":
            self._forget()
        elif character in b",;" and not self._in_route():
            self._finish()

    def _in_route(self) -> bool:
        return (
            self.inside and bool(self.angle) and self.angle is not None and self.angle[0][0].startswith(b"@")
        )

    def _finish(self) -> None:
        pieces = self.words if self.angle is None and not self.apart else self.angle
        if pieces:
            self.found.append(Mailbox(b"".join(text for text, _ in pieces), pieces[-1][1]))
        self._forget()

    def _forget(self) -> None:
        self.words, self.angle = [], None
        self.inside = self.gap = self.apart = False


def scan(value: bytes, most: int = sys.maxsize, longest: int = LONGEST) -> list[Mailbox]:
    """The first `most` mailboxes of a field's value, in order; what is no address and no name is left out.

    Raises TooLong for a value of more than `longest` octets.
    """
    if len(value) > longest:
        raise TooLong(f"more than {longest} octets")
    return _Scan(value, most).run()


def _joins(left: bytes, right: bytes) -> bool:
    """Whether obsolete syntax lets white space stand between these (RFC 5322 4.4: around "." and "@")."""
    return left[-1:] in (b".", b"@") or right[:1] in (b".", b"@")


def _comment_end(value: bytes, position: int) -> int:
    depth = 1
    while depth and (token := _IN_COMMENT.match(value, position)) is not None:
        position = token.end()
        depth += (token.group() == b"(") - (token.group() == b")")
    return position
