"""Events -> log lines, by the port `Events`: for people, for programs, or as Postfix would say it.

Every message takes this path three times, so that lines are built straight from the
event; structlog says how those for people look.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from io import FileIO
from traceback import format_exception
from typing import Any, Protocol

import msgspec

from postroad.adapters.journal_console import ConsoleLines
from postroad.adapters.journal_fields import (
    ERROR,
    LEVEL_NAMES,
    LEVELS,
    WARNING,
    Entry,
    Stamp,
    clean,
    entries,
)
from postroad.adapters.journal_postfix import PostfixLines
from postroad.adapters.journal_writer import ByteStream, LineWriter
from postroad.mail.events import Event
from postroad.mail.message import Instant

CAPACITY = 10_000
FLUSH_SECONDS = 2.0
# sd-daemon(3): the syslog priority of a line as its prefix.
_PRIORITIES = {10: b"<7>", 20: b"<6>", 30: b"<4>", 40: b"<3>"}

Line = tuple[int, bytes]


class Renderer(Protocol):
    """One format: lines with their levels, without line ends."""

    def event(self, now: Instant, event: Event, least: int) -> Iterable[Line]: ...

    def entry(self, now: Instant, entry: Entry) -> Iterable[Line]:
        """What is not an event: the journal's own words, and what libraries log."""
        ...


class Journal:
    """The log. `emit` never raises and never waits; `close` writes what is buffered."""

    def __init__(
        self,
        format: str = "console",
        level: str = "info",
        stream: ByteStream | None = None,
        *,
        hostname: str = "localhost",
        now: Callable[[], Instant] = time.time,
        environ: Mapping[str, str] = os.environ,
        colors: bool | None = None,
        pid: int | None = None,
        capacity: int = CAPACITY,
    ) -> None:
        """`format` and `level` as in LogConfig; without a `stream`: stderr.

        `colors` None: when the stream is a terminal and $NO_COLOR is not set.
        """
        self._stream = FileIO(2, "w", closefd=False) if stream is None else stream
        self._now = now
        self._least = LEVELS[level]
        self._prefixed = under_journald(self._stream, environ)
        if colors is None:
            colors = is_terminal(self._stream) and not environ.get("NO_COLOR")
        self._renderer = renderer(format, hostname, os.getpid() if pid is None else pid, colors)
        self._handler: _LibraryHandler | None = None
        self._writer = LineWriter(self._stream, capacity, self._dropped_line)

    @property
    def dropped(self) -> int:
        """Lines lost since the start because nobody took them."""
        return self._writer.dropped

    def emit(self, event: Event) -> None:
        now = self._now()
        try:
            for level, text in self._renderer.event(now, event, self._least):
                self._writer.put(_PRIORITIES[level] + text if self._prefixed else text)
        except Exception as error:
            self._unrenderable(now, event, error)

    def log(self, level: int, name: str, **fields: Any) -> None:
        """What is not an event of the mail; `fields` of str, int, list of str or None."""
        if level >= self._least:
            for line in self._renderer.entry(self._now(), Entry(level, name, _clean_fields(fields))):
                self._put(line)

    def adopt_logging(self) -> None:
        """Take over what libraries log through `logging`, at warning and above, until `close`."""
        self._handler = _LibraryHandler(self)
        root = logging.getLogger()
        root.addHandler(self._handler)
        root.setLevel(logging.WARNING)
        # These two say something about every command and every slow callback.
        for name in ("mail.log", "asyncio"):
            logging.getLogger(name).setLevel(logging.WARNING)

    def flush(self, timeout: float = FLUSH_SECONDS) -> None:
        """Return when all that was told so far is written; blocks, `timeout` seconds at most."""
        self._writer.flush(timeout)

    def close(self, timeout: float = FLUSH_SECONDS) -> None:
        """Flush, waiting at most `timeout` seconds for a reader that is stuck."""
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            self._handler = None
        self._writer.close(timeout)

    def _put(self, line: Line) -> None:
        level, text = line
        self._writer.put(_PRIORITIES[level] + text if self._prefixed else text)

    def _unrenderable(self, now: Instant, event: object, error: Exception) -> None:
        """A bug in a renderer costs a line, not a message."""
        fields = {"class": type(event).__name__, "text": clean(repr(error))}
        for line in self._renderer.entry(now, Entry(ERROR, "unrenderable-event", fields)):
            self._put(line)

    def _dropped_line(self, count: int) -> bytes:
        entry = Entry(WARNING, "lines-dropped", {"count": count})
        (_, text), *_ = self._renderer.entry(self._now(), entry)
        return _PRIORITIES[WARNING] + text if self._prefixed else text


def renderer(format: str, hostname: str, pid: int, colors: bool) -> Renderer:
    """The renderer of a `log.format`; KeyError for a name that the configuration does not know."""
    made: dict[str, Callable[[], Renderer]] = {
        "json": JsonLines,
        "console": lambda: ConsoleLines(colors),
        "postfix": lambda: PostfixLines(hostname, pid),
    }
    return made[format]()


class JsonLines:
    """One object a line: `ts`, `level`, `event`, and the event's fields."""

    def __init__(self) -> None:
        self._stamp = Stamp()
        self._encode = msgspec.json.Encoder().encode

    def event(self, now: Instant, event: Event, least: int) -> Iterable[Line]:
        ts = self._stamp(now)
        lines: list[Line] = []
        for level, name, fields, to in entries(event, least):
            said = {"ts": ts, "level": LEVEL_NAMES[level], "event": name, **fields}
            for address in to[:-1]:
                lines.append((level, self._encode(said | {"to": address})))
            if to:
                said["to"] = to[-1]
            lines.append((level, self._encode(said)))
        return lines

    def entry(self, now: Instant, entry: Entry) -> Iterable[Line]:
        level, name, fields, _ = entry
        said = {"ts": self._stamp(now), "level": LEVEL_NAMES[level], "event": name, **fields}
        return ((level, self._encode(said)),)


class _LibraryHandler(logging.Handler):
    """A record of `logging` as an entry named "library"."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        try:
            trace = _trace(record)
            level = ERROR if record.levelno >= logging.ERROR else WARNING
            self._journal.log(level, "library", logger=record.name, text=record.getMessage(), trace=trace)
        except Exception:
            self._journal.log(WARNING, "library", logger=record.name, text=str(record.msg)[:1000])


def _trace(record: logging.LogRecord) -> list[str]:
    if not record.exc_info or record.exc_info[1] is None:
        return []
    return "".join(format_exception(record.exc_info[1])).splitlines()


def _clean_fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: _clean_value(value) for key, value in fields.items()}


def _clean_value(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    return [clean(item) for item in value] if isinstance(value, list) else value


def under_journald(stream: ByteStream, environ: Mapping[str, str]) -> bool:
    """Whether the stream is the one `$JOURNAL_STREAM` speaks of (systemd.exec(5)): device:inode."""
    named = environ.get("JOURNAL_STREAM")
    if not named:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def is_terminal(stream: ByteStream) -> bool:
    try:
        return os.isatty(stream.fileno())
    except (OSError, ValueError):
        return False
