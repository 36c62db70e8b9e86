"""Regular expressions keep to what every supported Python matches rightly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import postroad

SOURCES = sorted(Path(postroad.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_group_is_repeated_possessively(path: Path) -> None:
    # Before 3.11.5 a possessive group forgets to step back over an iteration that failed
    # halfway; on single characters the quantifier is sound.
    found = re.findall(r"[^\\]\)(?:\*\+|\+\+|\?\+|\}\+)", path.read_text("utf-8"))
    assert found == []
