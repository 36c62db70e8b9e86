"""What DNS says, and who asks it."""

from __future__ import annotations

from typing import Protocol

from postroad.mail.frozen import dataclass


@dataclass(frozen=True, slots=True)
class MxRecord:
    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class NoData:
    """The name exists, records of this type do not."""


@dataclass(frozen=True, slots=True)
class NoSuchName:
    """NXDOMAIN."""


@dataclass(frozen=True, slots=True)
class TryLater:
    """No answer to rely on (SERVFAIL, timeout, refused): one printable line says why."""

    text: str


@dataclass(frozen=True, slots=True)
class MxAnswer:
    """MX records as published (order is the decision of `mail.mx`); `ttl` in seconds."""

    records: tuple[MxRecord, ...]
    ttl: float


@dataclass(frozen=True, slots=True)
class AddressAnswer:
    """IPv4 and IPv6 addresses of a host, as text; `ttl` in seconds."""

    v4: tuple[str, ...]
    v6: tuple[str, ...]
    ttl: float


class Resolver(Protocol):
    async def mx(self, domain: str) -> MxAnswer | NoData | NoSuchName | TryLater: ...

    async def addresses(self, host: str) -> AddressAnswer | NoData | NoSuchName | TryLater: ...
