"""kill -9 while clients hand in with keys: all of it is sent again, and one copy of each is there.

POSTROAD_REPLAYS says how many kills (6); POSTROAD_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter

import pytest

from postroad.demo.process import HANGS_AFTER, free_port
from tests.support.daemon import Daemon
from tests.support.submitting import Client

KILLS = int(os.environ.get("POSTROAD_REPLAYS", "6"))
SEED = int(os.environ.get("POSTROAD_SEED", "1"))
CLIENTS = 4
EACH = 12


def letter(mark: str) -> bytes:
    return (
        f"From: <a@sender.example>\r\nSubject: {mark}\r\nIdempotency-Key: {mark}\r\n\r\n{mark}\r\n".encode()
    )


def hand_in(port: int, marks: list[str]) -> list[str]:
    """The replies, as far as the connection goes."""
    replies: list[str] = []
    try:
        with Client(port, timeout=HANGS_AFTER) as client:
            for mark in marks:
                to = [f"{mark}@harbour.example"]
                replies.append(client.transact("a@sender.example", to, letter(mark)))
    except OSError:
        pass
    return replies


async def killed_under_load(daemon: Daemon, marks: list[list[str]], chance: random.Random) -> None:
    clients = [asyncio.create_task(asyncio.to_thread(hand_in, daemon.port, each)) for each in marks]
    await asyncio.sleep(chance.random() / 25)
    os.kill(daemon.process.pid, signal.SIGKILL)
    await daemon.process.wait()
    await asyncio.gather(*clients)


@pytest.mark.timeout(600 + 30 * KILLS)
async def test_what_is_sent_again_after_a_kill_is_there_once_and_counted_once() -> None:
    chance = random.Random(SEED)
    total = KILLS * CLIENTS * EACH
    # Nobody listens there: what was accepted waits, and can be counted.
    nowhere = {"harbour.example": free_port()}
    replayed = 0
    async with Daemon(nowhere, {"account_defaults": {"max_messages_per_day": total}}) as daemon:
        for number in range(KILLS):
            marks = [[f"k{number}-{client}-{n}" for n in range(EACH)] for client in range(CLIENTS)]
            await killed_under_load(daemon, marks, chance)
            await daemon.restart()
            for each in marks:
                replies = await asyncio.to_thread(hand_in, daemon.port, each)
                assert [reply[:3] for reply in replies] == ["250"] * EACH
                replayed += sum("(replayed)" in reply for reply in replies)
        copies = Counter(row["recipient"] for row in await daemon.queue())
        print(f"{KILLS} kills: {total} messages, {replayed} of them replayed")
        assert len(copies) == total
        assert set(copies.values()) == {1}
        (over,) = await asyncio.to_thread(hand_in, daemon.port, ["one-more"])
        # A day may have begun in the meantime, and with it the quota.
        assert over.startswith("250 ") or over == (
            f"450 4.7.1 quota: {total} messages a day, 0 left until 00:00 UTC"
        )
