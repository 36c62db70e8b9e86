"""Figures of one daemon against what must hold: measured, compared, printed as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """`limit` is the most that may be measured, or the least where `least`; None: for information."""

    what: str
    value: float
    unit: str
    limit: float | None = None
    least: bool = False

    @property
    def holds(self) -> bool:
        if self.limit is None:
            return True
        return self.value >= self.limit if self.least else self.value <= self.limit


def table(figures: Sequence[Figure]) -> str:
    lines = ["| figure | measured | must hold | |", "|---|---|---|---|"]
    for figure in figures:
        sign = ">=" if figure.least else "<="
        goal = "" if figure.limit is None else f"{sign} {figure.limit:g} {figure.unit}"
        verdict = "" if figure.limit is None else "yes" if figure.holds else "**no**"
        lines.append(f"| {figure.what} | {figure.value:.4g} {figure.unit} | {goal} | {verdict} |")
    return "\n".join(lines)


def report(figures: Sequence[Figure], path: Path | None) -> int:
    """Print, write as JSON where asked; an exit status: 0 when all hold."""
    print(table(figures))
    if path:
        path.write_text(json.dumps([asdict(f) | {"holds": f.holds} for f in figures], indent=1) + "\n")
    return 0 if all(figure.holds for figure in figures) else 1


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed; `values` sorted."""
    return values[max(0, math.ceil(share * len(values)) - 1)]
