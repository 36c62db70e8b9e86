"""What a disk may hold after a power cut, made from a record of what was written to it.

Of a file everything up to its last sync is there; of what came later any part may be:
a prefix torn in its last write, or any pages of any writes. Of a directory every name
up to its last sync is there; of later changes a prefix, as a journal keeps them, or any
at all. (The record is made by tests/crash/recorder.c.)
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SECTOR = 512
PAGE = 4096
_ENTRY = struct.Struct("=cIIQQQ")
# Mapped into memory and never synced: nothing of them is known, and nothing is asked of them.
UNKNOWN = ("-shm", ".slate")


class Call(NamedTuple):
    """`kind` as in recorder.c."""

    kind: str
    path: str
    other: str
    inode: int
    offset: int
    length: int
    octets: bytes


def read_record(path: Path) -> list[Call]:
    """Every call that was entered whole."""
    octets, at, calls = path.read_bytes(), 0, []
    while at + _ENTRY.size <= len(octets):
        kind, first, second, inode, offset, length = _ENTRY.unpack_from(octets, at)
        at += _ENTRY.size
        names = octets[at : at + first + second].decode()
        at += first + second
        size = length if kind in (b"W", b"P") else 0
        call = Call(
            kind.decode(), names[:first], names[first:], inode, offset, length, octets[at : at + size]
        )
        at += size
        if not call.path.endswith(UNKNOWN):
            calls.append(call)
    return calls


@dataclass
class File:
    """`sure` has reached the disk; `later` are the writes and cuts since."""

    sure: bytearray = field(default_factory=bytearray)
    later: list[Call] = field(default_factory=list)

    def sync(self) -> None:
        for call in self.later:
            _apply(self.sure, call)
        self.later.clear()


@dataclass
class Name:
    """A change of names that no sync of its directory covers yet."""

    call: Call
    file: File | None


class Disk:
    """Feed it calls; `states` are what a cut then may leave. `ignore`: kinds of sync that do nothing."""

    def __init__(self, ignore: Sequence[str] = ()) -> None:
        self._ignore = ignore
        # As programs see it, and as the disk surely has it.
        self._seen: dict[str, File] = {}
        self._sure: dict[str, File | None] = {}
        self._names: list[Name] = []
        self._open: dict[int, File] = {}

    def feed(self, call: Call) -> None:
        if call.kind == "C":
            file = self._open[call.inode] = self._seen[call.path] = File()
            self._names.append(Name(call, file))
        elif call.kind == "M":
            self._names.append(Name(call, None))
        elif call.kind == "R":
            self._names.append(Name(call, self._seen[call.path]))
            self._seen[call.other] = self._seen.pop(call.path)
        elif call.kind == "U":
            self._seen.pop(call.path, None)
            self._names.append(Name(call, None))
        elif call.kind in "WT" and call.inode in self._open:
            self._open[call.inode].later.append(call)
        elif call.kind == "S" and call.kind not in self._ignore and call.inode in self._open:
            self._open[call.inode].sync()
        elif call.kind == "D" and call.kind not in self._ignore:
            self._sync_names(call.path)

    def _sync_names(self, directory: str) -> None:
        left = []
        for name in self._names:
            if directory in _directories(name.call):
                _rename(self._sure, name)
            else:
                left.append(name)
        self._names = left

    def write(self, top: Path, under: str, chance: random.Random) -> None:
        """One of the states that a cut may leave, below `top` in place of `under`."""
        names = dict(self._sure)
        later = self._names[: chance.randint(0, len(self._names))]
        if chance.random() < 0.5:
            later = [name for name in self._names if chance.random() < 0.5]
        for name in later:
            _rename(names, name)
        for path, file in names.items():
            to = top / path.removeprefix(under).lstrip("/")
            if file is None:
                to.mkdir(parents=True, exist_ok=True)
        for path, file in names.items():
            to = top / path.removeprefix(under).lstrip("/")
            # A name in a directory whose own name was lost is lost with it.
            if file is not None and to.parent.is_dir():
                to.write_bytes(_survives(file, chance))


def _directories(call: Call) -> set[str]:
    """Where the change must be on disk for its new name to be there."""
    return {(call.other or call.path).rpartition("/")[0]}


def _rename(names: dict[str, File | None], name: Name) -> None:
    call = name.call
    if call.kind == "U":
        names.pop(call.path, None)
    elif call.kind == "R":
        names.pop(call.path, None)
        names[call.other] = name.file
    else:
        names[call.path] = name.file


def _survives(file: File, chance: random.Random) -> bytes:
    """What is sure, and some of the rest."""
    octets, later = bytearray(file.sure), file.later
    how = chance.choice(["nothing", "prefix", "pages", "all"])
    if how == "all":
        for call in later:
            _apply(octets, call)
    elif how == "prefix" and later:
        whole = chance.randrange(len(later))
        for call in later[:whole]:
            _apply(octets, call)
        torn = later[whole]
        _apply(octets, torn._replace(octets=torn.octets[: chance.randint(0, len(torn.octets))]))
    elif how == "pages":
        for call in later:
            for piece in _pages(call):
                if chance.random() < 0.5:
                    _apply(octets, piece)
    return bytes(octets)


def _pages(call: Call) -> Iterator[Call]:
    """A write as the pieces of it that reach a disk each by itself."""
    if call.kind != "W":
        yield call
        return
    size = PAGE
    start, end = call.offset, call.offset + len(call.octets)
    while start < end:
        stop = min(end, start // size * size + size)
        yield call._replace(
            offset=start, octets=call.octets[start - call.offset : stop - call.offset], length=stop - start
        )
        start = stop


def _apply(octets: bytearray, call: Call) -> None:
    if call.kind == "T":
        del octets[call.length :]
        octets.extend(bytes(call.length - len(octets)))
        return
    if not call.octets:
        return
    if len(octets) < call.offset:
        octets.extend(bytes(call.offset - len(octets)))
    octets[call.offset : call.offset + len(call.octets)] = call.octets
