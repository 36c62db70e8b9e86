"""Every script in this folder holds against the real door; how to write one: `tests/support/dialogue.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.dialogue import play, read

SCRIPTS = sorted(Path(__file__).parent.glob("*.smtp"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.stem))
async def test_the_door_says_what_the_script_says(script: Path) -> None:
    await play(read(script))


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 20
