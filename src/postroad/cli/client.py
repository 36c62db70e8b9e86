"""Talking to the daemon: the socket's troubles in the words and exit codes of a command."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from postroad.adapters import local_client
from postroad.cli.text import CommandFailed
from postroad.config.model import Config


def config_for(path: str) -> Config:
    """What is sound in the configuration: a command is not stopped by a key it cannot read."""
    from postroad.config import load_sound

    return load_sound(path)


def ask(socket: Path, request: Mapping[str, object], timeout: float = 60.0) -> list[dict[str, object]]:
    """Every answer to one request; CommandFailed where there is none to be had."""
    with translated():
        return list(local_client.ask(socket, request, timeout=timeout))


def status(socket: Path) -> dict[str, object] | None:
    """What the daemon says of itself; None when none runs."""
    try:
        return next(local_client.ask(socket, {"verb": "status"}, timeout=10.0), None)
    except local_client.DaemonDown:
        return None
    except local_client.NotAnswered as silent:
        raise CommandFailed(str(silent), os.EX_TEMPFAIL) from None
    except local_client.Denied as denied:
        raise CommandFailed(str(denied), denied.code) from None


def check_index(settings: Config) -> None:
    """CommandFailed where there is none, or it may not be read."""
    path = settings.index_path
    try:
        # SQLite's own message would not tell the two apart.
        path.open("rb").close()
    except FileNotFoundError:
        raise CommandFailed(
            f"{path}: no queue; has the daemon ever run with this configuration?", os.EX_NOINPUT
        ) from None
    except OSError as error:
        raise CommandFailed(
            f"{path}: {error.strerror}; be root or the user of the daemon", os.EX_NOPERM
        ) from None


@contextmanager
def translated() -> Iterator[None]:
    """Inside, the client's exceptions become CommandFailed."""
    try:
        yield
    except local_client.DaemonDown as down:
        raise CommandFailed(f"{down}; start it (postroad serve)", os.EX_UNAVAILABLE) from None
    except local_client.NotAnswered as silent:
        raise CommandFailed(str(silent), os.EX_TEMPFAIL) from None
    except local_client.Denied as denied:
        raise CommandFailed(str(denied), denied.code) from None
