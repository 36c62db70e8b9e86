"""How long a message waits at half load: to be accepted, and to be tried the first time.

    python benchmarks/latency.py [--rate N] [--seconds 15] [--json FILE]

Half load is half of the rate that a first measurement finds, or `--rate`. Accept
lasts from the client's MAIL to the 250 after its dot, with three round trips and the
client's own scheduling in it; the first attempt begins when the receiver has read MAIL.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from statistics import median

from cases import CASES
from children import Failed, end, spawn, tail, until
from duels import running, turn
from figures import Figure, quantile, report
from loads import own_at
from postroads import Postroad
from rivals import Wishes
from sinks import OwnSink

SHARES = ((0.5, "p50"), (0.99, "p99"), (0.999, "p999"))
# Milliseconds.
ACCEPT, ATTEMPT = 20.0, 100.0
KEPT = CASES[0]


def spread(what: str, seconds: list[float], limit: float) -> list[Figure]:
    values = sorted(seconds)
    return [
        Figure(f"{what}, {name}", quantile(values, share) * 1000, "ms", limit if name == "p99" else None)
        for share, name in SHARES
    ]


def measure(rate: float, seconds: float, postroad: Postroad, sink: OwnSink, directory: Path) -> list[Figure]:
    messages = max(100, int(rate * seconds))
    submitted = directory / "submitted"
    output = directory / "latency.log"
    before = sink.count()
    load = spawn(own_at(rate, submitted)(postroad.port, messages), output)
    try:
        if load.wait(seconds + 60):
            raise Failed(f"the load: {tail(output)}\n{postroad.last_words()}")
    finally:
        end(load)
    times = [tuple(map(float, line.split())) for line in submitted.read_text().splitlines()]
    until(lambda: sink.count() >= before + messages, 30, "the receiver has all")
    tried = sink.seen()
    if len(tried) != messages:
        raise Failed(f"{messages} messages submitted, {len(tried)} tried")
    # Below zero: the receiver had it before the client had read its 250.
    attempts = [max(0.0, tried[number] - done) for number, (_, done) in enumerate(times)]
    return [
        Figure("load", rate, "messages/s"),
        *spread("accept", [done - begun for begun, done in times], ACCEPT),
        *spread("accept to first attempt", attempts, ATTEMPT),
    ]


def through_rate(directory: Path) -> float:
    """Messages a second with the same receiver that the latency is measured with."""
    sink = OwnSink(directory)
    with running(sink):
        postroad = Postroad(Wishes(sink.port))
        with running(postroad):
            runs = [turn(postroad, KEPT, sink, KEPT.messages, directory) for _ in range(4)]
    # The first is the warm-up.
    return median(run.rate for run in runs[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rate", type=float, help="messages a second; default: half of what is measured")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postroad-latency-")))
        rate = options.rate or through_rate(directory) / 2
        sink = OwnSink(directory, times=directory / "seen")
        stack.enter_context(running(sink))
        postroad = Postroad(Wishes(sink.port))
        stack.enter_context(running(postroad))
        turn(postroad, KEPT, sink, 500, directory)
        found = measure(rate, options.seconds, postroad, sink, directory)
    return report(found, options.json)


if __name__ == "__main__":
    sys.exit(main())
