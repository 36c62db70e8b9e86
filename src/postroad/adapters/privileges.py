"""Started as root: what only root may do is done first, then root is given up for good.

Ports below 1024 are bound (`smtpd_listen.bind_early`), and files that only root can read
are kept in memory: each becomes a file without a name, which the process reads as
/proc/self/fd/N. A reload reads the file itself where it can be read, and what was kept
where not.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_KEPT = 4 << 20


class PrivilegeError(ValueError):
    """It cannot run as who it should; the text has the cure."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user of this machine."""

    name: str
    uid: int
    gid: int


def identity(user: str) -> Identity:
    """Raises PrivilegeError."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise PrivilegeError(
            f'user = "{user}": no such user; systemd-sysusers or useradd --system makes it'
        ) from None
    return Identity(found.pw_name, found.pw_uid, found.pw_gid)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def own_state(directory: Path, owner: Identity) -> None:
    """As root: make the state directory where it is missing, and give it to its user."""
    if not directory.exists():
        directory.mkdir(mode=0o711, parents=True)
        os.chown(directory, owner.uid, owner.gid)


def check_state(directory: Path, uid: int) -> None:
    """Raises PrivilegeError where files made there would not be its owner's, or others could replace them."""
    if not directory.exists():
        return
    status = directory.stat()
    if status.st_uid != uid:
        owner, me = user_name(status.st_uid), user_name(uid)
        raise PrivilegeError(
            f"{directory}: belongs to {owner}, and this runs as {me}: chown -R {me} {directory}, "
            f'or be {owner} (user = "{owner}" when started as root)'
        )
    if status.st_mode & 0o022 and not status.st_mode & 0o1000:
        raise PrivilegeError(f"{directory}: others may replace what lies in it: chmod 711 {directory}")


def appearance(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None where it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def changed_unseen(kept: Mapping[Path, tuple[int, int, int] | None]) -> list[Path]:
    """Of what was kept, with how it looked then: files that cannot be read again and may have changed."""
    return [
        path
        for path, before in kept.items()
        if not os.access(path, os.R_OK) and (before is None or appearance(path) != before)
    ]


def keep(files: Iterable[Path]) -> dict[Path, Path]:
    """As root: by name, where each file is to be read later on. What cannot be read now is left out."""
    kept: dict[Path, Path] = {}
    for path in files:
        if path in kept:
            continue
        try:
            octets = _octets(path)
        except OSError:
            continue
        descriptor = os.memfd_create(path.name[:200], os.MFD_CLOEXEC)
        os.write(descriptor, octets)
        kept[path] = Path(f"/proc/self/fd/{descriptor}")
    return kept


def _octets(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_KEPT)


def drop(to: Identity) -> None:
    """Become that user, with its groups, for good. Raises PrivilegeError, OSError."""
    groups = [group.gr_gid for group in grp.getgrall() if to.name in group.gr_mem]
    os.setgroups([to.gid, *groups])
    os.setresgid(to.gid, to.gid, to.gid)
    os.setresuid(to.uid, to.uid, to.uid)
    if os.getresuid() != (to.uid,) * 3 or os.getresgid() != (to.gid,) * 3:
        raise PrivilegeError(f"root could not be given up for {to.name}")
