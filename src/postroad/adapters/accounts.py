"""Who may submit: a passwd-file of argon2id hashes, checked off the loop.

One line an account, `name:{ARGON2ID}$argon2id$...`, further fields ignored, as
Dovecot writes it. A check costs a tenth of a second by design, so successes are
remembered for some minutes: as an HMAC under a key that lives only in this
process, never as the password.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import secrets
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError

CACHE_SECONDS = 300.0
CACHE_SIZE = 10_000
SECRET_LONGEST = 1024
"""Octets of a password; more is no password, and hashing it would be work done for a stranger."""

_NAME = re.compile(r"[A-Za-z0-9._@+=-]{1,255}")
_SCHEME = re.compile(r"\{ARGON2ID\}(\$argon2id\$[!-9;-~]+)", re.IGNORECASE)
# PLAIN and LOGIN pass text; what no client can send need not be storable.
_PASSWORD = re.compile(rb"[^\x00\r\n]{1,%d}" % SECRET_LONGEST)


class AccountsError(ValueError):
    """The accounts file cannot be used; the text has one problem a line, as `file:line: problem`."""


class PasswdAccounts:
    """`Accounts` over a passwd-file. Raises AccountsError, or OSError where the file cannot be read."""

    def __init__(self, path: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._hasher = PasswordHasher()
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, float] = {}
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="accounts")
        self._hashes = read_accounts(path)
        self._dummy = _dummy(self._hashes)

    def __len__(self) -> int:
        return len(self._hashes)

    def reload(self) -> None:
        """Read the file again: taken whole, or not at all and the error raised."""
        hashes = read_accounts(self._path)
        self._hashes, self._dummy = hashes, _dummy(hashes)
        self._known.clear()

    def close(self) -> None:
        """Take no more checks; those that wait are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def verify(self, login: str, secret: bytes) -> str | None:
        """The account's name, or None; an unknown name costs what a wrong password does."""
        if not _PASSWORD.fullmatch(secret):
            return None
        stored = self._hashes.get(login)
        mark = self._mark(login, stored, secret)
        if stored is not None and self._remembered(mark):
            return login
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(self._threads, self._check, stored or self._dummy, secret)
        if stored is None or not right:
            return None
        self._remember(mark)
        return login

    def _check(self, stored: str, secret: bytes) -> bool:
        try:
            return self._hasher.verify(stored, secret)
        except (Argon2Error, InvalidHashError):
            return False

    def _mark(self, login: str, stored: str | None, secret: bytes) -> bytes:
        """The stored hash is part of it, so that a changed password is not remembered under the old one."""
        text = b"\0".join((login.encode(), (stored or "").encode(), secret))
        return hmac.digest(self._key, text, hashlib.sha256)

    def _remembered(self, mark: bytes) -> bool:
        return self._known.get(mark, float("-inf")) > self._monotonic()

    def _remember(self, mark: bytes) -> None:
        self._known.pop(mark, None)
        while len(self._known) >= CACHE_SIZE:
            del self._known[next(iter(self._known))]
        self._known[mark] = self._monotonic() + CACHE_SECONDS


def read_accounts(path: Path) -> dict[str, str]:
    """Name -> argon2id hash. Raises AccountsError with every problem of the file, or OSError."""
    found: dict[str, str] = {}
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


def hash_password(password: str) -> str:
    """`{ARGON2ID}hash` as it stands in the file. Raises ValueError for what no client can send."""
    if not _PASSWORD.fullmatch(password.encode()):
        raise ValueError(f"a password has 1 to {SECRET_LONGEST} octets, without NUL or line ends")
    return "{ARGON2ID}" + PasswordHasher().hash(password)


def add_account(path: Path, name: str, password: str, *, replace: bool = False) -> None:
    """Add or, with `replace`, change an account; the other lines stay as they are.

    The file appears whole, in one step, readable to its owner alone when it is new.
    Raises ValueError for a bad name or password and where the account exists.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"not an account name: {name!a} (letters, digits and . _ @ + = -)")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if line.strip().partition(":")[0] != name]
    if len(kept) != len(lines) and not replace:
        raise ValueError(f"account {name} exists already")
    kept.append(f"{name}:{hash_password(password)}")
    _write(path, "\n".join(kept) + "\n")


def _parse(line: str) -> tuple[str, str]:
    name, colon, rest = line.partition(":")
    if not _NAME.fullmatch(name):
        raise ValueError(f"not an account name: {name!a}")
    stored = _SCHEME.fullmatch(rest.partition(":")[0])
    if not colon or stored is None:
        raise ValueError(f"account {name}: want {{ARGON2ID}}$argon2id$...")
    try:
        parameters = extract_parameters(stored[1])
    except (InvalidHashError, ValueError):
        raise ValueError(f"account {name}: the hash is damaged") from None
    if parameters.type is not Type.ID:
        raise ValueError(f"account {name}: not an argon2id hash")
    return name, stored[1]


def _dummy(hashes: dict[str, str]) -> str:
    """A hash no password has, as costly as the file's first one: unknown names are checked against it."""
    model = next(iter(hashes.values()), "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0c2FsdA$digest")
    costs = model.split("$")[:4]
    salt, digest = (b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
    return "$".join((*costs, salt, digest))


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
