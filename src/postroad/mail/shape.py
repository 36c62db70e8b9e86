"""How old the queue is, domain by domain: the table that qshape(1) of Postfix prints.

Ages are counted in whole units. The first bucket is younger than one unit, then each
ends at twice the age of the one before, or one unit later where they are linear; the last
is open.
"""

from __future__ import annotations

from collections.abc import Iterator

TOTAL = "TOTAL"
WIDTH = 80
NARROWEST = 18
BUCKETS = 10


class Shape:
    """Counts by name and bucket. `parents`: domains above, too, where `least` or more of theirs are there."""

    def __init__(
        self, buckets: int = BUCKETS, *, linear: bool = False, parents: bool = False, least: int = 5
    ) -> None:
        self._buckets = buckets
        self._linear = linear
        self._parents = parents
        self._least = least
        self._counts: dict[str, list[int]] = {TOTAL: [0] * (buckets + 1)}
        self._below: dict[str, int] = {}

    def add(self, name: str, units: int, count: int) -> None:
        """So many of this domain are that old."""
        bucket = self._bucket(units)
        self._count(TOTAL, bucket, count)
        is_new = self._count(name, bucket, count)
        for parent in _parents(name) if self._parents else ():
            if is_new:
                self._below[parent] = self._below.get(parent, 0) + 1
            is_new = self._count(parent, bucket, count)

    def _bucket(self, units: int) -> int:
        if units < 1:
            return 1
        return min(units + 1 if self._linear else units.bit_length() + 1, self._buckets)

    def _count(self, name: str, bucket: int, count: int) -> bool:
        """Whether the name was not there before."""
        counts = self._counts.get(name)
        is_new = counts is None
        if counts is None:
            counts = self._counts[name] = [0] * (self._buckets + 1)
        counts[0] += count
        counts[bucket] += count
        return is_new

    def rows(self) -> list[tuple[str, list[int]]]:
        """Names with their total and the buckets, the most first; TOTAL leads."""
        shown = [
            (name, counts)
            for name, counts in self._counts.items()
            if name[:1] != "." or self._below.get(name, 0) >= self._least
        ]
        return sorted(shown, key=lambda row: (row[0] != TOTAL, -row[1][0], len(row[0]), row[0]))

    def heads(self, tick: int) -> list[str]:
        """What stands above the columns: where each bucket ends, in units of a `tick`."""
        found, end = ["T"], 0
        for n in range(1, self._buckets + 1):
            if n == self._buckets:
                found.append(f"{end}+")
            else:
                end += tick if self._linear or not end else end
                found.append(str(end))
        return found

    def lines(self, tick: int, width: int = WIDTH) -> Iterator[str]:
        """The table as qshape prints it; `tick` in minutes."""
        heads = self.heads(tick)
        widths = [
            max(len(head), len(str(total))) for head, total in zip(heads, self._counts[TOTAL], strict=True)
        ]
        widths = [each + 1 if each > 2 else 3 for each in widths]
        room = max(NARROWEST, width - sum(widths))
        for name, columns in [("", heads), *((name, list(map(str, row))) for name, row in self.rows())]:
            yield _cut(name, room).rjust(room) + "".join(
                column.rjust(each) for column, each in zip(columns, widths, strict=True)
            )


def _cut(name: str, room: int) -> str:
    """A name that is too long keeps its end."""
    if len(name) <= room:
        return name
    return f".+{name[2 - room :]}" if name[:1] == "." else f"+{name[1 - room :]}"


def _parents(name: str) -> Iterator[str]:
    """The domains above, written with a dot before them; top-level ones are left out."""
    rest = name.partition(".")[2]
    while "." in rest:
        yield f".{rest}"
        rest = rest.partition(".")[2]
