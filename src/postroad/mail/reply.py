"""SMTP replies as values, and the parser that makes them (RFC 5321 4.2, RFC 2034 enhanced codes)."""

from __future__ import annotations

import re

from postroad.mail.frozen import dataclass
from postroad.mail.printable import one_line, printable

MAX_LINE = 2048
MAX_LINES = 100
MAX_TEXT = 4096
MAX_QUOTED = 200
MAX_REMEMBERED = 64
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?= |$)")
_SEPARATORS = (b" ", b"-", b"\r", b"")


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
        return self.lines[0] if len(self.lines) == 1 else " ".join(filter(None, self.lines))

    def __str__(self) -> str:
        text = self.text
        said = f"{self.code} {self.enhanced}" if self.enhanced else f"{self.code}"
        return f"{said} {text}" if text else said


@dataclass(frozen=True, slots=True)
class ProtocolViolation:
    """What a peer said that is no SMTP reply: why, and a printable piece of it, together `text`."""

    text: str


class ReplyParser:
    """Octets to replies, however they are cut (RFC 5321 4.2.1).

    `feed` answers the replies that are complete. The first thing that is no reply
    sets `violation`, and nothing is read any more; replies before it were answered,
    since a 250 is true whatever follows it. Memory is bounded by the limits above.
    """

    __slots__ = ("_buffer", "_code", "_enhanced", "_kept", "_lines", "_number", "_remembered", "violation")

    def __init__(self) -> None:
        self.violation: ProtocolViolation | None = None
        self._buffer = b""
        # A session hears the same "250 2.1.5 Ok" over and over.
        self._remembered: dict[bytes, Reply] = {}
        self._begin()

    def _begin(self) -> None:
        self._code = b""
        self._enhanced: str | None = None
        self._lines: list[str] = []
        self._number = 0
        self._kept = 0

    @property
    def pending(self) -> bool:
        """Whether part of a reply has been heard."""
        return bool(self._buffer or self._number)

    def feed(self, data: bytes) -> list[Reply]:
        replies: list[Reply] = []
        if self.violation is not None:
            return replies
        if self._buffer:
            data = self._buffer + data
        *lines, self._buffer = data.split(b"\n")
        for line in lines:
            reply = self._remembered.get(line) if not self._number else None
            if reply is None:
                reply = self._line(line)
            if reply is not None:
                replies.append(reply)
            elif self.violation is not None:
                return replies
        if len(self._buffer) > MAX_LINE:
            self._violate("a reply line without end", self._buffer)
        return replies

    def _line(self, line: bytes) -> Reply | None:
        """One line without its LF: the reply that it ends, if it does."""
        why = self._wrong_with(line)
        if why is not None:
            self._violate(why, line)
            return None
        self._number += 1
        self._code = line[:3]
        self._keep(line[4:])
        if line[3:4] == b"-":
            return None
        reply = Reply(int(self._code), tuple(self._lines), self._enhanced)
        if self._number == 1 and len(line) < MAX_QUOTED:
            if len(self._remembered) == MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[line] = reply
        self._begin()
        return reply

    def _wrong_with(self, line: bytes) -> str | None:
        code = line[:3]
        if not (b"200" <= code < b"600" and code.isdigit() and len(code) == 3 and line[3:4] in _SEPARATORS):
            return "not a reply"
        if len(line) > MAX_LINE:
            return "a reply line too long"
        if self._number and code != self._code:
            return f"code changed from {self._code.decode()} within a reply"
        if self._number == MAX_LINES:
            return "a reply of too many lines"
        return None

    def _keep(self, octets: bytes) -> None:
        text = octets.decode("utf-8", "backslashreplace").rstrip()
        if not text.isprintable():
            text = one_line(text, MAX_LINE)
        status = _STATUS.match(text) if text[1:2] == "." else None
        if status is not None and text[0] == chr(self._code[0]) and self._enhanced in (None, status[0]):
            self._enhanced = status[0]
            text = text[status.end() :].lstrip()
        self._lines.append(text[: MAX_TEXT - self._kept])
        self._kept += len(self._lines[-1])

    def _violate(self, why: str, said: bytes) -> None:
        quoted = printable(said[:MAX_QUOTED].decode("utf-8", "backslashreplace").rstrip())[:MAX_QUOTED]
        self.violation = ProtocolViolation(f"{why}: {quoted}")
        self._buffer = b""
