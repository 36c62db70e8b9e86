"""Alias files as the system has them: read with limits, their mistakes told by file and line.

A mistake never stops the daemon: the file is the system's and others write it too. The
line does not count then, and mail for its name waits or goes to the fallback.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from postroad.config.model import ALIASES, Config
from postroad.config.problems import Problem
from postroad.mail.aliases import Entry, Flaw, Include, Target, parse, parse_list
from postroad.mail.local_names import ALWAYS_LOCAL, BUILT_IN, LocalNames, resolve

MAX_FILE = 4 << 20
MAX_INCLUDED = 100


@dataclass(frozen=True, slots=True)
class AliasFile:
    """`errors` are lines that mean nothing, `warnings` what is read but not done."""

    names: LocalNames
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()

    @property
    def told(self) -> tuple[str, ...]:
        return tuple(map(str, (*self.errors, *self.warnings)))


@dataclass(slots=True)
class _Reading:
    """One file and all that it includes."""

    path: Path
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    included: int = 0

    def tell(self, path: Path, flaw: Flaw) -> None:
        problem = Problem(str(path), flaw.line, flaw.name or "(line)", flaw.text)
        (self.errors if flaw.grave else self.warnings).append(problem)

    def table(self) -> dict[str, tuple[Target, ...]]:
        text, why = _text(self.path)
        if why:
            self.tell(self.path, Flaw(1, "(file)", why))
        entries, flaws = parse(text)
        for flaw in flaws:
            self.tell(self.path, flaw)
        return {entry.name: self.targets(entry) for entry in entries}

    def targets(self, entry: Entry) -> tuple[Target, ...]:
        found: list[Target] = []
        for target in entry.targets:
            found += self.include(entry, target) if isinstance(target, Include) else [target]
        return tuple(found)

    def include(self, entry: Entry, target: Include) -> list[Target]:
        path = Path(target.path)
        self.included += 1
        text, why = _text(path)
        if self.included > MAX_INCLUDED:
            text, why = "", f"more than {MAX_INCLUDED} included files"
        if why:
            self.tell(self.path, Flaw(entry.line, entry.name, f":include:{path}: {why}"))
        found, flaws = parse_list(text)
        for flaw in flaws:
            self.tell(path, flaw)
        return found


def read(config: Config) -> AliasFile:
    """The local names of a configuration, with the aliases as they are in the files now."""
    local = config.local
    reading = _Reading(local.aliases)
    # No file at the usual place is no aliases.
    table = reading.table() if local.aliases != ALIASES or local.aliases.exists() else {}
    names = LocalNames(
        domains=_domains(config),
        aliases=table,
        origin=config.origin,
        fallback=local.fallback,
        source=str(local.aliases),
    )
    warnings = reading.warnings + _without_end(table, names, local.aliases)
    # What is included twice is wrong once.
    return AliasFile(names, tuple(dict.fromkeys(reading.errors)), tuple(dict.fromkeys(warnings)))


def _domains(config: Config) -> frozenset[str]:
    if config.local.domains is not None:
        return ALWAYS_LOCAL.union(config.local.domains)
    # A route that names this machine's own name says that its mail is kept elsewhere.
    routed = any(config.hostname in route.match for route in config.routes)
    return ALWAYS_LOCAL if routed else ALWAYS_LOCAL | {config.hostname}


def _without_end(table: Mapping[str, object], names: LocalNames, path: Path) -> list[Problem]:
    """Names whose aliases lead in a circle or to nobody. Those that lead to one of these are not told."""
    lines = _lines_of_names(path)
    told = []
    for name in table:
        for text in resolve(name, names).wanting if name not in BUILT_IN else ():
            told.append(Problem(str(path), lines.get(name, 1), name, text))
    return told


def _lines_of_names(path: Path) -> dict[str, int]:
    return {entry.name: entry.line for entry in parse(_text(path)[0])[0]}


def _text(path: Path) -> tuple[str, str]:
    """The text of a file, or why it cannot be had. Never waits for a pipe, never reads without end."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return "", f"cannot be read: {error.strerror}"
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return "", "is no file"
        if status.st_mode & stat.S_IWOTH:
            return "", "may be written by everybody, who could then have anybody's mail: chmod o-w"
        raw = file.read(MAX_FILE + 1)
    if len(raw) > MAX_FILE:
        return "", f"is larger than {MAX_FILE >> 20} MiB"
    # A comment in another encoding is no reason to lose root's alias: only the line that means something is.
    return raw.decode("utf-8", "surrogateescape"), ""
