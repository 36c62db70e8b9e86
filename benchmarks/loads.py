"""Where the mail comes from: the command line of a process that submits it and ends."""

from __future__ import annotations

from collections.abc import Callable

# A load, given the port to submit to and the number of messages.
Load = Callable[[int, int], list[str]]

SENDER = "load@sender.example"
RECIPIENT = "somebody@receiver.example"


def smtp_source(size: int = 4096, sessions: int = 20, kept: bool = True, recipients: int = 1) -> Load:
    """Postfix's smtp-source: one process in C, no pipelining, so that it takes little from the two rivals."""

    def command(port: int, messages: int) -> list[str]:
        return [
            "/usr/sbin/smtp-source",
            *(["-d"] if kept else []),
            *("-s", str(sessions), "-l", str(size), "-m", str(messages), "-r", str(recipients)),
            *("-M", "client.example", "-f", SENDER, "-t", RECIPIENT, f"inet:127.0.0.1:{port}"),
        ]

    return command
