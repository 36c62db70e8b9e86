"""SMTP replies as values (RFC 5321 4.2, RFC 2034 enhanced codes)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: code, text lines without code and enhanced code, and the RFC 3463 code if it had one.

    `enhanced` ("5.1.1") is kept only when its class is the code's first digit.
    """

    code: int
    lines: tuple[str, ...] = ()
    enhanced: str | None = None

    @property
    def kind(self) -> int:
        """2 completed, 3 go on, 4 temporary, 5 permanent."""
        return self.code // 100

    @property
    def text(self) -> str:
        return " ".join(line for line in self.lines if line)

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced or "", self.text) if part)
