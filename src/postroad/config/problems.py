"""What is wrong with a configuration, each with its place: collected, never one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from postroad.mail.printable import printable

KeyPath = tuple[str | int, ...]

WHOLE_FILE = "(file)"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: `file:line: key: text`. Lines count from 1; `key` is dotted, without list positions."""

    file: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        return printable(f"{self.file}:{self.line}: {self.key}: {self.text}")


class ConfigError(Exception):
    """A configuration that cannot be used, with every problem found in it, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line)
        super().__init__("\n".join(map(str, self.problems)))


class BadValue(ValueError):
    """A value that cannot be taken. `faults` says why, each with the path below the value itself."""

    def __init__(self, *faults: str | tuple[KeyPath, str]) -> None:
        self.faults: list[tuple[KeyPath, str]] = [
            ((), fault) if isinstance(fault, str) else fault for fault in faults
        ]
        super().__init__("; ".join(text for _, text in self.faults))


class Report:
    """Collects problems against paths of one file and knows which paths already have one."""

    def __init__(self, file: str, lines: Mapping[KeyPath, int]) -> None:
        self._file = file
        self._lines = lines
        self._faulty: set[KeyPath] = set()
        self.problems: list[Problem] = []

    def add(self, path: KeyPath, text: str) -> None:
        self._faulty.update(path[: n + 1] for n in range(len(path)))
        self.problems.append(Problem(self._file, self._line(path), dotted(path), text))

    def sound(self, *paths: KeyPath) -> bool:
        """Whether none of the paths, nor anything below them, has a problem: then they may be compared."""
        return not any(path in self._faulty for path in paths)

    def _line(self, path: KeyPath) -> int:
        # A key that is missing is reported where its table begins.
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)


def dotted(path: KeyPath) -> str:
    return ".".join(part for part in path if isinstance(part, str)) or WHOLE_FILE


def shown(value: object) -> str:
    """A value of the file as the file would write it, short enough for a message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    if isinstance(value, dict):
        text = "a table"
    if isinstance(value, list):
        text = "a list"
    return printable(text if len(text) <= 80 else text[:77] + "...")
