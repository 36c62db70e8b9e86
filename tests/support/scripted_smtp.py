"""A real SMTP server on loopback whose every connection follows a script.

    async def one_message(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.play('''
            C: MAIL FROM:<a@example.com>
            C: RCPT TO:<b@example.org>
            C: DATA
            S: 250 2.1.0 Ok
            S: 250 2.1.5 Ok
            S: 354 Go on
            C: .
            S: 250 2.0.0 Queued
        ''')

    async with ScriptedSmtp(one_message) as server: ... connect to server.port

A connection takes the next script; the last one serves all that follow. A script
that meets something else than it expects fails the test when the server ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from types import TracebackType
from typing import cast

import trustme

from postroad.demo.process import HANGS_AFTER

Script = Callable[["Peer"], Awaitable[None]]

ALL_OFFERED = ("PIPELINING", "SIZE 10485760", "8BITMIME", "SMTPUTF8", "DSN")


@dataclass
class Mail:
    """One message that was given a 2xx to its final dot."""

    sender: str
    recipients: list[str]
    content: bytes


class Peer:
    """The server's side of one connection. `said` is every line of the client, content apart."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.said: list[str] = []
        self.lost = False

    async def hear(self) -> str:
        """The client's next line; "" when it has closed."""
        line = (await self._reader.readline()).decode("utf-8", "backslashreplace").rstrip("\r\n")
        self.said.append(line)
        return line

    async def expect(self, start: str) -> str:
        line = await self.hear()
        assert line.upper().startswith(start.upper()), f"expected {start!r}, heard {line!r}"
        return line

    async def closed(self) -> bytes:
        """Whatever still comes until the client closes."""
        with contextlib.suppress(ConnectionError):
            return await self._reader.read()
        return b""

    async def content(self) -> bytes:
        """The message up to its final dot, transparency undone."""
        lines = []
        while (line := await self._reader.readline()) != b".\r\n":
            assert line.endswith(b"\r\n"), f"content ended in {line!r}"
            lines.append(line.removeprefix(b".") if line.startswith(b".") else line)
        return b"".join(lines)

    async def chunk(self) -> bytes:
        """The octets of a message that comes as one BDAT (RFC 3030)."""
        verb, size, last = (await self.hear()).split(" ")
        assert (verb, last) == ("BDAT", "LAST")
        return await self._reader.readexactly(int(size))

    def say(self, *lines: str) -> None:
        """All in one packet, CRLF after each."""
        self.raw("".join(line + "\r\n" for line in lines).encode())

    def raw(self, octets: bytes) -> None:
        self._writer.write(octets)

    async def some(self) -> bytes:
        """Whatever comes next, at least an octet of it."""
        return await self._reader.read(65536)

    @property
    def address(self) -> str:
        """Where the client connected from."""
        return str(self._writer.get_extra_info("peername")[0])

    async def flush(self) -> None:
        await self._writer.drain()

    @property
    def gone(self) -> bool:
        """Whether the client's side is known to have closed."""
        return self._reader.at_eof() or self._writer.is_closing()

    def stop_reading(self) -> None:
        """Leave what the client sends in the socket until its buffers are full."""
        cast(asyncio.Transport, self._writer.transport).pause_reading()

    def hang_up(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """A TCP reset in place of a close."""
        self._writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def greet(self, *offered: str) -> None:
        """Greeting and EHLO."""
        self.say("220 mx.example.org ESMTP")
        await self.hello(*offered)

    async def hello(self, *offered: str) -> None:
        await self.expect("EHLO ")
        lines = ["mx.example.org", *offered]
        self.say(*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}")

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """After the 220 was said."""
        try:
            await self._writer.start_tls(context)
        except OSError:
            # The streams of Python 3.11 never learn that this connection has closed.
            self.lost = True
            raise

    async def play(self, dialogue: str) -> None:
        """Lines "C: start of what must be heard" and "S: what is said"; "C: ." reads a whole content.

        Lines said in a row leave in one packet.
        """
        lines = [line.strip() for line in dialogue.strip().splitlines()]
        said: list[str] = []
        for line in [*lines, ""]:
            if line.startswith("S: "):
                said.append(line[3:])
                continue
            if said:
                self.say(*said)
                said.clear()
            if line == "C: .":
                await self.content()
            elif line:
                await self.expect(line.removeprefix("C: "))

    async def take_mail(self, replies: dict[str, str] | None = None) -> Mail | None:
        """Serve commands until a message was accepted or the client has gone (None).

        `replies` gives other answers than 2xx and 354: by the start of a command, or
        "." for the final dot.
        """
        mail = Mail("", [], b"")
        while (line := await self.hear()) and line.upper() != "QUIT":
            verb = line[:4].upper()
            reply = next((text for start, text in (replies or {}).items() if line.startswith(start)), None)
            reply = reply or ("354 Go on" if verb == "DATA" else "250 2.0.0 Ok")
            self.say(reply)
            if verb in ("MAIL", "RSET"):
                mail = Mail(line[10:], [], b"")
            elif verb == "RCPT" and reply[0] == "2":
                mail.recipients.append(line[8:])
            elif verb == "DATA" and reply[0] == "3":
                mail.content = await self.content()
                last = (replies or {}).get(".", "250 2.0.0 Queued")
                self.say(last)
                if last[0] == "2" and mail.recipients:
                    return mail
        return None


def accepting(*offered: str, replies: dict[str, str] | None = None, into: list[Mail] | None = None) -> Script:
    """A host that takes every message until QUIT, but for what `replies` says."""

    async def script(peer: Peer) -> None:
        await peer.greet(*offered)
        while (mail := await peer.take_mail(replies)) is not None:
            if into is not None:
                into.append(mail)

    return script


class ScriptedSmtp:
    """The server; `port` is its port on 127.0.0.1, `peers` the connections so far, oldest first."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self.peers: list[Peer] = []
        self.port = 0

    async def __aenter__(self) -> ScriptedSmtp:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1024 * 1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        if self._tasks:
            # The client's side is closed by now: scripts end by themselves, or hang.
            await asyncio.wait(self._tasks, timeout=HANGS_AFTER if kind is None else 1)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if kind is None and self._failures:
            raise self._failures[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        script = self._scripts[min(len(self.peers), len(self._scripts)) - 1]
        try:
            await script(peer)
            await writer.drain()
        except (ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass
        except BaseException as error:
            self._failures.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()
            if not peer.lost:
                with contextlib.suppress(OSError):
                    await writer.wait_closed()


@dataclass
class Authority:
    """A certificate authority of the test's own, and a server context for a name."""

    ca: trustme.CA = field(default_factory=trustme.CA)

    def server(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        return context
