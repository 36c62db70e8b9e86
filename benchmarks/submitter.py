"""A load of our own, where smtp-source cannot serve: with STARTTLS and AUTH, or to many domains.

    python benchmarks/submitter.py --port N --messages N [--sessions 20] [--size 4096]
                                   [--tls CERTIFICATE] [--domains N] [--rate N [--times FILE]]

Kept connections, one command at a time, no pipelining: what smtp-source does. With a
rate it sends so many messages a second, evenly, each as soon as its moment comes and a
connection is free; the times (MAIL sent, 250 received, seconds of time.time()) go to
FILE, a line each, in the order of the numbers in the sender addresses.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import ssl
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import cast

import uvloop

from rivals import LOGIN

# What a dialogue yields: octets to send, or one of these.
TLS = b"(the TLS handshake)"
NEXT = b"(the next message's number)"
Dialogue = Generator[bytes, bytes, None]
# A message that waits longer than this for its reply has found a broken server.
PATIENCE = 60.0


def content(size: int, number: int) -> bytes:
    """A message of about `size` octets of body, as smtp-source writes them."""
    line = b"X" * 78 + b"\r\n"
    head = (
        b"From: <load@sender.example>\r\nTo: <somebody@receiver.example>\r\n"
        b"Date: Mon, 23 Nov 2026 09:00:00 +0000\r\n"
        b"Message-Id: <%d@client.example>\r\nSubject: load\r\n\r\n" % number
    )
    return head + line * (size // len(line)) + b".\r\n"


class Refused(Exception):
    """The server said something else than expected; the text is its reply."""


def expect(reply: bytes, code: bytes) -> None:
    if not reply.startswith(code):
        raise Refused(reply.decode("latin-1"))


class Load:
    """What all sessions share: the numbers still to send, and what came of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.numbers: Iterator[int] = iter(range(options.messages))
        self.begun = [0.0] * options.messages
        self.done = [0.0] * options.messages
        self.left = options.messages
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.start = 0.0

    def recipient(self, number: int) -> bytes:
        domain = f"d{number % self.options.domains}.example" if self.options.domains else "receiver.example"
        return f"somebody@{domain}".encode()

    def finished(self, number: int) -> None:
        self.done[number] = time.time()
        self.left -= 1
        if not self.left and not self.over.done():
            self.over.set_result(None)

    def fail(self, error: BaseException) -> None:
        if not self.over.done():
            self.over.set_exception(error)


def dialogue(load: Load) -> Dialogue:
    """One session, as commands out and whole replies in."""
    expect((yield b""), b"220")
    expect((yield b"EHLO client.example\r\n"), b"250")
    if load.options.tls:
        expect((yield b"STARTTLS\r\n"), b"220")
        yield TLS
        expect((yield b"EHLO client.example\r\n"), b"250")
        token = base64.b64encode("\0".join(["", *LOGIN]).encode())
        expect((yield b"AUTH PLAIN " + token + b"\r\n"), b"235")
    for number in load.numbers:
        if load.options.rate:
            yield NEXT + str(number).encode()
        load.begun[number] = time.time()
        expect((yield b"MAIL FROM:<load+%d@sender.example>\r\n" % number), b"250")
        expect((yield b"RCPT TO:<" + load.recipient(number) + b">\r\n"), b"250")
        expect((yield b"DATA\r\n"), b"354")
        expect((yield content(load.options.size, number)), b"250")
        load.finished(number)
    expect((yield b"QUIT\r\n"), b"221")


class Session(asyncio.Protocol):
    def __init__(self, load: Load, context: ssl.SSLContext | None) -> None:
        self._load = load
        self._context = context
        self._dialogue = dialogue(load)
        self._reply = b""
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        next(self._dialogue)

    def data_received(self, data: bytes) -> None:
        self._reply += data
        # A whole reply ends with a line of its code and a space.
        if self._reply.endswith(b"\r\n") and self._reply[self._reply.rfind(b"\n", 0, -1) + 4 :][:1] == b" ":
            reply, self._reply = self._reply, b""
            self._step(reply)

    def _step(self, reply: bytes) -> None:
        try:
            said = self._dialogue.send(reply)
        except StopIteration:
            self._over = True
            self._transport.close()
        except Refused as error:
            self._load.fail(error)
        else:
            self._do(said)

    def _do(self, said: bytes) -> None:
        if said.startswith(NEXT):
            number = int(said[len(NEXT) :])
            wait = self._load.start + number / self._load.options.rate - self._loop.time()
            self._loop.call_later(max(0.0, wait), self._step, b"")
        elif said == TLS:
            self._handshake = self._loop.create_task(self._wrap())
        else:
            self._transport.write(said)

    async def _wrap(self) -> None:
        assert self._context is not None
        try:
            transport = await self._loop.start_tls(
                self._transport, self, self._context, server_hostname="localhost"
            )
        except (OSError, ssl.SSLError) as error:
            self._load.fail(error)
            return
        self._transport = cast(asyncio.Transport, transport)
        self._step(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._over:
            self._load.fail(exc or ConnectionError("the server hung up"))


async def submit(options: argparse.Namespace) -> None:
    load = Load(options)
    context = ssl.create_default_context(cafile=options.tls) if options.tls else None
    loop = asyncio.get_running_loop()
    load.start = loop.time() + (0.5 if options.rate else 0.0)
    for _ in range(min(options.sessions, options.messages)):
        await loop.create_connection(lambda: Session(load, context), "127.0.0.1", options.port)
    async with asyncio.timeout(PATIENCE + (options.messages / options.rate if options.rate else 0)):
        await load.over
    if options.times:
        lines = (f"{begun} {done}\n" for begun, done in zip(load.begun, load.done, strict=True))
        options.times.write_text("".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--tls", type=Path, help="the certificate to trust")
    parser.add_argument("--domains", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--times", type=Path)
    uvloop.run(submit(parser.parse_args()))


if __name__ == "__main__":
    main()
