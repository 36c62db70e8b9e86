"""A message of the maildrop is queued exactly once, at whichever step its sender or the daemon dies."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from postroad.adapters.sqlite_reader import SqliteReader
from postroad.ports.queue import QueueFilter
from tests.crash.maildrop_child import MOST_STEPS
from tests.support.peers import run
from tests.support.queued import state_directory


async def senders(directory: Path) -> Counter[str]:
    """Of the queued messages."""
    async with SqliteReader(directory / "queue.sqlite") as index:
        return Counter([str(owner.sender) async for page in index.pages(QueueFilter()) for owner, _ in page])


@pytest.mark.parametrize("what", ["drop", "sweep"])
async def test_whoever_dies_at_whichever_step_the_message_is_queued_once(what: str) -> None:
    with state_directory() as directory:
        (directory / "postroad.toml").write_text('hostname = "mail.example.com"\nstate_directory = "."\n')
        (directory / "maildrop").mkdir()
        said = await run(sys.executable, "-m", "tests.crash.maildrop_child", what, str(directory))
        steps, *told = said.split()
        found = await senders(directory)
        assert list((directory / "maildrop").glob("[!t]*")) == []
    # Of a sender who died behind the rename nobody was told, and the message is there.
    assert set(told) <= set(found)
    assert set(found.values()) == {1}
    assert 5 < int(steps) < MOST_STEPS
    if what == "sweep":
        assert len(found) == int(steps)
