"""The smallest HTTP/1.1 client, to ask a scanner or an issuer of tokens.

One POST a connection, every size limited; over TLS the certificate is verified.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Final
from urllib.parse import urlsplit

from postroad.mail.frozen import dataclass

MAX_LINE: Final = 8 * 1024
MAX_FIELDS: Final = 100
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")
_UNFIT = re.compile(r"[^\t -~]")


class HttpError(Exception):
    """No answer to rely on; one printable line says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to ask: of "http://127.0.0.1:11333" or "https://scanner.example/"; `target` with its query."""

    host: str
    port: int
    secure: bool
    target: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def address(url: str, default_port: int | None = None) -> Address:
    """Raises ValueError for what is no http or https address. The default port is else the scheme's."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or _UNFIT.search(url):
        raise ValueError(f"not an http or https address: {url}")
    secure = parts.scheme == "https"
    port = parts.port or default_port or (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(parts.hostname, port, secure, target)


async def post(
    to: Address,
    fields: Sequence[tuple[str, str]],
    body: AsyncIterator[bytes],
    size: int,
    *,
    most: int,
) -> tuple[int, bytes]:
    """Status and body of the answer, at most `most` octets. Raises HttpError; the caller limits the time."""
    try:
        context = _context() if to.secure else None
        reader, writer = await asyncio.open_connection(to.host, to.port, ssl=context, limit=MAX_LINE)
    except OSError as error:
        raise HttpError(f"{to.authority}: {error.strerror or error}") from None
    try:
        sending = asyncio.ensure_future(_send(writer, _request(to, fields, size), body))
        try:
            return await _answer(reader, most)
        finally:
            # A server may answer, and close, before it has read everything.
            sending.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending
    except (OSError, EOFError, asyncio.LimitOverrunError, ValueError) as error:
        why = "closed in mid-answer" if isinstance(error, EOFError) else str(error)
        raise HttpError(f"{to.authority}: {why or type(error).__name__}") from None
    finally:
        writer.close()


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _request(to: Address, fields: Sequence[tuple[str, str]], size: int) -> bytes:
    lines = [f"POST {to.target} HTTP/1.1", f"Host: {to.authority}", "Connection: close"]
    lines += [f"Content-Length: {size}", *(f"{name}: {_UNFIT.sub('?', value)}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


async def _send(writer: asyncio.StreamWriter, head: bytes, body: AsyncIterator[bytes]) -> None:
    writer.write(head)
    async for chunk in body:
        writer.write(chunk)
        await writer.drain()


async def _answer(reader: asyncio.StreamReader, most: int) -> tuple[int, bytes]:
    status = 100
    while status < 200:
        line = await _line(reader)
        found = _STATUS.fullmatch(line)
        if found is None:
            raise ValueError("not an HTTP answer")
        status = int(found[1])
        fields = await _fields(reader)
    if "chunked" in fields.get("transfer-encoding", "").lower():
        return status, await _chunks(reader, most)
    announced = fields.get("content-length")
    if announced is None:
        return status, await _rest(reader, most)
    if not announced.isascii() or not announced.isdigit() or int(announced) > most:
        raise ValueError("an answer of impossible length")
    return status, await reader.readexactly(int(announced))


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return line.rstrip(b"\r\n")


async def _fields(reader: asyncio.StreamReader) -> dict[str, str]:
    found: dict[str, str] = {}
    for _ in range(MAX_FIELDS):
        line = await _line(reader)
        if not line:
            return found
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise ValueError("a header that is none")
        found[name.strip().lower()] = value.strip()
    raise ValueError("too many headers")


async def _chunks(reader: asyncio.StreamReader, most: int) -> bytes:
    body = bytearray()
    while True:
        found = _CHUNK.fullmatch(await _line(reader))
        if found is None:
            raise ValueError("a chunk without its length")
        size = int(found[1], 16)
        if not size:
            await _fields(reader)
            return bytes(body)
        if len(body) + size > most:
            raise ValueError(f"an answer of more than {most} octets")
        body += await reader.readexactly(size)
        if await _line(reader):
            raise ValueError("a chunk longer than its length")


async def _rest(reader: asyncio.StreamReader, most: int) -> bytes:
    body = bytearray()
    while chunk := await reader.read(64 * 1024):
        body += chunk
        if len(body) > most:
            raise ValueError(f"an answer of more than {most} octets")
    return bytes(body)
