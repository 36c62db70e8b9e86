"""The signer: DKIM signatures (RFC 6376, RFC 8463) by keys loaded once.

The one user of `cryptography` for signing: its key objects are 20 times as fast
as dkimpy's arithmetic and free the interpreter while they work. dkimpy verifies
every signature the tests make.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from postroad.config.model import DkimKey
from postroad.mail.canonical import relaxed_body_hash
from postroad.mail.dkim_fields import (
    opening,
    select,
    signed_field,
    signed_octets,
    signing_domain,
    unsigned_field,
)
from postroad.mail.frozen import dataclass
from postroad.mail.message import Content

# RFC 8301 3.2: shorter keys are not taken by verifiers.
MIN_RSA_BITS = 1024
_MAX_KEY_FILE = 64 * 1024
_PADDING = PKCS1v15()
_SHA256 = SHA256()


class DkimKeyError(ValueError):
    """A key that cannot sign; the text names the file and the cause."""


class _Signing(Protocol):
    """One key at work: its algorithm's name in the a= tag, and the signature of some octets."""

    algorithm: str

    def sign(self, octets: bytes) -> bytes: ...


class _Rsa:
    algorithm = "rsa-sha256"

    def __init__(self, key: RSAPrivateKey) -> None:
        self._key = key

    def sign(self, octets: bytes) -> bytes:
        return self._key.sign(octets, _PADDING, _SHA256)


class _Ed25519:
    algorithm = "ed25519-sha256"

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, octets: bytes) -> bytes:
        # RFC 8463 3: the SHA-256 digest is what PureEdDSA signs.
        return self._key.sign(hashlib.sha256(octets).digest())


class DkimSigner:
    """`ports.signer.Signer`. Several keys of one domain (RSA and Ed25519) make a field each, in their order.

    Raises DkimKeyError at once when a key is unfit. `close` ends the worker threads.
    """

    def __init__(
        self, keys: Sequence[DkimKey], *, threads: int = 2, now: Callable[[], float] = time.time
    ) -> None:
        self._keys: dict[str, list[tuple[bytes, _Signing]]] = {}
        for key in keys:
            signing = load_key(key.key)
            start = opening(signing.algorithm, key.domain, key.selector)
            self._keys.setdefault(key.domain, []).append((start, signing))
        self._now = now
        self._bench = _Bench(threads)

    def domain_for(self, from_domain: str) -> str | None:
        """The signing domain for a From domain: itself or the nearest parent that has a key."""
        return signing_domain(from_domain, self._keys)

    async def sign(self, domain: str, content: Content) -> bytes:
        """The fields to prepend. KeyError for a domain that `domain_for` did not name."""
        return await self._bench.do(_Job(self._keys[domain], content, int(self._now())))

    def close(self) -> None:
        """Ends the threads when what was handed to them is done; harmless when repeated."""
        self._bench.close()


@dataclass(frozen=True, slots=True)
class _Job:
    keys: Sequence[tuple[bytes, _Signing]]
    content: Content
    now: int

    def run(self) -> bytes:
        body = self.content.body
        body_hash = relaxed_body_hash(body) if isinstance(body, bytes) else body.relaxed_hash
        selection = select(self.content.head)
        made = []
        for start, signing in self.keys:
            field = unsigned_field(start, self.now, selection, body_hash)
            made.append(signed_field(field, signing.sign(signed_octets(selection, field))))
        return b"".join(made)


class _Bench:
    """Threads that sign. What they finish while the loop is busy reaches it in one wake-up.

    (An executor costs two futures, a lock and a wake-up for each job: half as much
    again as the signature.)
    """

    def __init__(self, threads: int) -> None:
        self._jobs: SimpleQueue[tuple[Future[bytes], _Job] | None] = SimpleQueue()
        self._done: deque[tuple[Future[bytes], bytes | Exception]] = deque()
        self._waking = False
        self._loop: AbstractEventLoop | None = None
        self._closed = False
        self._threads = [Thread(target=self._work, name=f"dkim-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    async def do(self, job: _Job) -> bytes:
        if self._closed:
            raise RuntimeError("the signer is closed")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # A loop that is gone took its wake-up with it.
            self._loop, self._waking = loop, False
        future: Future[bytes] = loop.create_future()
        self._jobs.put((future, job))
        return await future

    def close(self) -> None:
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            future, job = item
            result: bytes | Exception
            try:
                result = job.run()
            except Exception as error:
                result = error
            self._done.append((future, result))
            # Appended before looking: `_deliver` clears the mark before it empties the deque.
            if not self._waking:
                self._waking = True
                self._wake(future)

    def _wake(self, future: Future[bytes]) -> None:
        # RuntimeError: the loop was closed, nobody waits any more.
        with suppress(RuntimeError):
            future.get_loop().call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._waking = False
        while self._done:
            future, result = self._done.popleft()
            if future.done():
                continue
            if isinstance(result, bytes):
                future.set_result(result)
            else:
                future.set_exception(result)


def load_key(path: Path) -> _Signing:
    """An unencrypted PEM key, PKCS#1 or PKCS#8, RSA or Ed25519; DkimKeyError."""
    try:
        with path.open("rb") as file:
            pem = file.read(_MAX_KEY_FILE)
    except OSError as error:
        raise DkimKeyError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        key = load_pem_private_key(pem.replace(b"\r\n", b"\n"), None)
    except TypeError:
        raise DkimKeyError(
            f"{path}: the key is encrypted; keys must be stored without a passphrase"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise DkimKeyError(f"{path}: holds no private key in PEM form") from None
    if isinstance(key, Ed25519PrivateKey):
        return _Ed25519(key)
    if not isinstance(key, RSAPrivateKey):
        raise DkimKeyError(f"{path}: neither an RSA nor an Ed25519 key")
    if key.key_size < MIN_RSA_BITS:
        raise DkimKeyError(
            f"{path}: an RSA key of {key.key_size} bits; DKIM asks for {MIN_RSA_BITS} at least"
        )
    return _Rsa(key)
