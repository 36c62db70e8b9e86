"""The SASL exchanges of AUTH: PLAIN (RFC 4616) and LOGIN, as conversations that end in credentials."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from postroad.adapters import smtpd_replies as replies
from postroad.mail.reply import Reply

LOGIN_LONGEST = 255

Ask = Callable[[str], Awaitable[bytes]]
"""Sends a 334 with this text, answers the client's line without its CRLF."""


class ExchangeFailed(Exception):
    """No credentials came out; `reply` is the answer to give."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Credentials:
    login: str
    secret: bytes = field(repr=False)


async def plain(initial: bytes | None, ask: Ask) -> Credentials:
    """authzid NUL authcid NUL password; acting for somebody else is not offered."""
    message = _decoded(initial if initial is not None else await ask(""))
    parts = message.split(b"\0")
    if len(parts) != 3 or parts[0] not in (b"", parts[1]):
        raise ExchangeFailed(replies.LOGIN_INVALID)
    return Credentials(_login(parts[1]), parts[2])


async def login(initial: bytes | None, ask: Ask) -> Credentials:
    """Name, then password, each after its prompt; the name may come with the command."""
    name = _decoded(initial if initial is not None else await ask(_prompt("Username:")))
    secret = _decoded(await ask(_prompt("Password:")))
    return Credentials(_login(name), secret)


MECHANISMS: dict[str, Callable[[bytes | None, Ask], Awaitable[Credentials]]] = {
    "PLAIN": plain,
    "LOGIN": login,
}


def _prompt(text: str) -> str:
    return b64encode(text.encode()).decode()


def _decoded(line: bytes) -> bytes:
    """One base64 line; "=" stands for nothing at all, "*" gives up (RFC 4954 4)."""
    if line == b"*":
        raise ExchangeFailed(replies.LOGIN_CANCELLED)
    if line == b"=":
        return b""
    try:
        return b64decode(line, validate=True)
    except binascii.Error:
        raise ExchangeFailed(replies.LOGIN_NOT_DECODED) from None


def _login(name: bytes) -> str:
    """A login name is printable text; anything else is nobody's name."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise ExchangeFailed(replies.LOGIN_INVALID) from None
    if not text or len(name) > LOGIN_LONGEST or not text.isprintable():
        raise ExchangeFailed(replies.LOGIN_INVALID)
    return text
