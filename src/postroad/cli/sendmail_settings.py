"""The few keys of the configuration that the sendmail command needs, read by whoever may.

The daemon has checked the file; here a value that is odd is as good as absent. A file
that this user may not read, or that is not there, means the defaults: the command
must work for every user, and the usual place of the socket is then the right one.
"""

from __future__ import annotations

import _socket
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_CONFIG = "/etc/postroad/postroad.toml"
DEFAULT_STATE = "/var/lib/postroad"
DEFAULT_MAX_SIZE = 50 << 20
DEFAULT_MAX_RECIPIENTS = 1000
_UNITS = {"B": 1, "KB": 1000, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_BARE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"


class Settings:
    """`origin` completes addresses without a domain; `max_message_size` in octets; `path`: of the file.

    `max_recipients` of one message.
    """

    def __init__(
        self,
        state_directory: str,
        hostname: str,
        origin: str,
        max_message_size: int,
        local_sender: str = "any",
        path: str = DEFAULT_CONFIG,
        max_recipients: int = DEFAULT_MAX_RECIPIENTS,
    ) -> None:
        self.max_recipients = max_recipients
        self.local_sender = local_sender
        self.path = path
        self.state_directory = state_directory
        self.hostname = hostname
        self.origin = origin
        self.max_message_size = max_message_size


def read_settings(named: str | None) -> Settings:
    """The settings in the file that was named, else in the usual one.

    A file that was named must be readable (OSError), its owner's to give (PermissionError)
    and TOML (ValueError).
    """
    path = named or DEFAULT_CONFIG
    folder = os.path.dirname(os.path.abspath(path))
    config: dict[str, object] = {}
    for file in (path, *_drop_ins(folder)):
        _add(config, tables_in(_text_of(file, named)))
    settings = settings_in(config, folder)
    settings.path = path
    return settings


def _drop_ins(folder: str) -> list[str]:
    """As `config.sources` reads them: by name, after the main file."""
    folder = os.path.join(folder, "conf.d")
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    visible = [name for name in names if name.endswith(".toml") and name[0] != "."]
    return [os.path.join(folder, name) for name in sorted(visible, key=os.fsencode)]


def _text_of(path: str, named: str | None) -> str:
    try:
        with open(path, "rb") as file:
            _check_owner(path, os.fstat(file.fileno()).st_uid, named)
            return file.read().decode()
    except OSError:
        if named:
            raise
        return ""


def _add(config: dict[str, object], more: dict[str, object]) -> None:
    """What a later file says counts; of the tables only [submission] is of use here."""
    before, after = config.get("submission"), more.get("submission")
    config.update(more)
    if isinstance(before, dict) and isinstance(after, dict):
        config["submission"] = {**before, **after}


def _check_owner(path: str, owner: int, named: str | None) -> None:
    """Who names a file must not be led by a stranger's: it says to whom the mail is handed."""
    if named and named != DEFAULT_CONFIG and os.geteuid() not in (0, owner) and owner:
        raise PermissionError(1, "a configuration must belong to root or to who names it", path)


def tables_in(text: str) -> dict[str, object]:
    """The document as TOML; of a plainly written one only what is written plainly. Raises ValueError.

    tomllib takes as long to load as Python itself takes to start.
    """
    found = _plain(text)
    if found is not None:
        return found
    import tomllib

    return tomllib.loads(text)


def _plain(text: str) -> dict[str, object] | None:
    """Every `key = "text"` and `key = number` by its table.

    None where a line is anything this does not understand for sure.
    """
    top: dict[str, object] = {}
    table: dict[str, object] = top
    for line in text.split("\n"):
        line = line.strip(" \t\r")
        if not line or line[0] == "#":
            continue
        if line[0] == "[":
            name = line.strip("[]")
            if not name or name.strip(_BARE) or line not in (f"[{name}]", f"[[{name}]]"):
                return None
            table = {}
            if line == f"[{name}]":
                if name in top:
                    return None
                top[name] = table
            continue
        key, equals, value = (part.strip(" \t") for part in line.partition("="))
        value = _without_comment(value)
        if not equals or not key or key.strip(_BARE) or key in table or not _is_plain(value):
            return None
        if value[0] == '"':
            table[key] = value[1:-1]
        elif value.isdigit():
            table[key] = int(value)
    return top


def _without_comment(value: str) -> str:
    if value[:1] == '"' and (end := value.find('"', 1)) > 0:
        return value[: end + 1] if value[end + 1 :].lstrip(" \t")[:1] == "#" else value
    return value if '"' in value else value.partition("#")[0].rstrip(" \t")


def _is_plain(value: str) -> bool:
    """A text in quotes, or a number, a flag or a list of them on one line."""
    if value[:1] == "[" and value[-1:] == "]":
        return all(_is_plain(one.strip(" \t")) for one in value[1:-1].split(",")) or value == "[]"
    if value[:1] == '"':
        return len(value) > 1 and value[-1] == '"' and value.count('"') == 2 and "\\" not in value
    return value in ("true", "false") or (value.isascii() and value.isdigit() and value[0] != "0")


def settings_in(config: Mapping[str, object], directory: str) -> Settings:
    """`directory`: what relative paths are relative to."""
    hostname = _text(config.get("hostname")) or _socket.gethostname()
    submission = config.get("submission")
    limit = submission.get("max_message_size") if isinstance(submission, dict) else None
    return Settings(
        state_directory=os.path.join(directory, _text(config.get("state_directory")) or DEFAULT_STATE),
        hostname=hostname,
        origin=_text(config.get("origin")) or hostname,
        max_message_size=octets(limit) or DEFAULT_MAX_SIZE,
        local_sender=_text(submission.get("local_sender") if isinstance(submission, dict) else None) or "any",
        max_recipients=_number(submission.get("max_recipients") if isinstance(submission, dict) else None)
        or DEFAULT_MAX_RECIPIENTS,
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


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
