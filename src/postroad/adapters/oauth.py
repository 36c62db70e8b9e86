"""Bearer tokens for logins: checked with a key of ours, or by asking who issued them (RFC 7662).

What was good is remembered for a minute, and not beyond its expiry: as an HMAC under a
key that lives only in this process, never as the token.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import field
from typing import Final, Protocol
from urllib.parse import quote_plus, urlencode

from postroad.adapters.http_client import HttpError, address, post
from postroad.adapters.oauth_keys import KeyRing
from postroad.mail.frozen import dataclass
from postroad.mail.jwt import Demands, TokenError, account_of, parse_jwt
from postroad.mail.printable import printable
from postroad.ports.clock import Clock
from postroad.ports.logins import LoginsUnavailable

REMEMBERED_SECONDS: Final = 60.0
REMEMBERED: Final = 10_000
ANSWER_LONGEST: Final = 64 * 1024
AT_ONCE: Final = 8


class Claims(Protocol):
    async def of(self, token: str) -> Mapping[str, object] | None:
        """What the token says, verified; None where it is not good. Raises LoginsUnavailable."""
        ...


class OAuthTokens:
    """`ports.logins.Tokens`. `expires`: tokens must say when they do, as a JWT has to."""

    def __init__(
        self, claims: Claims, demands: Demands, clock: Clock, *, expires: bool, configuration: str = ""
    ) -> None:
        self._claims = claims
        self._demands = demands
        self._clock = clock
        self._expires = expires
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, tuple[str, float]] = {}
        self.scope = demands.scope
        self.configuration = configuration

    async def check(self, token: str) -> str | None:
        """See `ports.logins.Tokens`."""
        mark, now = hmac.digest(self._key, token.encode(), "sha256"), self._clock.now()
        account, until = self._known.get(mark, ("", 0.0))
        if now < until:
            return account
        claims = await self._claims.of(token)
        if claims is None:
            return None
        try:
            account = account_of(claims, self._demands, now, expires=self._expires)
        except TokenError:
            return None
        self._remember(mark, account, claims, now)
        return account

    def _remember(self, mark: bytes, account: str, claims: Mapping[str, object], now: float) -> None:
        end = claims.get("exp")
        until = now + REMEMBERED_SECONDS
        if isinstance(end, int | float):
            until = min(until, float(end))
        self._known.pop(mark, None)
        while len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[mark] = (account, until)


class SignedClaims:
    """`Claims` of JWTs, by public keys of the issuer's."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    async def of(self, token: str) -> Mapping[str, object] | None:
        """One signature: a fraction of a millisecond."""
        try:
            jwt = parse_jwt(token)
        except TokenError:
            return None
        return jwt.claims if self._keys.verify(jwt.algorithm, jwt.signed, jwt.signature) else None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask, over TLS unless it is here, as whom, and for how many seconds at most."""

    url: str
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    timeout: float = 5.0


class AskedClaims:
    """`Claims` as the introspection endpoint tells them (RFC 7662). Raises ValueError for a bad address."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._to = address(endpoint.url)
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def of(self, token: str) -> Mapping[str, object] | None:
        try:
            async with asyncio.timeout(2 * self._endpoint.timeout), self._at_once:
                async with asyncio.timeout(self._endpoint.timeout):
                    status, answer = await self._ask(token)
        except TimeoutError:
            raise LoginsUnavailable(f"{self._to.authority}: no answer in time") from None
        except HttpError as error:
            raise LoginsUnavailable(printable(str(error))) from None
        if status != 200:
            raise LoginsUnavailable(f"{self._to.authority}: answered with HTTP status {status}")
        try:
            found = json.loads(answer)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise LoginsUnavailable(f"{self._to.authority}: answered with what is no JSON object")
        return found if found.get("active") is True else None

    async def _ask(self, token: str) -> tuple[int, bytes]:
        endpoint = self._endpoint
        fields = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
        if endpoint.client_id:
            # RFC 6749 2.3.1: both are form-encoded first.
            pair = f"{quote_plus(endpoint.client_id)}:{quote_plus(endpoint.client_secret)}"
            fields.append(("Authorization", "Basic " + b64encode(pair.encode()).decode()))
        form = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        return await post(self._to, fields, _once(form), len(form), most=ANSWER_LONGEST)


async def _once(octets: bytes) -> AsyncIterator[bytes]:
    yield octets
