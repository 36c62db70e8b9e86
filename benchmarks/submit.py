"""What the submission door costs: messages a second and CPU a message, into an intake that keeps nothing.

    python benchmarks/submit.py [--messages N] [--connections N] [--size OCTETS] [--loop uvloop|asyncio]
                                [--lockstep] [--profile]

The door runs in this process, its clients in another, so that the CPU time told
is the door's alone. `--lockstep`: clients wait for every reply, as most libraries
do, in place of sending MAIL, RCPT and DATA together. `--profile` prints where the
time went (cProfile: the figures above it are then worth nothing).
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import multiprocessing
import pstats
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection

import uvloop

from postroad.adapters.smtpd import Doors
from postroad.adapters.smtpd_auth import Logins
from postroad.config.model import Listener, SubmissionConfig
from postroad.engine.rights import Rights
from postroad.mail.account import AccountPolicies
from postroad.mail.events import Event
from postroad.mail.message import Hold, Instant, Location, Message, StagedBody, Submission
from postroad.mail.mime import Octets
from postroad.mail.reply import Reply
from postroad.ports.spool import BodyFile, Record, Stored

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


class Nothing:
    """Intake, clock, events and spool of a world that keeps nothing."""

    def __init__(self) -> None:
        self.accepted = 0

    async def accept(self, submission: Submission) -> Reply:
        self.accepted += 1
        return Reply(250, (f"Queued as {self.accepted:012d}",), "2.0.0")

    def now(self) -> Instant:
        return time.time()

    def emit(self, event: Event) -> None:
        pass

    async def append(self, record: Record) -> Location:
        raise NotImplementedError

    async def read(self, location: Location, of: str | None = None) -> Stored:
        raise NotImplementedError

    def staged(self, body: StagedBody) -> AbstractContextManager[Octets]:
        raise NotImplementedError

    def discard(self, body: StagedBody) -> None:
        raise NotImplementedError

    def release(self, message: Message) -> None:
        raise NotImplementedError

    def done(self, message: Message, recipients: Collection[int]) -> None:
        raise NotImplementedError

    def hold(self, message: Message, holds: Mapping[int, Hold | None]) -> None:
        raise NotImplementedError

    def low(self) -> bool:
        return False

    def stage(self, id: str) -> BodyFile:
        raise SystemExit("larger than what is kept in memory: choose a smaller --size")


def message(size: int) -> bytes:
    line = b"The quick brown fox jumps over the lazy dog, and the dog sleeps on.\r\n"
    head = b"From: a@x.example\r\nTo: b@y.example\r\nSubject: benchmark\r\n\r\n"
    return head + line * (size // len(line)) + b".\r\n"


async def send(port: int, count: int, octets: bytes, lockstep: bool) -> None:
    """One kept connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    envelope = [b"MAIL FROM:<a@x.example>\r\n", b"RCPT TO:<b@y.example>\r\n", b"DATA\r\n"]
    writer.write(b"HELO c\r\n")
    await reader.readline()
    for _ in range(count):
        for command in envelope if lockstep else [b"".join(envelope)]:
            writer.write(command)
            for _ in range(command.count(b"\r\n")):
                await reader.readline()
        writer.write(octets)
        assert (await reader.readline()).startswith(b"250 ")
    writer.close()


def clients(pipe: Connection, options: argparse.Namespace) -> None:
    port: int = pipe.recv()

    async def all_of_them() -> None:
        share = options.messages // options.connections
        octets = message(options.size)
        await asyncio.gather(
            *(send(port, share, octets, options.lockstep) for _ in range(options.connections))
        )

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(all_of_them())
    pipe.send("done")


async def serve(pipe: Connection) -> tuple[int, float, float]:
    """Messages, seconds and CPU seconds of this process."""
    world = Nothing()
    doors = Doors(
        [Listener("127.0.0.1", 0, "off", "off")],
        SubmissionConfig(),
        hostname="mail.example.com",
        tls=lambda: None,
        intake=world,
        logins=Logins(),
        events=world,
        clock=world,
        spool=world,
        new_id=lambda now: "0" * 12,
        rights=Rights(AccountPolicies(), "example.com", world),
    )
    await doors.start()
    pipe.send(int(doors.addresses[0].rpartition(":")[2]))
    loop = asyncio.get_running_loop()
    finished = asyncio.Event()
    loop.add_reader(pipe.fileno(), finished.set)
    began, cpu = time.perf_counter(), time.process_time()
    await finished.wait()
    taken = world.accepted, time.perf_counter() - began, time.process_time() - cpu
    loop.remove_reader(pipe.fileno())
    doors.close()
    await doors.wait_closed()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--loop", choices=sorted(LOOPS), default="uvloop")
    parser.add_argument("--lockstep", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=clients, args=(theirs, options))
    child.start()
    profile = cProfile.Profile()
    with asyncio.Runner(loop_factory=LOOPS[options.loop]) as runner:
        if options.profile:
            profile.enable()
        count, seconds, cpu = runner.run(serve(ours))
        profile.disable()
    child.join()
    print(
        f"{options.loop}, {options.connections} connections, {options.size} octets, "
        f"{'lockstep' if options.lockstep else 'pipelined'}: "
        f"{count / seconds:,.0f} messages/s, {cpu / count * 1e6:.0f} us CPU a message"
    )
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
