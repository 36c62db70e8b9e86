"""What sending costs: CPU microseconds a message, and a connection, against a trivial sink.

    python benchmarks/send.py [--messages 5000] [--size 4096] [--recipients 1] [--asyncio]

The sink runs in a process of its own; what is printed is the time of this one.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import uvloop

from postroad.adapters.smtp import SmtpTransport
from postroad.adapters.sqlite_slate import Slate
from postroad.mail.address import Address
from postroad.mail.message import Envelope, EnvelopeRecipient
from postroad.mail.routing import Endpoint
from postroad.mail.tls import Requirement, TlsLevel
from postroad.ports.queue import Witness

PLAIN = Requirement(TlsLevel.NONE)
ID = "0F3K8M2Q4W1Z"


class Sink(asyncio.Protocol):
    """Answers every command group at once; sees content only as "until the final dot"."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.content = False
        self.buffer = b""
        self.transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data
        if self.content:
            if not data.endswith(b"\r\n.\r\n"):
                self.buffer = data[-4:]
                return
            self.content, self.buffer = False, b""
            self.transport.write(b"250 2.0.0 Ok: queued as 4Q2z3p0Q5zz9\r\n")
            return
        *lines, self.buffer = data.split(b"\r\n")
        self.transport.write(b"".join(map(self.answer, lines)))

    def answer(self, line: bytes) -> bytes:
        verb = line[:4]
        if verb == b"EHLO":
            return b"250-sink\r\n250-PIPELINING\r\n250-SIZE 0\r\n250 8BITMIME\r\n"
        if verb == b"DATA":
            self.content = True
            return b"354 End data with <CR><LF>.<CR><LF>\r\n"
        return b"221 2.0.0 Bye\r\n" if verb == b"QUIT" else b"250 2.1.0 Ok\r\n"


def sink(port: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


class Memory:
    """A stored message whose content is in memory."""

    def __init__(self, size: int) -> None:
        self.head = b"From: a@example.com\r\nTo: b@example.org\r\nSubject: benchmark\r\n\r\n"
        line = b"x" * 70 + b"\r\n"
        self.body: bytes | None = (line * (size // len(line) + 1))[
            : max(2, size - len(self.head) - 2)
        ] + b"\r\n"

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.body or b""


async def send(endpoint: Endpoint, options: argparse.Namespace, witness: Witness) -> int:
    """All messages over one connection."""
    stored = Memory(options.size)
    to = tuple(
        EnvelopeRecipient(Address(f"b{number}", "example.org")) for number in range(options.recipients)
    )
    envelope = Envelope(Address("a", "example.com"), to)
    async with SmtpTransport("client.example.com").connect(endpoint, PLAIN, None) as session:
        for _ in range(options.messages):
            witness.about(ID, range(options.recipients))
            result = await session.send(envelope, stored, options.size, False, witness)
            assert result.dot is not None, result
            assert result.dot.code == 250, result
    return int(options.messages)


async def connect(endpoint: Endpoint, options: argparse.Namespace, witness: Witness) -> int:
    """A connection for every message."""
    stored = Memory(options.size)
    envelope = Envelope(Address("a", "example.com"), (EnvelopeRecipient(Address("b", "example.org")),))
    transport = SmtpTransport("client.example.com")
    count = max(1, int(options.messages) // 5)
    for _ in range(count):
        async with transport.connect(endpoint, PLAIN, None) as session:
            witness.about(ID, (0,))
            await session.send(envelope, stored, options.size, False, witness)
    return count


Work = Callable[[Endpoint, argparse.Namespace, Witness], Coroutine[Any, Any, int]]


def measure(name: str, work: Work, endpoint: Endpoint, options: argparse.Namespace) -> None:
    run = asyncio.run if options.asyncio else uvloop.run
    with tempfile.TemporaryDirectory() as directory:
        witness = Slate(Path(directory) / "slate").witness()
        wall, cpu = time.perf_counter(), time.process_time()
        count = run(work(endpoint, options, witness))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:34} {cpu / count * 1e6:8.1f} us CPU  {count / wall:8.0f}/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--recipients", type=int, default=1)
    parser.add_argument("--asyncio", action="store_true", help="plain asyncio in place of uvloop")
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=sink, args=(theirs,), daemon=True)
    process.start()
    endpoint = Endpoint("localhost", "127.0.0.1", ours.recv())
    measure(f"message of {options.size} octets, reused", send, endpoint, options)
    measure("message with its own connection", connect, endpoint, options)
    process.terminate()
    process.join()


if __name__ == "__main__":
    main()
