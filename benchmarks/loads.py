"""Where the mail comes from: the command line of a process that submits it and ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

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


def own(size: int = 4096, certificate: Path | None = None, domains: int = 0) -> Load:
    """submitter.py: STARTTLS and AUTH where a certificate is given; recipients at so many domains."""

    def command(port: int, messages: int) -> list[str]:
        return [
            sys.executable,
            str(Path(__file__).with_name("submitter.py")),
            *("--port", str(port), "--messages", str(messages), "--size", str(size)),
            *("--domains", str(domains)),
            *(["--tls", str(certificate)] if certificate else []),
        ]

    return command


def own_at(rate: float, times: Path) -> Load:
    """submitter.py at a steady rate; when each message was begun and accepted goes to `times`."""

    def command(port: int, messages: int) -> list[str]:
        return [*own()(port, messages), "--rate", str(rate), "--times", str(times)]

    return command
