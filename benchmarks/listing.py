"""`postroad queue list` of a long queue, beside a daemon at work: how soon it begins, and whom it disturbs.

    python benchmarks/listing.py [--recipients N] [--rounds N]

The queue is listed again and again in each format while a client of the local socket asks the
daemon for a sign of life, one question after the other: the longest wait for an answer is how long
the daemon stood still for others. The same is measured without a listing, for the machine's own share.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median

import uvloop

from backlog import backlog, fill
from children import free_port
from duels import running
from figures import Figure, report
from postroad.adapters import local_client
from postroads import Postroad
from rivals import Wishes

FORMATS = ("table", "json", "mailq", "postqueue-json")


@dataclass
class Pulse:
    """Asks for a sign of life until the block ends; `longest` in seconds."""

    socket: Path
    waits: list[float] = field(default_factory=list)

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        ended = threading.Event()

        def beat() -> None:
            while not ended.is_set():
                start = time.perf_counter()
                local_client.ping(self.socket)
                self.waits.append(time.perf_counter() - start)
                time.sleep(0.002)

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    @property
    def longest(self) -> float:
        return max(self.waits)


def first_line(command: list[str]) -> tuple[float, float, int]:
    """Seconds to the first line and to the end, and how many lines there were."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.perf_counter() - start
        lines = 1 + sum(1 for _ in process.stdout)
    return began, time.perf_counter() - start, lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipients", type=int, default=100_000)
    parser.add_argument("--domains", type=int, default=1000)
    parser.add_argument("--per-message", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="postroad-listing-") as directory:
        Path(directory).chmod(0o755)
        postroad = Postroad(Wishes(free_port()), match="receiver.example")
        uvloop.run(fill(postroad.directory / "state", islice(backlog(options), None)))
        with running(postroad):
            socket = postroad.directory / "state" / "postroad.sock"
            quiet = Pulse(socket)
            with quiet.beating():
                time.sleep(5)
            found.append(Figure("longest wait for a sign of life, no listing", quiet.longest * 1000, "ms"))
            for name in FORMATS:
                words = ["queue", "list", "--format", name]
                command = [sys.executable, "-m", "postroad", "--config", str(postroad.config), *words]
                pulse = Pulse(socket)
                with pulse.beating():
                    runs = [first_line(command) for _ in range(options.rounds)]
                if any(lines < options.recipients // options.per_message for _, _, lines in runs):
                    raise SystemExit(f"{name} lists {runs} lines")
                found += [
                    Figure(f"{name}: first line", median(run[0] for run in runs), "s", 0.3),
                    Figure(f"{name}: all of it", median(run[1] for run in runs), "s"),
                    Figure(f"{name}: longest wait for a sign of life", pulse.longest * 1000, "ms", 50),
                ]
    return report(found, options.json)


if __name__ == "__main__":
    sys.exit(main())
