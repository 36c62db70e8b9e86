"""The first five minutes of the README, as a new user has them: to a delivered mail that verifies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import dkim
import pytest

from postroad.demo.process import HANGS_AFTER, free_port
from postroad.demo.world import Site, World

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = README.split("## The first five minutes\n")[1].split("\n## ")[0]
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```", SECTION, re.M | re.S) for line in block.splitlines()
]
TRIAL = [line for line in COMMANDS if "sudo" not in line]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a new user stands: a folder with .venv/bin/postroad."""
    bin = tmp_path / ".venv" / "bin"
    bin.mkdir(parents=True)
    (bin / "postroad").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m postroad "$@"\n')
    (bin / "postroad").chmod(0o755)
    (bin / "activate").write_text(f'PATH={shlex.quote(str(bin))}:"$PATH"\n')
    return tmp_path


def test_the_commands_of_the_readme_are_the_ones_that_are_tried() -> None:
    enter, make, serve, send = TRIAL
    assert enter == ". .venv/bin/activate"
    assert make == "postroad quickstart you@example.com --dir trial"
    assert serve.endswith(" serve")
    assert " send " in send
    assert [line.split()[-1] for line in COMMANDS if "sudo" in line] == [
        "/opt/postroad",
        ".",
        "--systemd",
        "you@example.com",
        "postroad",
    ]


async def test_the_first_five_minutes_end_with_a_delivered_mail_whose_signature_verifies(home: Path) -> None:
    enter, make, serve, send = TRIAL
    async with World([Site("example.com")]) as world:
        # What is not the README's: this machine is not to ask the world, and has other servers.
        out = await shell(home, f"{enter}; {make} --offline --port {free_port()}")
        record = re.search(r"^  (\S+)\. TXT (\( \"v=DKIM1.*\))$", out, re.M)
        assert record is not None
        (home / "trial/conf.d").mkdir()
        (home / "trial/conf.d/route.toml").write_text(
            f'[[route]]\nmatch = ["example.com"]\nrelay = "127.0.0.1:{world["example.com"].port}"\n'
        )
        daemon = await asyncio.create_subprocess_shell(
            f"{enter}; exec {serve}", cwd=home, stderr=asyncio.subprocess.PIPE, start_new_session=True
        )
        try:
            assert daemon.stderr is not None
            async with asyncio.timeout(HANGS_AFTER):
                while b"started" not in (line := await daemon.stderr.readline()):
                    assert line, "it ended early"
            told = await shell(home, f"{enter}; {send}")
            assert "you@example.com: delivered by " in told
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGTERM)
            await daemon.communicate()
        (arrival,) = world["example.com"].arrivals
        published = {record[1]: b"".join(re.findall(rb'"([^"]*)"', record[2].encode()))}
        assert dkim.verify(  # type: ignore[no-untyped-call]
            arrival.octets, dnsfunc=lambda name, timeout=5: published[name.decode().rstrip(".")]
        )


async def shell(home: Path, line: str) -> str:
    done = await asyncio.to_thread(
        lambda: subprocess.run(["sh", "-c", line], cwd=home, capture_output=True, text=True, check=False)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
