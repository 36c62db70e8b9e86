"""What both rivals are asked to be, and what a benchmark may do with each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

LOGIN = ("anna", "correct horse battery")
DOMAIN = "sender.example"
SELECTOR = "s1"


@dataclass(frozen=True, slots=True)
class Wishes:
    """One setting, said in words that each rival turns into its own configuration."""

    # The catch-all relay on 127.0.0.1.
    relay: int
    # Domain -> "address:port" in place of the relay; both then run with their default limits.
    sites: Mapping[str, str] = field(default_factory=dict)
    # STARTTLS and AUTH are demanded from clients, and STARTTLS from the relay. Needs `certificate`.
    tls: bool = False
    # Sign mail of DOMAIN with SELECTOR and this private key, PEM.
    dkim_key: Path | None = None
    # cert.pem and key.pem lie here.
    certificates: Path | None = None
    # The body canonicalisation that both sign with.
    max_message_size: int = 100_000_000


class Rival(Protocol):
    name: str
    port: int

    def start(self) -> None:
        """Return once it takes mail. Raises children.Failed."""
        ...

    def stop(self) -> None:
        """End it and remove all its files."""
        ...

    def pids(self) -> list[int]:
        """The roots of its process trees."""
        ...

    def waiting(self) -> int:
        """Messages in its queue."""
        ...

    def last_words(self) -> str:
        """The end of its log."""
        ...
