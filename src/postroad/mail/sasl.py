"""The messages of SASL mechanisms, read strictly: RFC 4954 4 (lines), 4616, 5801 (GS2), 7628, XOAUTH2."""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64encode
from dataclasses import field

from postroad.mail.account import NOT_LOGINS
from postroad.mail.frozen import dataclass

LOGIN_LONGEST = 255
"""Octets of a name."""

_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}=*")
_GS2 = re.compile(rb"(?:(p)=([A-Za-z0-9.-]{1,64})|([ny])),(?:a=([^,]*))?,")
_ESCAPED = re.compile(r"=(2C|3D)|=")
_KEY_VALUE = re.compile(rb"([A-Za-z]+)=([\x21-\x7e \t\r\n]*)")


class SaslError(ValueError):
    """A message that its mechanism does not know; the text is printable and for us, not for the client."""


class NotBase64(SaslError):
    """What came between the lines is no base64 at all."""


@dataclass(frozen=True, slots=True)
class Plain:
    """`authzid` "" where the client acts for itself."""

    authzid: str
    login: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Gs2Header:
    """`flag`: n, no channel binding; y, the client could and thinks we cannot; p, with this `binding`.

    `raw` is the header as it came, which the client repeats in its last message.
    """

    flag: str
    binding: str
    authzid: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token, and the account the client says it is for; "" where it does not say."""

    login: str
    token: str = field(repr=False)


def decode_line(line: bytes) -> bytes:
    """One line of base64, padded as RFC 4648 4 says and nothing beside it. Raises NotBase64."""
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        raise NotBase64("not base64") from None


def encode_line(message: bytes) -> str:
    return b64encode(message).decode("ascii")


def login_name(raw: bytes) -> str:
    """A name is printable text; anything else is nobody's. Raises SaslError."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise SaslError("a name that is not UTF-8") from None
    if not text or len(raw) > LOGIN_LONGEST or not text.isprintable() or text.startswith(NOT_LOGINS):
        raise SaslError("not a name")
    return text


def parse_plain(message: bytes) -> Plain:
    """authzid NUL authcid NUL password (RFC 4616 2). Raises SaslError."""
    parts = message.split(b"\0")
    if len(parts) != 3:
        raise SaslError("PLAIN has three parts")
    return Plain(login_name(parts[0]) if parts[0] else "", login_name(parts[1]), parts[2])


def parse_gs2(message: bytes) -> tuple[Gs2Header, bytes]:
    """The header (RFC 5801 4) and what follows it. Raises SaslError."""
    found = _GS2.match(message)
    if found is None:
        raise SaslError("no GS2 header")
    flag = (found[1] or found[3]).decode()
    authzid = saslname(found[4]) if found[4] is not None else ""
    return Gs2Header(flag, (found[2] or b"").decode(), authzid, found[0]), message[found.end() :]


def saslname(raw: bytes) -> str:
    """=2C and =3D stand for comma and equals sign, no other equals sign may be there (RFC 5801 4)."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise SaslError("a name that is not UTF-8") from None
    return login_name(_ESCAPED.sub(_unescaped, text).encode())


def _unescaped(found: re.Match[str]) -> str:
    if found[1] is None:
        raise SaslError("an equals sign that escapes nothing")
    return "," if found[1] == "2C" else "="


def parse_oauthbearer(message: bytes) -> Bearer:
    """RFC 7628 3.1: GS2 header, then key=value pairs, each ended by %x01, and one more. Raises SaslError."""
    header, rest = parse_gs2(message)
    if header.flag == "p":
        raise SaslError("OAUTHBEARER binds no channel")
    if not rest.startswith(b"\1"):
        raise SaslError("no key-value pairs")
    return Bearer(header.authzid, _token(_pairs(rest[1:])))


def parse_xoauth2(message: bytes) -> Bearer:
    """user=NAME %x01 auth=Bearer TOKEN %x01 %x01 (Google's protocol). Raises SaslError."""
    user, separator, rest = message.partition(b"\1")
    if not user.startswith(b"user=") or not separator:
        raise SaslError("no user")
    return Bearer(login_name(user.removeprefix(b"user=")), _token(_pairs(rest)))


def _pairs(text: bytes) -> dict[str, str]:
    *pairs, last = text.split(b"\1")
    if not pairs or pairs[-1] or last:
        raise SaslError("the key-value pairs have no end")
    found: dict[str, str] = {}
    for pair in pairs[:-1]:
        match = _KEY_VALUE.fullmatch(pair)
        key = match[1].decode() if match else ""
        if match is None or key in found:
            raise SaslError("not a key-value pair")
        found[key] = match[2].decode()
    return found


def _token(pairs: dict[str, str]) -> str:
    scheme, _, token = pairs.get("auth", "").partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not _B64TOKEN.fullmatch(token):
        raise SaslError("no bearer token")
    return token


def oauth_failure(mechanism: str, scope: str, configuration: str) -> bytes:
    """What a client is told of a token we do not take, before its 535 (RFC 7628 3.2.2)."""
    told = (
        {"status": "invalid_token"} if mechanism == "OAUTHBEARER" else {"status": "401", "schemes": "bearer"}
    )
    if scope:
        told["scope"] = scope
    if configuration and mechanism == "OAUTHBEARER":
        told["openid-configuration"] = configuration
    return json.dumps(told).encode()
