"""What one call of `sendmail` takes, from the start of the process to its exit, beside Postfix's own.

    python benchmarks/sendmail.py [--calls N] [--size OCTETS]

Both have a daemon of their own that runs; a call ends when the message is synced. Postfix's
leaves a file for its daemon to find, ours hears from the daemon that the message is its own.
The third figure is ours with its daemon down, into the maildrop. The calls take turns, one
at a time. Needs root, as Postfix does.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from children import free_port
from postfixes import Postfix
from postroads import Postroad
from rivals import Wishes

LIMIT = 60.0


def timed(command: list[str], letter: bytes, environment: dict[str, str]) -> float:
    """Milliseconds of one call that succeeds."""
    began = time.perf_counter()
    subprocess.run(command, input=letter, env=environment, check=True)
    return (time.perf_counter() - began) * 1e3


def shown(name: str, times: list[float]) -> str:
    times.sort()
    return f"{name:24} {times[0]:7.1f} {statistics.median(times):7.1f} {times[int(len(times) * 0.99)]:7.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--size", type=int, default=4096)
    options = parser.parse_args()
    letter = b"From: a@sender.example\nSubject: benchmark\n\n" + (b"x" * 63 + b"\n") * (options.size // 64)
    words = ["-i", "-f", "a@sender.example", "b@site.example"]
    # Nobody listens there: what is accepted waits.
    wishes = Wishes(relay=free_port())
    postfix, postroad = Postfix(wishes), Postroad(wishes)
    program = str(Path(sys.executable).parent / "postroad-sendmail")
    ours = {**os.environ, "POSTROAD_CONFIG": str(postroad.config)}
    theirs = {**os.environ, "MAIL_CONFIG": str(postfix.top / "etc")}
    times: dict[str, list[float]] = {"Postfix": [], "Postroad": [], "Postroad, daemon down": []}
    try:
        postfix.start()
        postroad.start()
        for _ in range(options.calls):
            times["Postfix"].append(timed(["/usr/sbin/sendmail", *words], letter, theirs))
            times["Postroad"].append(timed([program, *words], letter, ours))
        postroad.halt()
        for _ in range(options.calls):
            times["Postroad, daemon down"].append(timed([program, *words], letter, ours))
    finally:
        postfix.stop()
        postroad.stop()
    print(f"{'milliseconds a call':24} {'least':>7} {'median':>7} {'p99':>7}")
    for name, found in times.items():
        print(shown(name, found))
    return 0 if statistics.median(times["Postroad"]) <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
