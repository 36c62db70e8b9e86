"""The passwd-file of accounts, as Dovecot has it: `name:{SCHEME}hash`, further fields ignored."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from postroad.adapters.accounts_schemes import Stored, hash_password, read_stored

_NAME = re.compile(r"[A-Za-z0-9._@+=-]{1,255}")


class AccountsError(ValueError):
    """The accounts file cannot be used; the text has one problem a line, as `file:line: problem`."""


def read_accounts(path: Path) -> dict[str, Stored]:
    """Name -> stored password. Raises AccountsError with every problem of the file, or OSError."""
    found: dict[str, Stored] = {}
    problems = []
    text = path.read_bytes().decode("utf-8", "replace")
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            name, stored = _parse(line)
            if name in found:
                raise ValueError(f"account {name} is there twice")
            found[name] = stored
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    if problems:
        raise AccountsError("\n".join(problems))
    return found


def _parse(line: str) -> tuple[str, Stored]:
    name, _, rest = line.partition(":")
    if not _NAME.fullmatch(name):
        raise ValueError(f"not an account name: {name!a}")
    try:
        return name, read_stored(rest.partition(":")[0])
    except ValueError as wrong:
        raise ValueError(f"account {name}: {wrong}") from None


def add_account(
    path: Path, name: str, password: str, *, replace: bool = False, scheme: str = "ARGON2ID"
) -> None:
    """Add or, with `replace`, change an account; the other lines stay as they are.

    The file appears whole, in one step, readable to its owner alone when it is new.
    Raises ValueError for a bad name or password and where the account exists.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"not an account name: {name!a} (letters, digits and . _ @ + = -)")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    if not replace and any(_named(line, name) for line in lines):
        raise ValueError(f"account {name} exists already")
    kept = [line for line in lines if not _named(line, name)]
    kept.append(f"{name}:{hash_password(password, scheme)}")
    _write(path, "\n".join(kept) + "\n")


def change_password(path: Path, name: str, password: str, scheme: str = "ARGON2ID") -> None:
    """A new password in the account's own line, its further fields kept. Raises ValueError, OSError."""

    def changed(line: str) -> str:
        fields = line.split(":")
        return ":".join((name, hash_password(password, scheme), *fields[2:]))

    _change(path, name, lambda line: [changed(line)])


def remove_account(path: Path, name: str) -> None:
    """Raises ValueError where there is no such account, OSError."""
    _change(path, name, lambda line: [])


def _change(path: Path, name: str, what: Callable[[str], list[str]]) -> None:
    lines = path.read_text("utf-8").splitlines()
    if not any(_named(line, name) for line in lines):
        raise ValueError(f"there is no account {name!a}")
    kept = [new for line in lines for new in (what(line) if _named(line, name) else [line])]
    _write(path, "".join(f"{line}\n" for line in kept))


def _named(line: str, name: str) -> bool:
    return line.strip().partition(":")[0] == name


def _write(path: Path, text: str) -> None:
    """Replace the file in one step, keeping its mode and, where we may, its owner."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if path.exists():
                status = path.stat()
                os.fchmod(file.fileno(), status.st_mode & 0o777)
                with suppress(PermissionError):
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
