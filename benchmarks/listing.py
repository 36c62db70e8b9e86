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
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import uvloop

from backlog import backlog, fill
from children import free_port
from duels import running
from figures import Figure, report
from postroads import Postroad
from rivals import Wishes

FORMATS = ("table", "json", "mailq", "postqueue-json")


PULSE = """
import signal, sys, time
from postroad.adapters import local_client
longest, ended = 0.0, []
signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
while not ended:
    start = time.perf_counter()
    local_client.ping(sys.argv[1])
    longest = max(longest, time.perf_counter() - start)
    time.sleep(0.002)
print(longest)
"""


@contextlib.contextmanager
def beating(socket: Path, longest: list[float]) -> Iterator[None]:
    """A process of its own asks for a sign of life until the block ends; adds the longest wait."""
    process = subprocess.Popen([sys.executable, "-c", PULSE, str(socket)], stdout=subprocess.PIPE)
    try:
        time.sleep(0.5)
        yield
    finally:
        process.terminate()
        out, _ = process.communicate()
    longest.append(float(out))


def first_line(command: list[str]) -> tuple[float, float, int]:
    """Seconds to the first line and to the end, and how many lines there were."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        began = time.perf_counter() - start
        lines = 1
        while piece := process.stdout.read1(1 << 20):  # type: ignore[attr-defined]
            lines += piece.count(b"\n")
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
            waits: list[float] = []
            with beating(socket, waits):
                # As long as the listings of a format take, or the comparison says nothing.
                time.sleep(15)
            found.append(Figure("longest wait for a sign of life, no listing", waits[-1] * 1000, "ms"))
            for name in FORMATS:
                words = ["queue", "list", "--format", name]
                command = [sys.executable, "-m", "postroad", "--config", str(postroad.config), *words]
                with beating(socket, waits):
                    runs = [first_line(command) for _ in range(options.rounds)]
                if any(lines < options.recipients // options.per_message for _, _, lines in runs):
                    raise SystemExit(f"{name} lists {runs} lines")
                found += [
                    Figure(f"{name}: first line", median(run[0] for run in runs), "s", 0.3),
                    Figure(f"{name}: all of it", median(run[1] for run in runs), "s"),
                    Figure(f"{name}: longest wait for a sign of life", waits[-1] * 1000, "ms", 50),
                ]
    return report(found, options.json)


if __name__ == "__main__":
    sys.exit(main())
