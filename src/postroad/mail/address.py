"""Parse and normalise addresses and domains (RFC 5321 4.1.2, RFC 6531, RFC 5890)."""

from __future__ import annotations

from dataclasses import dataclass


class AddressError(ValueError):
    """Not an address; the text says why and is printable."""


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox: `local` unquoted, case kept; `domain` lower-case A-labels or a literal in brackets."""

    local: str
    domain: str
