"""Events for people: structlog's lines, at a fraction of its cost.

structlog renders an entry in some 40 us, on a path that every message takes three
times. So it renders one pattern for each kind of line, and the lines of events are
that pattern filled in; what is not an event it renders itself.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

import structlog

from postroad.adapters.journal_fields import INFO, LEVEL_NAMES, Entry, entries
from postroad.mail.events import Event
from postroad.mail.message import Instant

# In a pattern they stand for the time, a key and a value, in a line for the recipient; no entry holds them.
_TIME, _KEY, _VALUE, _TO = "\x00", "\x01", "\x02", "\x03"


# What makes structlog put a text between quotes.
_quoted = re.compile("[ \t\r\n=\"']").search


def _shown(value: object) -> str:
    return value if isinstance(value, str) and not _quoted(value) else repr(value)


class _Rendered:
    """The end of structlog's chain: hands the rendered line back to the caller."""

    def msg(self, line: str) -> str:
        return line

    debug = info = warning = error = msg


class ConsoleLines:
    """Local time, level, name, fields that say something, coloured on request."""

    def __init__(self, colors: bool) -> None:
        self._log = structlog.wrap_logger(
            _Rendered(),
            processors=[structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False, pad_event_to=15)],
            wrapper_class=structlog.BoundLogger,
        ).bind()
        self._heads: dict[tuple[int, str], tuple[str, str]] = {}
        self._before_key, self._after_key, self._after_value = self._field()
        self._second = -1
        self._stamp = ""

    def event(self, now: Instant, event: Event, least: int) -> Iterable[tuple[int, bytes]]:
        lines: list[tuple[int, bytes]] = []
        for level, name, fields, to in entries(event, least):
            if len(to) > 1:
                lines.extend(self._alike(now, level, name, fields, to))
                continue
            trace = fields.pop("trace", ())
            lines.append((level, self._filled(now, level, name, fields)))
            lines.extend((level, f"    {line}".encode()) for line in trace)
        return lines

    def _alike(
        self, now: Instant, level: int, name: str, fields: dict[str, Any], to: list[str]
    ) -> Iterable[tuple[int, bytes]]:
        """Lines that differ in their recipient alone are that line filled in."""
        before, after = self._filled(now, level, name, {**fields, "to": _TO}).split(_TO.encode())
        return [(level, before + _shown(address).encode() + after) for address in to]

    def entry(self, now: Instant, entry: Entry) -> Iterable[tuple[int, bytes]]:
        level, name, fields, _ = entry
        said = {key: value for key, value in fields.items() if value not in (None, "", [], ())}
        trace = said.pop("trace", ())
        yield level, self._rendered(level, name, self._local(now), **said).rstrip().encode()
        for line in trace:
            yield level, f"    {line}".encode()

    def _rendered(self, level: int, name: str, stamp: str, **fields: Any) -> str:
        word = LEVEL_NAMES[level]
        text: str = getattr(self._log, word)(name, timestamp=stamp, level=word, **fields)
        return text

    def _local(self, now: Instant) -> str:
        second = int(now)
        if second != self._second:
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
            self._second = second
        return self._stamp

    # --- patterns --------------------------------------------------------------------

    def _field(self) -> tuple[str, str, str]:
        """What stands before a key, between it and its value, and after the value."""
        first, second, after_value = self._pattern(INFO, "")
        after_key = first.partition(_KEY)[2]
        before_key = second[len(after_value) + 1 : -len(after_key) - 1]
        return before_key, after_key, after_value

    def _pattern(self, level: int, name: str) -> list[str]:
        """A line of two fields, cut where their values are: the second shows where one begins."""
        return self._rendered(level, name, _TIME, **{_KEY: _VALUE, "-": _VALUE}).split(_VALUE)

    def _head(self, level: int, name: str) -> tuple[str, str]:
        """What stands before the time, and after it up to the first field."""
        before, _, after = self._pattern(level, name)[0].partition(_KEY)[0].partition(_TIME)
        return before, after[: len(after) - len(self._before_key) - 1]

    def _filled(self, now: Instant, level: int, name: str, fields: dict[str, Any]) -> bytes:
        head = self._heads.get((level, name))
        if head is None:
            head = self._heads[level, name] = self._head(level, name)
        before_key, after_key, after_value = self._before_key, self._after_key, self._after_value
        parts = [
            f"{before_key}{key}{after_key}{_shown(value)}{after_value}"
            for key, value in fields.items()
            if value is not None and value != "" and value != []
        ]
        return f"{head[0]}{self._local(now)}{head[1]} {' '.join(parts)}".rstrip().encode()
