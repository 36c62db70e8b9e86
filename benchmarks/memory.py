"""What large messages cost: memory, and everybody else's patience; and what an idle daemon costs.

    python benchmarks/memory.py [--messages 20] [--size 26214400] [--idle 20] [--json FILE]

All large messages are submitted at once (smtp-source, a connection each) and relayed to
one smtp-sink, while small ones come one after the other; memory is looked at fifty times
a second until the sink has everything.
"""

from __future__ import annotations

import argparse
import contextlib
import smtplib
import sys
import tempfile
import time
from pathlib import Path

from cases import CASES
from children import Failed, end, spawn, tail, until
from duels import running, turn
from figures import Figure, report
from loads import RECIPIENT, SENDER, smtp_source
from postroads import Postroad
from rivals import Wishes
from sinks import SmtpSink
from usage import MIB, Peak, cpu_seconds, rss, wakeups

TIMEOUT = 180.0
# Longer than the daemon keeps idle connections.
SETTLED = 8.0
SMALL = "From: <load@sender.example>\r\nSubject: small\r\n\r\nHello.\r\n"


def idle(postroad: Postroad, seconds: float) -> list[Figure]:
    """Of a daemon that has worked, and has nothing to do now."""
    time.sleep(SETTLED)
    pids = postroad.pids()
    spent, woken = cpu_seconds(pids), wakeups(pids[0])
    time.sleep(seconds)
    return [
        Figure("idle: RSS", rss(pids) / MIB, "MiB", 90),
        Figure("idle: CPU", (cpu_seconds(pids) - spent) / seconds * 100, "%", 1),
        Figure("idle: wake-ups", (wakeups(pids[0]) - woken) / seconds, "a second", 1),
    ]


def small(port: int) -> tuple[float, float]:
    """Seconds from MAIL to 250, and from connecting to 250."""
    start = time.perf_counter()
    with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=TIMEOUT) as client:
        client.ehlo()
        mail = time.perf_counter()
        client.sendmail(SENDER, [RECIPIENT], SMALL)
        now = time.perf_counter()
    return now - mail, now - start


def large(postroad: Postroad, sink: SmtpSink, options: argparse.Namespace, directory: Path) -> list[Figure]:
    before, resident = sink.count(), rss(postroad.pids())
    output = directory / "large.log"
    command = smtp_source(size=options.size, sessions=options.messages)(postroad.port, options.messages)
    waits: list[tuple[float, float]] = []
    deadline = time.monotonic() + TIMEOUT
    with Peak(postroad.pids, interval=0.02) as peak:
        start = time.perf_counter()
        load = spawn(command, output)
        try:
            while sink.count() - before < options.messages + len(waits):
                if load.poll() or time.monotonic() > deadline:
                    raise Failed(f"large messages: {tail(output)}\n{postroad.last_words()}")
                if len(waits) < 1000:
                    waits.append(small(postroad.port))
                time.sleep(0.05)
                if load.poll() == 0:
                    break
            until(lambda: sink.count() - before == options.messages + len(waits), TIMEOUT, "all arrive")
            took = time.perf_counter() - start
        finally:
            end(load)
    size = options.size / MIB
    return [
        Figure(f"{options.messages} messages of {size:.0f} MiB, through", took, "s"),
        Figure("meanwhile: RSS grows by", (peak.rss - resident) / MIB, "MiB", 100),
        Figure("meanwhile: small messages", len(waits), "messages"),
        Figure("meanwhile: a small one, MAIL to 250, longest", max(w[0] for w in waits) * 1000, "ms", 200),
        Figure("meanwhile: the same from connecting, longest", max(w[1] for w in waits) * 1000, "ms"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--messages", type=int, default=20)
    parser.add_argument("--size", type=int, default=25 * MIB)
    parser.add_argument("--idle", type=float, default=20.0, help="seconds to look at the idle daemon")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postroad-memory-")))
        directory.chmod(0o755)
        sink = SmtpSink(directory)
        stack.enter_context(running(sink))
        postroad = Postroad(Wishes(sink.port))
        stack.enter_context(running(postroad))
        turn(postroad, CASES[0], sink, 1000, directory)
        found = [*idle(postroad, options.idle), *large(postroad, sink, options, directory)]
    return report(found, options.json)


if __name__ == "__main__":
    sys.exit(main())
