"""`postroad account show`, and what a rebuilt index keeps of quotas and keys."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.cli.main import main
from postroad.mail.idempotency import Kept, Key, Known
from postroad.mail.quota import Charge, first_hour, hour_of
from postroad.ports.queue import Terms
from tests.support.build import message, queue_id, recipient
from tests.support.queued import state_directory
from tests.support.running import running

Captured = pytest.CaptureFixture[str]
RULES = """
[account_defaults]
allowed_senders = ["{account}"]
max_messages_per_day = 10
[account."net:*"]
max_rate = "5/1m"
max_recipients_per_day = 100
lane = "bulk"
"""


@pytest.fixture
async def state() -> AsyncIterator[Path]:
    with state_directory() as directory:
        file = directory / "postroad.toml"
        file.write_text(file.read_text() + RULES)
        yield directory


async def show(directory: Path, *arguments: str) -> int:
    command = ["--config", str(directory / "postroad.toml"), "account", "show", *arguments]
    return await asyncio.to_thread(main, command)


async def send(directory: Path, account: str, now: float) -> None:
    """Two messages in this day, to three recipients in all, the second with a key."""
    hour = hour_of(now)
    queue = SqliteQueue(directory / "queue.sqlite")
    async with running(queue):
        kept = Kept(Key(account, "header:k", b"digest"), now, now + 1000)
        for number, terms in enumerate(
            (Terms(Charge(account, first_hour(hour), 1), None), Terms(Charge(account, hour, 2), kept)), 1
        ):
            owner = message(number)
            await queue.accept(owner, [recipient(owner)], terms)


async def test_it_says_which_table_holds_what_it_says_and_what_is_left(state: Path, capsys: Captured) -> None:
    found = None
    while found is None:
        now = time.time()
        (state / "queue.sqlite").unlink(missing_ok=True)
        await send(state, "net:192.0.2.7", now)
        assert await show(state, "net:192.0.2.7", "--json") == 0
        said = capsys.readouterr().out
        # Where another day has begun in between, all is left again.
        found = json.loads(said) if time.time() // 86400 == now // 86400 else None
    assert (found["account"], found["table"]) == ("net:192.0.2.7", '[account."net:*"]')
    assert found["policy"]["allowed_senders"] == ["{account}"]
    assert (found["policy"]["max_rate"], found["policy"]["lane"]) == ("5/60s", "bulk")
    assert [(q["of"], q["per"], q["limit"], q["used"], q["left"]) for q in found["quotas"]] == [
        ("messages", "day", 10, 2, 8),
        ("recipients", "day", 100, 3, 97),
    ]


async def test_it_works_before_the_first_start_and_is_readable(state: Path, capsys: Captured) -> None:
    assert await show(state, "anna") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "anna: [account_defaults]"
    assert "  quota: 10 messages a day, 10 left until 00:00 UTC" in lines
    assert not (state / "queue.sqlite").exists()


async def test_a_rebuilt_index_keeps_quotas_and_keys_of_one_that_can_be_read(state: Path) -> None:
    now = time.time()
    await send(state, "anna", now)
    (state / "spool").mkdir(exist_ok=True)
    command = ["--config", str(state / "postroad.toml"), "spool", "rebuild"]
    assert await asyncio.to_thread(main, command) == 0
    queue = SqliteQueue(state / "queue.sqlite")
    async with running(queue):
        assert await queue.find(queue_id(1)) is None
        charges = await queue.charges(first_hour(hour_of(now)))
        assert sum(charge.messages for charge in charges) == 2
        assert await queue.known("anna", "header:k", now) == Known(queue_id(2), b"digest")
