"""On which line of a TOML document each key stands.

`tomllib` answers values without places. This scanner walks a document that
`tomllib` has already accepted (TOML 1.0), so it follows the structure and checks
nothing: on a document that is not TOML its answer is meaningless, but it ends.
"""

from __future__ import annotations

import re
import tomllib

from postroad.config.problems import KeyPath

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\n#]*")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Paths such as ("listener", 0, "tls") to line numbers from 1.

    Tables stand at their header, list items at their first character. A table
    named by several headers or dotted keys stands at the first.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted_to = 0
        self._line = 1
        self._arrays: dict[KeyPath, int] = {}
        self.lines: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            before = self._at
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._assignment(table)
            self._skip(_BLANK)
            if self._at == before:
                return

    def _header(self) -> KeyPath:
        double = self._text.startswith("[[", self._at)
        line = self._line_here()
        self._at += 2 if double else 1
        parts = self._key()
        self._at += 2 if double else 1
        path: KeyPath = ()
        for n, part in enumerate(parts):
            path += (part,)
            if double and n == len(parts) - 1:
                self.lines.setdefault(path, line)
                self._arrays[path] = self._arrays.get(path, -1) + 1
            elif path not in self._arrays:
                self.lines.setdefault(path, line)
                continue
            path += (self._arrays[path],)
            self.lines.setdefault(path, line)
        return path

    def _assignment(self, table: KeyPath) -> None:
        line = self._line_here()
        path = table
        for part in self._key():
            path += (part,)
            self.lines.setdefault(path, line)
        self._at += 1
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_SPACE)
            quoted = self._match(_STRING)
            parts.append(_unquoted(quoted) if quoted else self._match(_BARE_KEY))
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        if self._text.startswith("[", self._at):
            self._array(path)
        elif self._text.startswith("{", self._at):
            self._inline_table(path)
        elif not self._match(_STRING):
            self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        index = 0
        self._at += 1
        self._skip(_BLANK)
        while self._at < len(self._text) and self._text[self._at] != "]":
            before = self._at
            self.lines[*path, index] = self._line_here()
            self._value((*path, index))
            index += 1
            self._separator()
            if self._at == before:
                return
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        self._skip(_BLANK)
        while self._at < len(self._text) and self._text[self._at] != "}":
            self._assignment(path)
            self._separator()
        self._at += 1

    def _separator(self) -> None:
        self._skip(_BLANK)
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip(_BLANK)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._match(pattern)

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found.group()

    def _line_here(self) -> int:
        # Counted forward from the last answer, so that a document is counted once in all.
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line


def _unquoted(raw: str) -> str:
    try:
        return str(tomllib.loads(f"x = {raw}")["x"])
    except tomllib.TOMLDecodeError:
        return raw
