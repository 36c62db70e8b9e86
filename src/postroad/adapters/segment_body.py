"""A large body on its way to disk: received into `stage/<id>`, moved beside its segment later."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from postroad.mail.message import StagedBody
from postroad.ports.storage import StorageBroken, StorageFull

STAGE = "stage"

# No octet was promised to anybody yet: there is no room, or none at the moment.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def storage_error(error: OSError, path: Path) -> StorageFull | StorageBroken:
    """What a failed write means. A failed *sync* is always StorageBroken; that is for the caller to say."""
    text = f"{path}: {error.strerror or error}"
    return StorageFull(text) if error.errno in _FULL else StorageBroken(text)


def write_all(descriptor: int, octets: bytes, offset: int) -> None:
    """pwrite until everything is written; OSError as it comes."""
    left = memoryview(octets)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


class StagedFile:
    """`BodyFile`. Every write is a thread's; one call at a time, as a stream has it."""

    def __init__(
        self, directory: Path, id: str, reserve: Callable[[int], None] = lambda octets: None
    ) -> None:
        """`reserve` is told of octets to come, and raises StorageFull where they are too many."""
        if not (id.isascii() and id.isalnum()):
            raise ValueError("the id of a staged body is letters and digits")
        self._reserve = reserve
        self._name = f"{STAGE}/{id}"
        self._path = directory / STAGE / id
        self._descriptor = -1
        self._size = 0
        self._crc = 0
        # A cancelled write goes on in its thread, and `discard` must not close under it.
        self._lock = threading.Lock()
        self._closed = False

    async def write(self, chunk: bytes) -> None:
        self._reserve(len(chunk))
        await asyncio.to_thread(self._write, chunk)

    def finish(self, relaxed_hash: bytes) -> StagedBody:
        with self._lock:
            if self._descriptor < 0:
                self._descriptor = self._create()
            self._close()
            return StagedBody(self._name, self._size, self._crc, relaxed_hash)

    def discard(self) -> None:
        with self._lock:
            self._close()
            # After `append` the file has moved away and this finds nothing; what cannot be
            # removed now is removed at the next start.
            with suppress(OSError):
                self._path.unlink()

    def _write(self, chunk: bytes) -> None:
        with self._lock:
            if self._closed:
                return
            try:
                if self._descriptor < 0:
                    self._descriptor = self._create()
                write_all(self._descriptor, chunk, self._size)
            except OSError as error:
                raise storage_error(error, self._path) from error
            self._size += len(chunk)
            self._crc = zlib.crc32(chunk, self._crc)

    def _create(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def _close(self) -> None:
        self._closed = True
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class StagedOctets:
    """`mail.mime.Octets` of a finished body, for the time of a block; read where it is asked for."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        os.close(self._descriptor)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice, /) -> bytes:
        start, end, _ = place.indices(self._size)
        read: list[bytes] = []
        while start < end:
            chunk = os.pread(self._descriptor, end - start, start)
            if not chunk:
                raise OSError(errno.EIO, "shorter than what was written", str(self._path))
            read.append(chunk)
            start += len(chunk)
        return read[0] if len(read) == 1 else b"".join(read)
