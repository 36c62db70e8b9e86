"""How a listener is spelled: where it is, and whose it is where that is a Unix socket."""

from __future__ import annotations

import grp
import pwd
import re
from pathlib import Path
from typing import Any

from postroad.config.hosts import host_address, split_port
from postroad.config.problems import BadValue, shown
from postroad.config.spelling import TEXT, matching, spelled
from postroad.config.values import Reader, text

# A name in LISTEN_FDNAMES (sd_listen_fds(3)); the colon parts names there.
_PASSED = re.compile(r"[!-9;-~]{1,255}")
_MODE = re.compile(r"0?[0-7]{3}")


def address_in(base: Path) -> Reader:
    """An address to listen on, as the fields of a `Listener`.

    "127.0.0.1:587" and "[::]:587", port 0 letting the system choose; "unix:PATH",
    relative to the folder of the configuration file; "systemd:NAME", a socket that
    is passed under that name.
    """

    @spelled(TEXT)
    def read(value: object) -> dict[str, Any]:
        word = value if isinstance(value, str) else ""
        if word.startswith("unix:"):
            if word == "unix:":
                raise BadValue(f'expected a path such as "unix:/run/postroad/smtp.sock", got {shown(value)}')
            return {"path": base / text(word).removeprefix("unix:")}
        if word.startswith("systemd:"):
            name = word.removeprefix("systemd:")
            if not _PASSED.fullmatch(name):
                raise BadValue(f'expected a name such as "systemd:submission", got {shown(value)}')
            return {"passed": name}
        host, port = listener_address(value)
        return {"host": host, "port": port}

    return read


def listener_address(value: object) -> tuple[str, int]:
    """An address to bind and a port."""
    example = f'expected an address such as "127.0.0.1:587" or "[::]:587", got {shown(value)}'
    host, port = split_port(value, example)
    if port is None:
        raise BadValue(f"{example}: the port is missing")
    if not host:
        raise BadValue(f'{example}: for all addresses write "[::]:{port}"')
    return host_address(host, example), port


@spelled(matching("0?[0-7]{3}"))
def mode(value: object) -> int:
    """The permissions of a Unix socket in octal: who may write may connect."""
    word = value if isinstance(value, str) else ""
    if not _MODE.fullmatch(word):
        raise BadValue(f'expected permissions in octal such as "0660", got {shown(value)}')
    return int(word, 8)


@spelled(TEXT)
def user(value: object) -> str:
    name = text(value)
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        raise BadValue(f"{shown(value)}: no such user on this machine") from None


@spelled(TEXT)
def owner(value: object) -> tuple[int, int]:
    """ "user", "user:group" or ":group" as uid and gid; -1 for what is not named."""
    user, _, group = text(value).partition(":")
    try:
        uid = pwd.getpwnam(user).pw_uid if user else -1
        gid = grp.getgrnam(group).gr_gid if group else -1
    except KeyError:
        raise BadValue(f"{shown(value)}: no such user or group on this machine") from None
    return uid, gid
