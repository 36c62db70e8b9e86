"""What is wrong with a configuration, each with its place: collected, never one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from postroad.config.places import KeyPath, Place
from postroad.mail.printable import printable

__all__ = ["WHOLE_FILE", "BadValue", "ConfigError", "KeyPath", "Problem", "Report", "dotted", "shown"]

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
    """A configuration that cannot be used, with every problem found in it, in the order of each file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.file, problem.line))
        super().__init__("\n".join(map(str, self.problems)))


class BadValue(ValueError):
    """A value that cannot be taken. `faults` says why, each with the path below the value itself."""

    def __init__(self, *faults: str | tuple[KeyPath, str]) -> None:
        self.faults: list[tuple[KeyPath, str]] = [
            ((), fault) if isinstance(fault, str) else fault for fault in faults
        ]
        super().__init__("; ".join(text for _, text in self.faults))


class Report:
    """Collects problems against paths of a configuration and knows which paths already have one."""

    def __init__(self, file: str, places: Mapping[KeyPath, Place], problems: Iterable[Problem] = ()) -> None:
        """`file` is the main one, to which is put what has no place."""
        self._file = file
        self._places = places
        self._faulty: set[KeyPath] = set()
        self.problems: list[Problem] = list(problems)

    def add(self, path: KeyPath, text: str) -> None:
        self._faulty.update(path[: n + 1] for n in range(len(path)))
        place = self._place(path)
        self.problems.append(Problem(place.file, place.line, dotted(path), text))

    def sound(self, *paths: KeyPath) -> bool:
        """Whether none of the paths, nor anything below them, has a problem: then they may be compared."""
        return not any(path in self._faulty for path in paths)

    def where(self, path: KeyPath) -> str:
        """ "file:line", for a problem that has a second place."""
        return str(self._place(path))

    def _place(self, path: KeyPath) -> Place:
        # A key that is missing is reported where its table begins.
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path) or Place(self._file, 1)


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
