"""The few keys of the configuration that the sendmail command needs, read by whoever may.

The daemon has checked the file; here a value that is odd is as good as absent. A file
that this user may not read, or that is not there, means the defaults: the command
must work for every user, and the usual place of the socket is then the right one.
"""

from __future__ import annotations

import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_CONFIG = "/etc/postroad/postroad.toml"
DEFAULT_STATE = "/var/lib/postroad"
DEFAULT_MAX_SIZE = 50 << 20
_UNITS = {"B": 1, "KB": 1000, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Settings:
    """`origin` completes addresses without a domain; `max_message_size` in octets."""

    def __init__(self, state_directory: str, hostname: str, origin: str, max_message_size: int) -> None:
        self.state_directory = state_directory
        self.hostname = hostname
        self.origin = origin
        self.max_message_size = max_message_size


def read_settings(named: str | None) -> Settings:
    """The settings in the file that was named, else in the usual one.

    A file that was named must be readable (OSError) and TOML (ValueError).
    """
    path = named or DEFAULT_CONFIG
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
    except OSError:
        if named:
            raise
        text = ""
    return settings_in(_parsed(text), os.path.dirname(os.path.abspath(path)))


def _parsed(text: str) -> dict[str, object]:
    if not text:
        return {}
    import tomllib

    return tomllib.loads(text)


def settings_in(config: Mapping[str, object], directory: str) -> Settings:
    """`directory`: what relative paths are relative to."""
    hostname = _text(config.get("hostname")) or socket.gethostname()
    submission = config.get("submission")
    limit = submission.get("max_message_size") if isinstance(submission, dict) else None
    return Settings(
        state_directory=os.path.join(directory, _text(config.get("state_directory")) or DEFAULT_STATE),
        hostname=hostname,
        origin=_text(config.get("origin")) or hostname,
        max_message_size=octets(limit) or DEFAULT_MAX_SIZE,
    )


def octets(value: object) -> int | None:
    """A size as the configuration writes it, "25MiB"; None where it is not one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _text(value) or ""
    number = text.rstrip("KMGiB")
    unit = _UNITS.get(text[len(number) :].strip())
    number = number.strip()
    return int(number) * unit if unit and number.isascii() and number.isdigit() and len(number) < 16 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
