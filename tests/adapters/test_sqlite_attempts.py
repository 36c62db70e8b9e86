"""What the index remembers of attempts that did not deliver, and that others cost nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from postroad.adapters import sqlite_changes
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.adapters.sqlite_reader import SqliteReader
from postroad.mail.lifecycle import State
from postroad.mail.message import Change, Recipient, Trace
from postroad.mail.outcome import Outcome
from tests.support.build import HOUR, NOW, change, deferred, delivered, failed, message, queue_id, recipient
from tests.support.running import running


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[tuple[SqliteQueue, SqliteReader]]:
    queue = SqliteQueue(directory / "queue.sqlite")
    async with running(queue), SqliteReader(directory / "queue.sqlite") as reader:
        yield queue, reader


def tried(row: Recipient, number: int, outcome: Outcome) -> Change:
    trace = Trace(
        NOW, NOW + 1.5, "mx.example.org[192.0.2.1]:25", None, (("connect", 0.5), ("transaction", 1.0))
    )
    return replace(change(row, outcome, attempts=number), trace=trace)


async def test_an_attempt_that_did_not_deliver_is_remembered_with_its_reply_and_times(tmp_path: Path) -> None:
    async with opened(tmp_path) as (queue, reader):
        row = recipient(state=State.ACTIVE)
        await queue.add(message(), [row, recipient("c@example.org", 1, state=State.ACTIVE)])
        await queue.record([tried(row, 1, deferred())])
        await queue.claim(row.hop, NOW + HOUR, 1, NOW + HOUR)
        await queue.record([tried(row, 2, failed())])
        past = await reader.attempts(queue_id(1))
    assert [(each.n, each.number, each.outcome) for each in past] == [(0, 1, deferred()), (0, 2, failed())]
    assert past[0].trace.steps == (("connect", 0.5), ("transaction", 1.0))


async def test_a_delivery_at_the_first_attempt_writes_nothing_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as (queue, _):
        statements: list[str] = []
        queue._connection.set_trace_callback(statements.append)
        row = recipient(state=State.ACTIVE, attempts=1)
        await queue.add(message(), [row])
        await queue.record([change(row, delivered())])
    assert not [each for each in statements if re.search(r"\battempt\b", each)]


async def test_only_the_latest_attempts_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_changes, "ATTEMPTS_KEPT", 12)
    async with opened(tmp_path) as (queue, reader):
        row = recipient(state=State.ACTIVE)
        await queue.add(message(), [row])
        for number in range(1, 16):
            await queue.record([tried(row, number, deferred())])
            await queue.claim(row.hop, NOW + HOUR, 1, NOW + HOUR)
        assert [each.number for each in await reader.attempts(queue_id(1))] == list(range(4, 16))


@pytest.mark.parametrize("end", ["delivered", "cancelled", "settled"])
async def test_attempts_go_with_their_message(tmp_path: Path, end: str) -> None:
    async with opened(tmp_path) as (queue, reader):
        row = recipient(state=State.ACTIVE)
        await queue.add(message(), [row])
        await queue.record([tried(row, 1, deferred())])
        if end == "cancelled":
            await queue.change([change(row, state=State.CANCELLED)])
        else:
            await queue.claim(row.hop, NOW + HOUR, 1, NOW + HOUR)
            outcome = delivered() if end == "delivered" else failed()
            await queue.record([change(row, outcome) if end == "delivered" else tried(row, 2, outcome)])
            await queue.settle(row.message, [0], [])
        assert await queue.find(row.message) is None
        assert await reader.attempts(row.message) == []
