"""Talking to the daemon: the socket's troubles in the words and exit codes of a command."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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


def socket_of(settings: Config) -> Path:
    """Where the daemon answers that runs by this configuration, `state_directory` changed since or not."""
    ours = settings.socket_path
    if local_client.ping(ours):
        return ours
    theirs = local_client.elsewhere(ours.name, str(settings.path), _daemons_users(settings))
    return ours if theirs is None else Path(theirs)


def _daemons_users(settings: Config) -> set[int]:
    """Who may have started it, or be it."""
    found = {0, os.geteuid()}
    with suppress(OSError, KeyError):
        if settings.path is not None:
            found.add(settings.path.stat().st_uid)
        if settings.user is not None:
            found.add(pwd.getpwnam(settings.user).pw_uid)
    return found


def moved(settings: Config) -> str | None:
    """That a daemon runs with another state directory than its configuration has now; None: it does not."""
    running = socket_of(settings)
    if running == settings.socket_path:
        return None
    return (
        f"the daemon that runs has its queue in {running.parent} still; "
        f"state_directory = {str(settings.state_directory)!r} takes a restart"
    )


def check_index(settings: Config) -> None:
    """CommandFailed where there is none, or it may not be read."""
    path = settings.index_path
    try:
        # SQLite's own message would not tell the two apart.
        path.open("rb").close()
    except FileNotFoundError:
        why = moved(settings) or "has the daemon ever run with this configuration?"
        raise CommandFailed(f"{path}: no queue; {why}", os.EX_NOINPUT) from None
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
