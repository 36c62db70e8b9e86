"""Every script in this folder holds against the real door; how to write one: `tests/support/dialogue.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from tests.support.dialogue import play, read

SCRIPTS = sorted(Path(__file__).parent.glob("*.smtp"))


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.stem))
def test_the_door_says_what_the_script_says(
    script: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(play(read(script)))


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 20
