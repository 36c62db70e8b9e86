"""Bursts: formed while the thread is busy, answered together, never left without an answer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest

from postroad.adapters.group_commit import MAX_BURST, GroupCommit
from postroad.demo.process import HANGS_AFTER
from postroad.ports.storage import StorageBroken
from tests.support.running import running


class Doubling:
    """Commits by doubling; keeps the bursts. While `open` is not set it is in its sync."""

    def __init__(self) -> None:
        self.bursts: list[list[int]] = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, burst: Sequence[int]) -> Sequence[int | Exception]:
        self.bursts.append(list(burst))
        self.open.wait()
        return [ValueError(item) if item < 0 else 2 * item for item in burst]


async def test_what_waits_becomes_one_burst() -> None:
    commit = Doubling()
    commits = GroupCommit[int, int]("test", commit)
    answers = [commits.submit(item) for item in range(5)]
    async with running(commits):
        assert await asyncio.gather(*answers) == [0, 2, 4, 6, 8]
    assert commit.bursts == [[0, 1, 2, 3, 4]]


async def test_a_burst_is_bounded() -> None:
    commit = Doubling()
    commits = GroupCommit[int, int]("test", commit)
    answers = [commits.submit(item) for item in range(MAX_BURST + 1)]
    async with running(commits):
        await asyncio.gather(*answers)
    assert [len(burst) for burst in commit.bursts] == [MAX_BURST, 1]


async def test_one_failure_is_told_to_its_own_caller() -> None:
    commits = GroupCommit[int, int]("test", Doubling())
    good, bad = commits.submit(1), commits.submit(-1)
    async with running(commits):
        assert await good == 2
        with pytest.raises(ValueError):
            await bad


async def test_a_cancelled_caller_neither_stops_its_change_nor_the_others() -> None:
    commit = Doubling()
    commits = GroupCommit[int, int]("test", commit)
    cancelled, other = commits.submit(1), commits.submit(2)
    cancelled.cancel()
    async with running(commits):
        assert await other == 4
    assert commit.bursts == [[1, 2]]


async def test_closing_answers_what_waits() -> None:
    finished: list[bool] = []
    commits = GroupCommit[int, int]("test", Doubling(), lambda: finished.append(True))
    answers = [commits.submit(item) for item in range(3)]
    commits.close()
    commits.close()
    await commits.run()
    assert await asyncio.gather(*answers) == [0, 2, 4]
    assert finished == [True]
    with pytest.raises(StorageBroken, match="closed"):
        await commits.submit(4)


async def test_a_cancelled_run_commits_what_was_handed_over() -> None:
    commit = Doubling()
    commits = GroupCommit[int, int]("test", commit)
    commits.submit(1)
    task = asyncio.create_task(commits.run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert commit.bursts == [[1]]


@pytest.mark.parametrize("error", [StorageBroken("gone"), OSError("odd"), ZeroDivisionError()])
async def test_after_an_unknown_end_everybody_fails_and_so_does_run(error: Exception) -> None:
    def commit(burst: Sequence[int]) -> Sequence[int | Exception]:
        raise error

    commits = GroupCommit[int, int]("test", commit)
    before = commits.submit(1)
    with pytest.raises(StorageBroken):
        await commits.run()
    for answer in (before, commits.submit(2)):
        with pytest.raises(StorageBroken):
            await answer


def test_an_interpreter_that_forgets_to_close_still_ends() -> None:
    program = (
        "import asyncio\n"
        "from postroad.adapters.group_commit import GroupCommit\n"
        "async def main():\n"
        "    commits = GroupCommit('test', lambda burst: list(burst))\n"
        "    task = asyncio.create_task(commits.run())\n"
        "    print(await commits.submit(7))\n"
        "    import sys, os\n"
        "    asyncio.get_running_loop().call_soon(sys.exit, 3)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=HANGS_AFTER
    )
    assert (child.returncode, child.stdout) == (3, "7\n")


async def test_who_comes_after_the_end_is_told_that_it_is_closed() -> None:
    """Not an error of its own: another part's failure ends the process then, and is the reason."""
    commits = GroupCommit[int, int]("test", lambda burst: burst)
    commits.close()
    with pytest.raises(StorageBroken, match="test is closed"):
        await commits.submit(1)
