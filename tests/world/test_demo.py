"""`postroad demo` as anybody runs it: piped, on a terminal, interrupted.

How long it takes is a matter of the machine, but for its waits: see tests/demo/test_schedule.py.
"""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
import tempfile

DEMO = (sys.executable, "-m", "postroad", "demo")


async def test_the_demonstration_ends_well_and_tells_every_fate_in_lines() -> None:
    process = await asyncio.create_subprocess_exec(
        *DEMO,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    out, err = (text.decode() for text in await process.communicate())
    assert (process.returncode, err) == (0, ""), out
    assert "\x1b" not in out
    for words in ("delivered after greylisting", "refused: 550 5.1.1", "bounce ", "$ postroad queue list"):
        assert words in out
    assert "Every message ended as it should" in out


async def test_on_a_terminal_the_table_is_redrawn_in_place() -> None:
    ours, theirs = pty.openpty()
    painted = bytearray()
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def read() -> None:
        try:
            painted.extend(os.read(ours, 65536))
        except OSError:
            # Nobody has the other side open any more, and all of it was read.
            loop.remove_reader(ours)
            ended.set()

    try:
        process = await asyncio.create_subprocess_exec(
            *DEMO,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
            start_new_session=True,
        )
    finally:
        os.close(theirs)
    loop.add_reader(ours, read)
    try:
        assert await process.wait() == 0, painted.decode()
        await ended.wait()
    finally:
        loop.remove_reader(ours)
        os.close(ours)
    assert b"\x1b[10A\x1b[J" in painted
    assert b"Every message ended as it should" in painted


async def test_an_interrupted_demonstration_leaves_neither_process_nor_directory() -> None:
    # Not pytest's own directory: a Unix socket's path may have 107 octets.
    with tempfile.TemporaryDirectory(prefix="pr-") as directory:
        await interrupt(directory)
        assert os.listdir(directory) == []


async def interrupt(directory: str) -> None:
    """Ctrl-C in the middle of a demonstration whose temporary files go below `directory`."""
    process = await asyncio.create_subprocess_exec(
        *DEMO,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": directory},
        start_new_session=True,
    )
    assert process.stdout is not None
    while b"accepted as" not in (line := await process.stdout.readline()):
        assert line, "it ended early"
    children = children_of(process.pid)
    assert children
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 130
    assert [pid for pid in children if os.path.exists(f"/proc/{pid}")] == []


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]
