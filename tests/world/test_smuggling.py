"""Whatever octets a client sends, what leaves has CRLF for line ends alone, and no command in it.

The real door, the real daemon, and a receiver that keeps every octet it is sent.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import product

import pytest

from postroad.demo.process import HANGS_AFTER
from tests.support.daemon import Daemon

# Every way in which up to three of CR, LF and NUL can stand together, CRLF itself included.
ENDS = ["".join(letters) for size in (1, 2, 3) for letters in product("\r\n\0", repeat=size)]
# Those that somebody has taken for a line end.
SEEN = ["\n", "\r", "\0", "\r\n", "\n\r", "\r\r\n", "\n\n", "\r\n\n", "\r\0\n", "\0\r\n", "\n\r\n"]
EVIL = "MAIL FROM:<evil@attacker.example>\r\nRCPT TO:<victim@harbour.example>\r\nDATA\r\nsmuggled\r\n"
HEAD = "From: <anna@home.example>\r\nTo: <bert@harbour.example>\r\nSubject: s\r\n"
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")


class Wire:
    """A receiver that answers every command with 250 and keeps all octets, connection by connection.

    `reply`: what it says to RCPT instead, as it is.
    """

    def __init__(self, reply: bytes = b"") -> None:
        self.heard: list[bytearray] = []
        self.messages: list[bytes] = []
        self._reply = reply

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = bytearray()
        self.heard.append(heard)
        writer.write(b"220 wire.example\r\n")
        try:
            while line := await reader.readuntil(b"\r\n"):
                heard += line
                verb = line[:4].upper()
                if verb == b"EHLO":
                    writer.write(b"250-wire.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 DSN\r\n")
                elif verb == b"RCPT" and self._reply:
                    writer.write(self._reply)
                elif verb == b"DATA" and not self._reply:
                    writer.write(b"354 go\r\n")
                    message = await reader.readuntil(b"\r\n.\r\n")
                    heard += message
                    self.messages.append(message)
                    writer.write(b"250 thank you\r\n")
                else:
                    writer.write(b"250 ok\r\n" if verb != b"DATA" else b"503 no\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    @property
    def senders(self) -> list[bytes]:
        """The MAIL commands, wherever a receiver of CRLF lines sees one that is not content."""
        commands = bytes(b"".join(self.heard))
        for message in self.messages:
            commands = commands.replace(message, b"", 1)
        return [line for line in commands.split(b"\r\n") if line[:4].upper() == b"MAIL"]


@asynccontextmanager
async def wire(reply: bytes = b"") -> AsyncIterator[tuple[Wire, int]]:
    kept = Wire(reply)
    server = await asyncio.start_server(kept.serve, "127.0.0.1", 0, limit=2**22)
    async with server:
        yield kept, server.sockets[0].getsockname()[1]


class Raw:
    """One connection, octets as they are, replies by their codes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=HANGS_AFTER)
        self._file = self._socket.makefile("rb")
        self.code()
        self.say("EHLO c")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def code(self) -> str:
        while True:
            line = self._file.readline(1000)
            if line[3:4] != b"-":
                return line[:3].decode()

    def say(self, text: str) -> str:
        self._socket.sendall(text.encode("latin-1") + b"\r\n")
        return self.code()

    def hand_in(self, text: str, chunks: bool, to: str = "bert@harbour.example") -> str:
        """The code for the whole message, whose octets come as they are."""
        for command in ("RSET", "MAIL FROM:<anna@home.example>", f"RCPT TO:<{to}>"):
            assert self.say(command) == "250", command
        octets = text.encode("latin-1")
        if chunks:
            self._socket.sendall(b"BDAT %d LAST\r\n" % len(octets) + octets)
        else:
            assert self.say("DATA") == "354"
            self._socket.sendall(octets + b"\r\n.\r\n")
        return self.code()


def bodies() -> Iterator[str]:
    """Texts in which a dot, or nothing, stands between two of `SEEN`; never CRLF dot CRLF itself."""
    for before, after in product(SEEN, SEEN):
        for dot in (".", "..", ""):
            text = f"{HEAD}\r\nfirst{before}{dot}{after}{EVIL}"
            if "\r\n.\r\n" not in text:
                yield text


def headers() -> Iterator[str]:
    for end in ENDS:
        yield f"{HEAD}X-Note: one{end}Bcc: evil@attacker.example{end}\r\n\r\nhi"
        yield f"{HEAD}X{end}Note: one\r\n\r\nhi"


async def sent(daemon: Daemon, texts: list[str], chunks: bool) -> int:
    """Hand all of them in; how many were accepted. Each is answered once, and no more than that."""

    def run() -> int:
        raw = Raw(daemon.port)
        codes = [raw.hand_in(text, chunks) for text in texts]
        # In step to the end: nothing of all that was obeyed.
        assert raw.say("NOOP") == "250"
        assert raw.say("QUIT") == "221"
        raw.close()
        assert set(codes) <= {"250", "554", "550"}
        return codes.count("250")

    return await asyncio.to_thread(run)


def clean(daemon: Daemon) -> None:
    """No control character in a line of the log, which all are one object."""
    assert daemon.process.noise == []
    for line in daemon.lines:
        assert all(text.isprintable() for text in map(str, line.values())), line


@pytest.mark.parametrize("chunks", [False, True], ids=["DATA", "BDAT"])
@pytest.mark.parametrize("texts", [bodies, headers])
async def test_nothing_bare_reaches_a_receiver_and_nothing_in_a_message_becomes_another(
    texts: object, chunks: bool
) -> None:
    made = list(texts())  # type: ignore[operator]
    async with wire() as (kept, port):
        settings = {"submission": {"max_errors": 10_000}}
        async with Daemon({"harbour.example": port}, settings) as daemon:
            accepted = await sent(daemon, made, chunks)
            assert accepted > len(made) / 3
            await daemon.until(
                lambda: len(daemon.events("removed")) == accepted, what=f"{accepted} messages removed"
            )
            clean(daemon)
        assert len(kept.messages) == accepted
        assert BARE.search(b"".join(kept.heard)) is None
        assert set(kept.senders) == {b"MAIL FROM:<anna@home.example>"} or all(
            sender.startswith(b"MAIL FROM:<anna@home.example>") for sender in kept.senders
        )
        assert len(kept.senders) == accepted
        for message in kept.messages:
            head = message.partition(b"\r\n\r\n")[0]
            assert not re.search(rb"(?mi)^bcc:", head)


COMMANDS = [
    "MAIL FROM:<a{}b@home.example>",
    "MAIL FROM:<a@home.example>{}",
    "MAIL FROM:<a@home.example>{}RCPT TO:<victim@harbour.example>",
    'MAIL FROM:<"a{}b"@home.example>',
    'MAIL FROM:<"a\\{}b"@home.example>',
    "MAIL FROM:<a@home.example> ENVID=a{}b",
    "MAIL FROM:<a@home.example> BODY=8BITMIME{}SIZE=1",
    "MAIL{}FROM:<a@home.example>",
    "EHLO c{}d",
    "HELO c{}d",
    "NOOP{}RSET",
    "VRFY a{}b",
    "BDAT 0{}LAST",
]
CODED = [
    "MAIL FROM:<a@home.example> ENVID=a+0D+0Ab",
    "MAIL FROM:<a@home.example> ENVID=a+0Ab",
    "MAIL FROM:<a@home.example> ENVID=a+00b",
    "MAIL FROM:<a@home.example> AUTH=a+0D+0Ab",
]


async def test_no_command_with_such_octets_in_it_is_obeyed_or_leaves_a_trace_in_the_log() -> None:
    async with Daemon({}, {"submission": {"max_errors": 100_000}}) as daemon:

        def run() -> list[tuple[str, str]]:
            raw = Raw(daemon.port)
            obeyed = []
            for command, end in product(COMMANDS, ENDS):
                if end.endswith("\r\n") or "\r\n" in end:
                    continue
                code = raw.say(command.format(end))
                # White space at the end is no part of the line (RFC 5321 4.1.1).
                if not code.startswith("5"):
                    obeyed.append((command.format(end), code))
                if code == "501" and command.startswith("BDAT"):
                    raw.close()
                    raw = Raw(daemon.port)
                assert raw.say("RSET") == "250"
            obeyed += [(command, code) for command in CODED if not (code := raw.say(command)).startswith("5")]
            for text in ("ORCPT=rfc822;a+0D+0Ab", "ORCPT=rfc822;a+0Ab", "ORCPT=x+0A;a"):
                raw.say("MAIL FROM:<a@home.example>")
                code = raw.say(f"RCPT TO:<bert@harbour.example> {text}")
                obeyed += [(text, code)] if code == "250" else []
                raw.say("RSET")
            raw.close()
            return obeyed

        assert await asyncio.to_thread(run) == []
        clean(daemon)
        assert await daemon.queue() == []


async def test_what_a_receiver_says_and_what_a_header_holds_is_harmless_in_a_notification() -> None:
    nasty = b"550-5.1.1 no\rsuch\0user\r\n550 5.1.1 here\x1b[2J\rMAIL FROM:<evil@attacker.example>\r\n"
    async with wire() as (home, home_port), wire(nasty) as (_, bad_port):
        async with Daemon({"home.example": home_port, "bad.example": bad_port}) as daemon:
            text = f"{HEAD}X-Note: one\rBcc: x\nY: z\r\n\r\nfirst\n.\nsecond\r.\r{EVIL}"

            def run() -> str:
                raw = Raw(daemon.port)
                code = raw.hand_in(text, chunks=False, to="nobody@bad.example")
                raw.close()
                return code

            assert await asyncio.to_thread(run) == "250"
            notified = await daemon.event("notified")
            await daemon.event("removed", id=notified["dsn"])
            clean(daemon)
        (message,) = home.messages
        assert BARE.search(bytes(b"".join(home.heard))) is None
        assert b"\x1b" not in message
        assert home.senders[0].startswith(b"MAIL FROM:<>")
        assert len(home.senders) == 1
