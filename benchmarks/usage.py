"""What a tree of processes uses: processor time and memory, read from /proc.

Processor time of a tree is exact, also for children that came and went: a parent
that waits for its children (Postfix's master does) carries their time on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1024 * 1024
GONE = (FileNotFoundError, ProcessLookupError)


def tree(roots: Iterable[int]) -> Iterator[int]:
    """The processes and all that descend from them; one that ends meanwhile is left out."""
    for pid in roots:
        yield pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except GONE:
            continue
        yield from tree(int(child) for child in children.split())


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of the tree so far, with that of children already waited for."""
    return sum(_ticks(pid) for pid in tree(roots)) / TICK


def _ticks(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except GONE:
        return 0
    # proc(5): the name in brackets may hold anything; utime is the 12th field behind it.
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def rss(roots: Iterable[int]) -> int:
    """Resident octets, added up; pages that processes share count in each of them."""
    return sum(_resident(pid) for pid in tree(roots))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except GONE:
        return 0


def pss(roots: Iterable[int]) -> int:
    """Resident octets with each shared page divided among its users: what the tree really takes."""
    return sum(_proportional(pid) for pid in tree(roots))


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except GONE:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def wakeups(pid: int) -> int:
    """How often the threads of one process went to sleep so far, so, were woken up again."""
    return sum(_switches(path) for path in Path(f"/proc/{pid}/task").glob("*/status"))


def _switches(path: Path) -> int:
    try:
        lines = path.read_text().splitlines()
    except GONE:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


class Peak:
    """`with Peak(pids) as peak:` looks four times a second; then `peak.rss` and `peak.pss`, in octets.

    The proportional size costs the kernel a walk through every page table, so it is
    looked at every two seconds.
    """

    def __init__(self, roots: Callable[[], list[int]], interval: float = 0.25) -> None:
        self._roots = roots
        self._interval = interval
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.rss = 0
        self.pss = 0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def look(self) -> None:
        """Both sizes now."""
        self.rss = max(self.rss, rss(self._roots()))
        self.pss = max(self.pss, pss(self._roots()))

    def _watch(self) -> None:
        looks, every = 0, max(3, round(2 / self._interval))
        while not self._over.wait(self._interval):
            if looks % every == 2:
                self.look()
            self.rss = max(self.rss, rss(self._roots()))
            looks += 1
