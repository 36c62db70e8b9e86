"""Where each value of a configuration stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, counted from 1; written "file:line"."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Places:
    """The place of every key that was set, by paths such as ("route", 0, "tls") and ("delivery", "port").

    Routes, listeners and so on are counted from 0 as they stand in `Config`. `overridden`: keys of the main
    file that a file of conf.d sets anew, and where they stood.
    """

    known: Mapping[KeyPath, Place] = field(default_factory=dict)
    overridden: Mapping[KeyPath, Place] = field(default_factory=dict)

    def of(self, *path: str | int) -> Place | None:
        """Where that key is set; None: nowhere, its default holds."""
        return self.known.get(path)

    def first_of(self, *paths: KeyPath) -> Place | None:
        """That of the first that is set: for a limit of a route its own key, then that of [delivery]."""
        return next((self.known[path] for path in paths if path in self.known), None)
