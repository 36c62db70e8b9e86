"""Drops messages, and takes up what was dropped, each time in a process that dies before its N-th step.

    python -m tests.crash.maildrop_child drop | sweep DIRECTORY

A step is a call to the system that changes or looks up what lies on the disk. N rises until
nobody dies any more; then all that is left is taken up. Says the last N and the messages whose
sender was told that they are safe.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from postroad.adapters.hub import EventHub
from postroad.adapters.journal import Journal
from postroad.cli.sendmail_door import drop, envelope, request_line
from postroad.config import load
from postroad.parts.build import build

STEPS = ("open", "write", "fchmod", "fsync", "rename", "unlink", "scandir", "fdatasync", "pwrite")
MOST_STEPS = 60
CONTENT = b"Subject: hello\n\nhello\n"


def die_before(step: int) -> None:
    """From here on the steps are counted."""
    left = step

    def counted(call: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return run

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


def drop_one(directory: Path, sender: str, step: int) -> None:
    request = envelope(sender, ["b@example.org"]) | {"size": len(CONTENT)}
    line = request_line(**request)
    die_before(step)
    drop(str(directory / "maildrop"), line, CONTENT, "no daemon")


async def sweep(directory: Path, step: int) -> None:
    config = load(directory / "postroad.toml")
    parts = build(config, EventHub(Journal("json", "error", hostname="x")), lambda error: None)
    base, door = parts.base, parts.entrances.maildrop
    async with asyncio.TaskGroup() as ground:
        ground.create_task(base.spool.run())
        ground.create_task(base.queue.run())
        base.spool.adopt(await base.queue.live())
        door.prepare()
        die_before(step)
        while await door.sweep():
            pass
        base.queue.close()
        base.spool.close()


def lives(work: Callable[[], object]) -> bool:
    """Whether a process of its own comes to the end of it; dying by anything but the kill is an error."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    assert status == 0, status
    return True


def main(what: str, directory: Path) -> None:
    told = []
    step, alive = 0, False
    while not alive and step < MOST_STEPS:
        step += 1
        sender = f"a{step}@example.com"
        dropping = partial(drop_one, directory, sender)
        if what == "drop":
            alive = lives(partial(dropping, step))
        else:
            assert lives(partial(dropping, 0))
            alive = lives(lambda: asyncio.run(sweep(directory, step)))  # noqa: B023 (called at once)
        if alive or what == "sweep":
            told.append(sender)
    assert lives(lambda: asyncio.run(sweep(directory, 0)))
    print(step, *told)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
