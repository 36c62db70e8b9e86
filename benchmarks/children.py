"""Processes of our own: started, waited for, ended by their process id."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

# Below the range of ephemeral ports: no outgoing connection takes the number meanwhile.
PORTS = range(20_000, 32_000)


class Failed(Exception):
    """A part of the benchmark did not do what the measurement needs; the text says which and why."""


def free_port() -> int:
    """A port on 127.0.0.1 that nobody has bound right now."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Failed("no free port between 20000 and 32000 on 127.0.0.1")


def until(true: Callable[[], bool], timeout: float, what: str, interval: float = 0.005) -> None:
    """Return once `true()`; Failed after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {timeout:g} s")
        time.sleep(interval)


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def spawn(
    command: list[str], output: Path, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process whose output and errors go to a file; a Ctrl-C on our terminal is ours to handle."""
    with output.open("ab") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], timeout: float = 15.0) -> None:
    """SIGTERM, then SIGKILL for one that does not care."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tail(path: Path, octets: int = 1500) -> str:
    """The end of a file, for an error message."""
    try:
        return path.read_bytes()[-octets:].decode("utf-8", "replace")
    except OSError:
        return ""
