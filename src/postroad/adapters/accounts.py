"""Who may submit: the accounts of a passwd-file, checked off the loop.

A check costs a tenth of a second by design, so successes are remembered for some
minutes: as an HMAC under a key that lives only in this process, never as the
password. Names that are not in the file are checked like one that is, always the
same one, and always with the same result.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from postroad.adapters import accounts_schemes as schemes
from postroad.adapters.accounts_file import read_accounts
from postroad.adapters.accounts_schemes import PASSWORD, Stored
from postroad.mail import scram

CACHE_SECONDS = 300.0
CACHE_SIZE = 10_000
KEY_SIZE = 32
_USUAL = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0c2FsdA$" + "A" * 43


class PasswdAccounts:
    """`Accounts` over a passwd-file. Raises AccountsError, or OSError where the file cannot be read.

    `key`: a lasting secret (`lasting_key`), from which come the salts of names that do not exist.
    """

    def __init__(
        self, path: Path, *, key: bytes | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._monotonic = monotonic
        self._key = secrets.token_bytes(KEY_SIZE)
        self._lasting = key or self._key
        self._known: dict[bytes, float] = {}
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="accounts")
        self._adopt(read_accounts(path))

    def __len__(self) -> int:
        return len(self._stored)

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def reload(self) -> None:
        """Read the file again: taken whole, or not at all and the error raised."""
        self._adopt(read_accounts(self._path))
        self._known.clear()

    def close(self) -> None:
        """Take no more checks; those that wait are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def offers_scram(self) -> bool:
        """Whether some account can use it."""
        return bool(self._verifiers)

    def scram(self, login: str) -> scram.Verifier:
        """What SCRAM is checked with; of a name that cannot use it, what looks so and is never right."""
        stored = self._stored.get(login)
        if stored is not None and stored.scram is not None:
            return stored.scram
        return scram.imitation(self._lasting, login, self._verifiers[self._pick(login, len(self._verifiers))])

    async def verify(self, login: str, secret: bytes) -> str | None:
        """The account's name, or None; an unknown name costs what a wrong password does."""
        if not PASSWORD.fullmatch(secret):
            return None
        stored = self._stored.get(login)
        mark = self._mark(login, stored, secret)
        if stored is not None and self._remembered(mark):
            return login
        checked = stored or schemes.decoy(self._models[self._pick(login, len(self._models))])
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(self._threads, self._check, checked, secret)
        if stored is None or not right:
            return None
        self._remember(mark)
        return login

    def _adopt(self, stored: Mapping[str, Stored]) -> None:
        self._stored = stored
        self._models = list(stored.values()) or [schemes.read_stored("{ARGON2ID}" + _USUAL)]
        self._verifiers = [model.scram for model in self._models if model.scram is not None]

    def _check(self, stored: Stored, secret: bytes) -> bool:
        return schemes.check(stored, secret)

    def _pick(self, login: str, count: int) -> int:
        return int.from_bytes(hmac.digest(self._lasting, b"pick\0" + login.encode(), "sha256")[:8]) % count

    def _mark(self, login: str, stored: Stored | None, secret: bytes) -> bytes:
        """The stored hash is part of it, so that a changed password is not remembered under the old one."""
        text = b"\0".join((login.encode(), str(stored).encode(), secret))
        return hmac.digest(self._key, text, hashlib.sha256)

    def _remembered(self, mark: bytes) -> bool:
        return self._known.get(mark, float("-inf")) > self._monotonic()

    def _remember(self, mark: bytes) -> None:
        self._known.pop(mark, None)
        while len(self._known) >= CACHE_SIZE:
            del self._known[next(iter(self._known))]
        self._known[mark] = self._monotonic() + CACHE_SECONDS


def lasting_key(path: Path) -> bytes:
    """The secret in this file, made where there is none yet. Raises OSError."""
    if path.exists():
        found = path.read_bytes()
        if len(found) == KEY_SIZE:
            return found
    made = secrets.token_bytes(KEY_SIZE)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(made)
        os.fsync(file.fileno())
    os.replace(fresh, path)
    return made
