"""Where the mail goes: a process that counts what it took, so that a run knows when it is over.

The count is read from a file at our own pace: no message wakes the harness up, and
nothing that the harness does can hold the sink back.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Protocol

from children import Failed, end, free_port, listens, spawn, tail, until

COUNTERS = re.compile(rb"mesg=(\d+)\r")


class Sink(Protocol):
    port: int

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def count(self) -> int:
        """Messages it has answered 250 to the dot, since its start."""
        ...


class SmtpSink:
    """Postfix's smtp-sink: answers at once, keeps nothing; -c writes its counters at each message's dot.

    With `dump` every message is appended to that file as well: to look at, not to measure.
    """

    def __init__(self, directory: Path, port: int = 0, dump: Path | None = None) -> None:
        self.port = port or free_port()
        self._counters = directory / f"sink-{self.port}.counters"
        self._dump = dump
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._counters.write_bytes(b"")
        dump = ["-D", str(self._dump)] if self._dump else ["-c"]
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
