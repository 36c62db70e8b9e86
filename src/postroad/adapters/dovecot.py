"""A Dovecot that knows the accounts, asked over its socket for authentication clients.

One connection for each exchange: they are few, and none waits for another's answer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from postroad.mail import dovecot_auth as protocol
from postroad.ports.logins import LoginsUnavailable, SaslStep

ANSWER_SECONDS: Final = 30.0
"""Dovecot itself delays failures, by 2 seconds and more."""
GREETING_SECONDS: Final = 3.0
HANDSHAKE_LINES: Final = 256
STRANGE_LINES: Final = 16
# Until Dovecot was heard of: what every Dovecot offers.
USUAL: Final = ("PLAIN", "LOGIN")


class DovecotServer:
    """`ports.logins.SaslServer` at this socket. `mechanisms`: as the last connection was told."""

    def __init__(self, path: Path, *, seconds: float = ANSWER_SECONDS) -> None:
        self._path = path
        self._seconds = seconds
        self.mechanisms: tuple[str, ...] = USUAL

    async def greet(self) -> None:
        """Learn the mechanisms; where Dovecot is not there (yet), the usual ones stay."""
        with suppress(LoginsUnavailable, TimeoutError):
            async with asyncio.timeout(GREETING_SECONDS), self._connection():
                pass

    @asynccontextmanager
    async def exchange(self, mechanism: str, address: str, port: int) -> AsyncIterator[SaslStep]:
        """See `ports.logins.SaslServer`."""
        async with self._connection() as connection:
            asked = False

            async def step(response: str | None) -> protocol.Answer:
                nonlocal asked
                line = protocol.response(1, response or "")
                if not asked:
                    line = protocol.request(1, mechanism, address, port, response)
                asked = True
                async with self._patience():
                    await connection.say(line)
                    return await connection.answer(1)

            yield step

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Connection]:
        connection = None
        try:
            async with self._patience():
                connection = await _connect(self._path)
                self.mechanisms = await connection.greet() or USUAL
            yield connection
        finally:
            if connection is not None:
                connection.close()

    @asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError:
            raise LoginsUnavailable(f"{self._path}: no answer in {self._seconds:g} s") from None
        except EOFError:
            raise LoginsUnavailable(f"{self._path}: closed the connection") from None
        except OSError as error:
            raise LoginsUnavailable(f"{self._path}: {error.strerror or error}") from None
        except ValueError as error:
            raise LoginsUnavailable(f"{self._path}: {error}") from None


class _Connection:
    """Raises OSError, EOFError, ValueError (of which DovecotError is one)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def greet(self) -> tuple[str, ...]:
        for line in protocol.greeting(os.getpid()):
            await self.say(line)
        heard = protocol.Handshake()
        for _ in range(HANDSHAKE_LINES):
            if heard.take(await self._line()):
                return tuple(heard.mechanisms)
        raise protocol.DovecotError("its greeting has no end")

    async def say(self, line: str) -> None:
        self._writer.write(line.encode() + b"\n")
        await self._writer.drain()

    async def answer(self, id: int) -> protocol.Answer:
        for _ in range(STRANGE_LINES):
            answer = protocol.parse_answer(await self._line(), id)
            if answer is not None:
                return answer
        raise protocol.DovecotError("does not answer what it was asked")

    async def _line(self) -> str:
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line[:-1].decode("utf-8", "replace")

    def close(self) -> None:
        self._writer.close()


async def _connect(path: Path) -> _Connection:
    return _Connection(*await asyncio.open_unix_connection(str(path), limit=2 * protocol.LINE_LONGEST))
