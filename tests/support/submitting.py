"""A client that sends exactly the octets it is given: what smtplib would mend stays broken."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from types import TracebackType

from postroad.demo.process import HANGS_AFTER


class Client:
    """A plain SMTP conversation over a blocking socket; on entering EHLO is said, after a greeting of 220."""

    def __init__(self, port: int, timeout: float = HANGS_AFTER) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._file = self._socket.makefile("rb")
        self.greeting = ""

    def __enter__(self) -> Client:
        try:
            self.greeting = self.reply()
            if self.greeting.startswith("220"):
                self.say("EHLO client.example")
        except BaseException:
            # Without a block there is no end of it.
            self.vanish()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.vanish()

    def vanish(self) -> None:
        """Close without a word."""
        self._file.close()
        self._socket.close()

    def reply(self) -> str:
        """One reply, its lines joined by newlines; empty when the server has gone."""
        lines = []
        while True:
            line = self._file.readline(4096)
            lines.append(line.decode("utf-8", "replace").rstrip("\r\n"))
            if line[3:4] != b"-":
                return "\n".join(lines)

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def say(self, command: str) -> str:
        """A command and its reply."""
        self.send(command.encode() + b"\r\n")
        return self.reply()

    def transact(self, sender: str, recipients: Sequence[str], octets: bytes, options: str = "") -> str:
        """One mail transaction up to the final reply; the first reply that is no success ends it.

        For a client that was not let in that is the greeting.
        """
        if not self.greeting.startswith("220"):
            return self.greeting
        commands = [f"MAIL FROM:<{sender}>{options}", *(f"RCPT TO:<{to}>" for to in recipients), "DATA"]
        for command in commands:
            reply = self.say(command)
            if reply[:1] not in ("2", "3"):
                return reply
        self.send(stuffed(octets) + b".\r\n")
        return self.reply()


def stuffed(octets: bytes) -> bytes:
    """RFC 5321 4.5.2, and a CRLF at the end where there is none."""
    if octets.startswith(b"."):
        octets = b"." + octets
    octets = octets.replace(b"\r\n.", b"\r\n..")
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def hand_in(port: int, sender: str, recipients: Sequence[str], octets: bytes, options: str = "") -> str:
    """One message over one connection; the reply that decided it."""
    with Client(port) as client:
        return client.transact(sender, recipients, octets, options)


def queue_id(reply: str) -> str:
    """The id in `250 2.0.0 queued as <id>`; AssertionError for any other reply."""
    assert reply.startswith("250"), reply
    return reply.rpartition(" ")[2]
