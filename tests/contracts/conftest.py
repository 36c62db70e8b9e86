"""The queues that every suite of them is run with: the one in memory that tests use, and the index."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.ports.queue import Queue
from tests.support.memory_queue import MemoryQueue
from tests.support.running import running


@pytest.fixture(params=["memory", "sqlite"])
async def queue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Queue]:
    if request.param == "memory":
        yield MemoryQueue()
        return
    index = SqliteQueue(tmp_path / "queue.sqlite")
    async with running(index):
        yield index
