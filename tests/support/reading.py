"""Messages as other programs read them: Mutt on a terminal of its own, s-nail in batch mode."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import termios
from pathlib import Path

from postroad.demo.process import HANGS_AFTER
from tests.support.peers import run
from tests.support.requires import require


def mbox(octets: bytes, path: Path) -> Path:
    """One message as an mbox file."""
    text = octets.replace(b"\r\n", b"\n")
    text = re.sub(rb"(?m)^(>*From )", rb">\1", text)
    path.write_bytes(b"From MAILER-DAEMON Mon Nov 23 00:00:00 2026\n" + text + b"\n")
    return path


async def read_by_snail(octets: bytes, directory: Path) -> str:
    """What s-nail shows of a message's parts."""
    box = mbox(octets, directory / "for-s-nail")
    program = require("s-nail")
    return await run(program, "-n", "-#", "-R", "-S", "v15-compat", "-f", str(box), stdin=b"type 1\nquit\n")


async def read_by_mutt(octets: bytes, directory: Path) -> str:
    """What Mutt shows of a message: decoded and piped to a file."""
    box = mbox(octets, directory / "for-mutt")
    shown = directory / "shown-by-mutt"
    keys = f"<pipe-message>cat >{shown}<enter><exit>"
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 80))
    try:
        process = await asyncio.create_subprocess_exec(
            require("mutt"),
            *("-n", "-F", "/dev/null", "-R", "-f", str(box)),
            *("-e", f"set folder={directory} pipe_decode=yes wait_key=no quit=yes", "-e", f'push "{keys}"'),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "HOME": str(directory), "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        asyncio.get_running_loop().add_reader(ours, _swallow, ours)
        async with asyncio.timeout(HANGS_AFTER):
            await process.wait()
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
        os.close(theirs)
    return shown.read_text("utf-8", "replace")


def _swallow(terminal: int) -> None:
    """Read what a program paints, so that it does not wait for us."""
    os.read(terminal, 65536)
