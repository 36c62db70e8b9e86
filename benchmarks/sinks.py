"""Where the mail goes: a process that counts what it took, so that a run knows when it is over.

The count is read from a file at our own pace: no message wakes the harness up, and
nothing that the harness does can hold the sink back.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from children import Failed, end, free_port, listens, spawn, tail, until
from receiver import addresses

COUNTERS = re.compile(rb"mesg=(\d+)\r")


class Sink(Protocol):
    port: int

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def count(self) -> int:
        """Recipients of the messages whose dot it has answered with 250, since its start."""
        ...

    def failure(self) -> str:
        """Why it ended by itself; "" while it runs."""
        ...


class SmtpSink:
    """Postfix's smtp-sink: answers at once, keeps nothing, writes its counters at each message's dot.

    It counts transactions, so that every message here must have one recipient.
    With `dump` every message is kept in that directory as well: to look at, not to measure.
    """

    def __init__(self, directory: Path, port: int = 0, dump: Path | None = None) -> None:
        self.port = port or free_port()
        self._counters = directory / f"sink-{self.port}.counters"
        self._dump = dump
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._counters.write_bytes(b"")
        dump = ["-d", f"{self._dump}/%M."] if self._dump else ["-c"]
        command = ["/usr/sbin/smtp-sink", "-4", "-u", "nobody", *dump, f"127.0.0.1:{self.port}", "1024"]
        process = self._process = spawn(command, self._counters)
        until(lambda: listens(self.port) or process.poll() is not None, 10, "smtp-sink listens")
        if process.poll() is not None:
            raise Failed(f"smtp-sink: {tail(self._counters)}")

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)

    def count(self) -> int:
        with self._counters.open("rb") as file:
            file.seek(max(0, self._counters.stat().st_size - 200))
            found = COUNTERS.findall(file.read())
        return int(found[-1]) if found else 0

    def failure(self) -> str:
        return ended(self._process, self._counters)


def ended(process: subprocess.Popen[bytes] | None, output: Path) -> str:
    """What there is to say about a process that should run and does not."""
    if process is None or process.poll() is None:
        return ""
    return f"the sink ended with {process.returncode}: {tail(output, 300)}"


class OwnSink:
    """receiver.py in a process of its own; `delay` seconds before each reply, `addresses` hosts."""

    def __init__(
        self,
        directory: Path,
        *,
        tls: Path | None = None,
        delay: float = 0.0,
        addresses: int = 0,
        times: Path | None = None,
    ) -> None:
        self._times = times
        self.port = free_port()
        self.addresses = addresses
        self._counter = directory / f"receiver-{self.port}.count"
        self._output = directory / f"receiver-{self.port}.log"
        self._options = ["--delay", str(delay), "--addresses", str(addresses)]
        if tls:
            self._options += ["--tls", str(tls)]
        if times:
            self._options += ["--times", str(times)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._counter.write_bytes(bytes(8))
        command = [
            sys.executable,
            str(Path(__file__).with_name("receiver.py")),
            *("--port", str(self.port), "--counter", str(self._counter), *self._options),
        ]
        process = self._process = spawn(command, self._output)
        host = addresses(self.addresses)[-1] if self.addresses else "127.0.0.1"
        until(
            lambda: listens(self.port, host) or process.poll() is not None, 20, "the receiver listens", 0.05
        )
        if failure := self.failure():
            raise Failed(failure)

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)

    def count(self) -> int:
        return int.from_bytes(self._counter.read_bytes(), "little")

    def failure(self) -> str:
        return ended(self._process, self._output)

    def seen(self) -> dict[int, float]:
        """End it; when the first MAIL of each numbered message came (`times`)."""
        self.stop()
        if self._times is None:
            return {}
        lines = [line.split() for line in self._times.read_text().splitlines()]
        return {int(number): float(at) for number, at in reversed(lines)}
