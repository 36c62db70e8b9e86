"""JSON Web Tokens (RFC 7519, RFC 7515), and what is demanded of claims, a JWT's or those of RFC 7662."""

from __future__ import annotations

import binascii
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping

from postroad.mail.frozen import dataclass
from postroad.mail.sasl import SaslError, login_name

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")

LEEWAY = 60.0
"""Seconds that the clocks may differ."""
LONGEST = 16 * 1024


class TokenError(ValueError):
    """A token that is not good; the text is printable and for the operator."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What a token must say. `scope`, `audience` and `issuer`: "" where it does not matter."""

    account_claim: str = "sub"
    scope: str = ""
    audience: str = ""
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Jwt:
    """Parsed, and not to be believed before its `signature` over `signed` is verified."""

    algorithm: str
    key_id: str
    claims: Mapping[str, object]
    signed: bytes
    signature: bytes


def parse_jwt(token: str) -> Jwt:
    """Raises TokenError. Critical extensions (`crit`) are not known here, so they are errors."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > LONGEST or not token.isascii():
        raise TokenError("not a signed JWT")
    header, claims = _object(parts[0]), _object(parts[1])
    algorithm, key_id = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or not isinstance(key_id, str) or "crit" in header:
        raise TokenError("a JWT with a header that is not understood")
    return Jwt(algorithm, key_id, claims, ".".join(parts[:2]).encode(), _decoded(parts[2]))


def _decoded(part: str) -> bytes:
    if not _BASE64URL.fullmatch(part):
        raise TokenError("a part is not base64url")
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise TokenError("a part is not base64url") from None


def _object(part: str) -> Mapping[str, object]:
    try:
        found = json.loads(_decoded(part))
    except (ValueError, RecursionError):
        raise TokenError("a part is not JSON") from None
    if not isinstance(found, dict):
        raise TokenError("a part is not a JSON object")
    return found


def account_of(claims: Mapping[str, object], demands: Demands, now: float, *, expires: bool) -> str:
    """The account that these claims name, now. `expires`: a time of expiry is required. Raises TokenError."""
    end, start = claims.get("exp"), claims.get("nbf")
    if end is None and expires:
        raise TokenError("does not say when it expires")
    if end is not None and _time(end) + LEEWAY <= now:
        raise TokenError("has expired")
    if start is not None and _time(start) - LEEWAY > now:
        raise TokenError("is not valid yet")
    if demands.issuer and claims.get("iss") != demands.issuer:
        raise TokenError("is of another issuer")
    if demands.audience and demands.audience not in _words(claims.get("aud"), split=False):
        raise TokenError("is for another audience")
    scopes = [*_words(claims.get("scope")), *_words(claims.get("scp"))]
    if demands.scope and demands.scope not in scopes:
        raise TokenError("is for another scope")
    name = claims.get(demands.account_claim)
    try:
        return login_name(name.encode() if isinstance(name, str) else b"")
    except (SaslError, UnicodeEncodeError):
        raise TokenError("names no account") from None


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        raise TokenError("has a time that is none")
    return float(value)


def _words(value: object, *, split: bool = True) -> list[str]:
    if isinstance(value, str):
        return value.split(" ") if split else [value]
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
