"""The files of a configuration: the main one and conf.d/*.toml beside it, put together.

The main file comes first, then those of conf.d by name, in the order of the octets. A
file of conf.d may set a key that the main file sets: its value counts. Two files of
conf.d may not set the same key: which counts would hang on their names. Tables that may
be repeated ([[listener]], [[route]]) add up, in that order.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postroad.config.keys import Keys
from postroad.config.locate import key_lines
from postroad.config.places import KeyPath, Place, Places
from postroad.config.problems import WHOLE_FILE, ConfigError, Problem, dotted

MAX_FILE = 4 << 20
MAX_FILES = 1000
DROP_INS = "conf.d"
_AT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Source:
    """One file: what it says, and on which lines."""

    file: str
    document: Mapping[str, Any]
    lines: Mapping[KeyPath, int]


@dataclass(slots=True)
class Merged:
    """All files together. `clashes`: keys that two files of conf.d set."""

    file: str
    document: dict[str, Any] = field(default_factory=dict)
    known: dict[KeyPath, Place] = field(default_factory=dict)
    overridden: dict[KeyPath, Place] = field(default_factory=dict)
    clashes: list[Problem] = field(default_factory=list)

    @property
    def places(self) -> Places:
        return Places(self.known, self.overridden)


def read_all(path: Path, known: Keys) -> Merged:
    """The main file and those of conf.d. Raises ConfigError with all that cannot be read or is no TOML."""
    sources, problems = [], []
    try:
        drop_ins = _drop_ins(path)
    except ConfigError as error:
        drop_ins = []
        problems += error.problems
    for file in (path, *drop_ins):
        try:
            sources.append(_source(file, main=file is path))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return merge(sources, known)


def merge(sources: Sequence[Source], known: Keys) -> Merged:
    """The first of the sources is the main file."""
    merged = Merged(sources[0].file)
    for source in sources:
        _Merging(merged, source, known).run()
    return merged


@dataclass(frozen=True, slots=True)
class _Merging:
    """One more file on top of what there is."""

    merged: Merged
    source: Source
    known: Keys

    def run(self) -> None:
        document = self.merged.document
        for name, value in self.source.document.items():
            before = document.get(name, [])
            if name in self.known.repeated and _are_tables(value) and _are_tables(before):
                document[name] = [*before, *value]
                self._note((name,), len(before))
            else:
                depth = 1 if name in self.known.tables else 2 if name in self.known.named else 0
                self._fold(document, name, value, (name,), depth)

    def _fold(self, into: dict[str, Any], key: str, value: Any, path: KeyPath, depth: int) -> None:
        there = into.get(key)
        if depth and isinstance(value, dict) and (there is None or isinstance(there, dict)):
            self.merged.known.setdefault(path, self._place(path))
            table = into.setdefault(key, {})
            for name, item in value.items():
                self._fold(table, name, item, (*path, name), depth - 1)
        elif self._may_set(path):
            into[key] = value
            for old in [old for old in self.merged.known if old[: len(path)] == path]:
                del self.merged.known[old]
            self._note(path)

    def _may_set(self, path: KeyPath) -> bool:
        before = self.merged.known.get(path)
        if before is None:
            return True
        here = self._place(path)
        if before.file == self.merged.file:
            self.merged.overridden[path] = before
            return True
        text = f"is set in {before} too; of two files in {DROP_INS} neither goes before the other"
        self.merged.clashes.append(Problem(here.file, here.line, dotted(path), text))
        return False

    def _note(self, path: KeyPath, shift: int = 0) -> None:
        """Take over the places at and below a path; its list items count from `shift` on."""
        depth = len(path)
        for at, line in self.source.lines.items():
            if at[:depth] != path:
                continue
            first = at[depth : depth + 1]
            if shift and first and isinstance(first[0], int):
                at = (*path, first[0] + shift, *at[depth + 1 :])
            self.merged.known.setdefault(at, Place(self.source.file, line))

    def _place(self, path: KeyPath) -> Place:
        return Place(self.source.file, self.source.lines.get(path, 1))


def _are_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _drop_ins(path: Path) -> list[Path]:
    folder = path.parent / DROP_INS
    try:
        names = sorted(os.listdir(folder), key=os.fsencode)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigError(
            [Problem(str(folder), 1, WHOLE_FILE, f"cannot be read: {error.strerror}")]
        ) from None
    # Editors and package managers leave hidden files and other endings behind.
    names = [name for name in names if name.endswith(".toml") and not name.startswith(".")]
    if len(names) > MAX_FILES:
        raise ConfigError([Problem(str(folder), 1, WHOLE_FILE, f"has more than {MAX_FILES} files")])
    return [folder / name for name in names]


def _source(path: Path, *, main: bool) -> Source:
    text = _text(path, main=main)
    return Source(str(path), _document(str(path), text), key_lines(text))


def _text(path: Path, *, main: bool) -> str:
    def cannot(why: str, line: int = 1) -> ConfigError:
        return ConfigError([Problem(str(path), line, WHOLE_FILE, why)])

    try:
        with open(path, "rb", opener=_open) as file:
            if not main and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise cannot("is no file")
            raw = file.read(MAX_FILE + 1)
    except OSError as error:
        missing = main and isinstance(error, FileNotFoundError)
        cure = "; --config or $POSTROAD_CONFIG names another" if missing else ""
        if isinstance(error, PermissionError):
            cure = "; let the user of the daemon read it: chgrp, chmod 640"
        raise cannot(f"cannot be read: {error.strerror}{cure}") from None
    if len(raw) > MAX_FILE:
        raise cannot("is larger than 4 MiB: not a configuration")
    try:
        # As tomllib does it, so that both count the same lines.
        return raw.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise cannot("is not UTF-8 text", raw.count(b"\n", 0, error.start) + 1) from None


def _open(name: str, flags: int) -> int:
    """Without waiting for ever at a pipe."""
    return os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _document(file: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT.search(str(error))
        line = int(found[1]) if found and found[1] else max(1, len(text.splitlines()))
        reason = _AT.sub("", str(error))
        raise ConfigError([Problem(file, line, WHOLE_FILE, f"not TOML: {reason}")]) from None
