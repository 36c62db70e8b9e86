"""One case at a time: both rivals, one sink, and runs in turn, each measured from outside."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from children import Failed, end, spawn, tail, until
from loads import Load
from postfixes import Postfix
from postroads import Postroad
from rivals import Rival, Wishes
from sinks import Sink, SmtpSink
from usage import MIB, Peak, cpu_seconds

# For one run; the slowest takes a tenth of it.
TIMEOUT = 90.0


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent how; `goal` is the ratio Postroad : Postfix that must be reached."""

    name: str
    title: str
    goal: float
    messages: int
    load: Load
    recipients: int = 1
    sink: Callable[[Path], Sink] = SmtpSink
    wishes: Callable[[Sink, Path], Wishes] = lambda sink, directory: Wishes(sink.port)
    # What every message must carry when it arrives.
    proof: bytes = b""


@dataclass(frozen=True, slots=True)
class Run:
    """One turn of one rival: units (messages, or recipients) a second, CPU seconds a message, octets."""

    rate: float
    cpu: float
    rss: int
    pss: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """All turns of a case, in order, the warm-up left out."""

    case: str
    goal: float
    postfix: tuple[Run, ...]
    postroad: tuple[Run, ...]

    @property
    def ratios(self) -> list[float]:
        """Postroad's rate : Postfix's, pair by pair, in order of size."""
        return sorted(b.rate / a.rate for a, b in zip(self.postfix, self.postroad, strict=True))

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    def as_json(self) -> dict[str, object]:
        return {
            "case": self.case,
            "goal": self.goal,
            "ratio": self.ratio,
            "ratios": self.ratios,
            "postfix": [asdict(run) for run in self.postfix],
            "postroad": [asdict(run) for run in self.postroad],
        }


@contextlib.contextmanager
def running(part: Sink | Rival) -> Iterator[None]:
    try:
        part.start()
        yield
    finally:
        part.stop()


def duel(
    case: Case, pairs: int, messages: int, told: Callable[[str, Run], None], extra: tuple[str, ...] = ()
) -> Verdict:
    """Warm up both, then A B A B; `told` hears of each run. `extra`: further lines of Postfix's main.cf."""
    runs: dict[str, list[Run]] = {Postfix.name: [], Postroad.name: []}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postroad-duel-")))
        directory.chmod(0o755)
        sink = case.sink(directory)
        wishes = case.wishes(sink, directory)
        rivals: list[Rival] = [Postfix(wishes, extra), Postroad(wishes)]
        for rival in rivals:
            stack.enter_context(running(rival))
        for rival in rivals if case.proof else ():
            prove(rival, case, sink, directory)
        stack.enter_context(running(sink))
        for rival in rivals:
            turn(rival, case, sink, max(100, messages // 4), directory)
        for _ in range(pairs):
            for rival in rivals:
                run = turn(rival, case, sink, messages, directory)
                runs[rival.name].append(run)
                told(rival.name, run)
    return Verdict(case.name, case.goal, tuple(runs[Postfix.name]), tuple(runs[Postroad.name]))


def prove(rival: Rival, case: Case, sink: Sink, directory: Path) -> None:
    """A few messages to a sink that keeps them: each carries what the case is about, or Failed."""
    kept = directory / f"kept-{rival.name}"
    kept.mkdir()
    kept.chmod(0o777)

    def proved() -> bool:
        return sum(case.proof in file.read_bytes() for file in kept.iterdir()) == 5

    with running(SmtpSink(directory, sink.port, kept)):
        load = spawn(case.load(rival.port, 5), directory / "load.log")
        try:
            until(proved, 20, f"{rival.name}: {case.proof!r} in each message", 0.05)
        finally:
            end(load)
        until(lambda: rival.waiting() == 0, 20, f"{rival.name} empties its queue", 0.05)


def turn(rival: Rival, case: Case, sink: Sink, messages: int, directory: Path, waiting: int = 0) -> Run:
    """One run: over when the sink has every message; measured until the queue is as before again.

    The time counts from the start of the load to the sink's last 250; the processor
    time also what the rival does after it. `waiting`: messages that are not due.
    Raises Failed when a message is missing or comes twice.
    """

    def calm() -> bool:
        return rival.waiting() == waiting

    until(calm, TIMEOUT, f"{rival.name} has an empty queue", 0.05)
    before, spent = sink.count(), cpu_seconds(rival.pids())
    output = directory / "load.log"
    with Peak(rival.pids) as peak:
        start = time.perf_counter()
        load = spawn(case.load(rival.port, messages), output)
        try:
            _arrived(load, output, sink, before + messages * case.recipients, rival)
            took = time.perf_counter() - start
            load.wait(TIMEOUT)
            until(calm, TIMEOUT, f"{rival.name} empties its queue", 0.05)
        finally:
            end(load)
        peak.look()
    spent = cpu_seconds(rival.pids()) - spent
    arrived, sent = sink.count() - before, messages * case.recipients
    if arrived != sent:
        raise Failed(f"{rival.name}: {sent} recipients submitted, {arrived} arrived")
    return Run(messages * case.recipients / took, spent / messages, peak.rss, peak.pss)


def _arrived(load: subprocess.Popen[bytes], output: Path, sink: Sink, count: int, rival: Rival) -> None:
    def over() -> bool:
        if load.poll():
            raise Failed(f"the load ended with {load.returncode}: {tail(output)}")
        if failure := sink.failure():
            raise Failed(failure)
        return sink.count() >= count

    try:
        until(over, TIMEOUT, "the sink has everything")
    except Failed as failed:
        missing = f"the sink has {sink.count()} of {count}, {rival.waiting()} wait"
        raise Failed(f"{rival.name}: {failed}; {missing}\n{rival.last_words()}") from None


def row(case: Case, verdict: Verdict) -> str:
    """One line of the table that the README keeps."""
    ratios = verdict.ratios
    cells = [
        case.title,
        *(f"{median(run.rate for run in runs):.0f}" for runs in (verdict.postfix, verdict.postroad)),
        f"**{verdict.ratio:.2f}** ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        f"{case.goal:.1f}",
        *(f"{median(run.cpu for run in runs) * 1000:.2f}" for runs in (verdict.postfix, verdict.postroad)),
        *(
            f"{max(run.rss for run in runs) / MIB:.0f} / {max(run.pss for run in runs) / MIB:.0f}"
            for runs in (verdict.postfix, verdict.postroad)
        ),
    ]
    return "| " + " | ".join(cells) + " |"
