"""The statements and schema steps that lie beside the code, and opening the index with them."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from postroad.adapters.sqlite_log import KEPT, PAGES
from postroad.ports.storage import StorageBroken

# A program that waits longer for another one's lock is stuck, not patient.
BUSY_TIMEOUT = 5.0
CURE = "to make a new index from the segments: postroad spool rebuild"

_PIECE = re.compile(r"^-- (?P<kind>name|fragment|step): (?P<name>\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"--.*$", re.MULTILINE)


def pieces(text: str, kind: str) -> dict[str, str]:
    """What follows each `-- <kind>: <name>` line up to the next such line, without comments."""
    marks = list(_PIECE.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return {
        mark["name"]: _COMMENT.sub("", text[mark.end() : end]).strip()
        for mark, end in zip(marks, ends, strict=True)
        if mark["kind"] == kind
    }


# Read with the code: whom root became later may not look into its folder.
_TEXTS = {
    name: (files("postroad.adapters") / name).read_text("utf-8") for name in ("queries.sql", "schema.sql")
}


def load_queries() -> dict[str, str]:
    """Statements by name, their fragments put in."""
    text = _TEXTS["queries.sql"]
    fragments = pieces(text, "fragment")
    return {name: query.format(**fragments) for name, query in pieces(text, "name").items()}


def load_steps() -> list[str]:
    """The scripts that make the schema, oldest first."""
    return list(pieces(_TEXTS["schema.sql"], "step").values())


def open_writable(path: Path, log_kept: int = KEPT) -> sqlite3.Connection:
    """The index, made or brought up to date; StorageBroken where that cannot be."""
    try:
        # Made by us, so that nobody else may read it, nor the files SQLite puts beside it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(
            path,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=128,
        )
        try:
            _prepare(connection, log_kept)
        except BaseException:
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise StorageBroken(f"{path}: {error}{cure(error)}") from error
    return connection


def cure(error: Exception) -> str:
    """What helps against an index that is damaged; empty for other errors."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_CORRUPT:
        # SQLite calls it so, too, when the disk answers EIO.
        return f" (or the disk cannot read it: see the kernel's log); {CURE}"
    return f"; {CURE}" if code == sqlite3.SQLITE_NOTADB else ""


def is_new(path: Path) -> bool:
    """Whether there is no index, or an empty file in its place. Raises StorageBroken where it is none."""
    if not path.exists() or not path.stat().st_size:
        return True
    # A power cut while the index was made left it half made; who looks must be able to undo that.
    mode = "rw" if path.with_name(f"{path.name}-journal").exists() else "ro"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True)) as connection:
            (taken,) = connection.execute("PRAGMA user_version").fetchone()
            return bool(taken == 0)
    except sqlite3.Error as error:
        raise StorageBroken(f"{path}: {error}{cure(error)}") from error


def identity_of(path: Path) -> tuple[int, int]:
    """Of which queue an index is and of which run of it, 0: unknown; no index is of none.

    Raises StorageBroken.
    """
    if is_new(path):
        return 0, 0
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            return read_identity(connection)
    except sqlite3.Error as error:
        raise StorageBroken(f"{path}: {error}{cure(error)}") from error


def holds_rows(path: Path) -> bool:
    """Whether an index names messages. Raises StorageBroken."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT 1 FROM message LIMIT 1").fetchone() is not None
    except sqlite3.Error as error:
        raise StorageBroken(f"{path}: {error}{cure(error)}") from error


def read_identity(connection: sqlite3.Connection) -> tuple[int, int]:
    """Raises sqlite3.Error."""
    (number,) = connection.execute("PRAGMA application_id").fetchone()
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'opened'").fetchone():
        return int(number), 0
    (run,) = connection.execute(load_queries()["run"]).fetchone()
    return int(number), int(run)


def write_identity(connection: sqlite3.Connection, number: int, run: int) -> None:
    """Within a transaction. Raises sqlite3.Error."""
    connection.execute(f"PRAGMA application_id = {number:d}")
    connection.execute(load_queries()["open"], (run,))


def _prepare(connection: sqlite3.Connection, log_kept: int) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # A commit that was answered survives a power cut; NORMAL could lose the last ones.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {PAGES:d}")
    connection.execute(f"PRAGMA journal_size_limit = {log_kept:d}")
    connection.execute("PRAGMA cache_size = -32768")
    connection.execute("PRAGMA temp_store = MEMORY")
    _migrate(connection)


def later_than(connection: sqlite3.Connection) -> str:
    """What is to be said of an index of a later version; "" of others. Raises sqlite3.Error."""
    (taken,) = connection.execute("PRAGMA user_version").fetchone()
    known = len(load_steps())
    return f"the index has schema {taken}, this version of Postroad knows {known}" if taken > known else ""


def _migrate(connection: sqlite3.Connection) -> None:
    steps = load_steps()
    (taken,) = connection.execute("PRAGMA user_version").fetchone()
    if later := later_than(connection):
        raise StorageBroken(f"{later}; run the later version that made it, or, {CURE}")
    for number, script in enumerate(steps[taken:], start=taken + 1):
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
    if missing := _expected(steps) - _shape(connection):
        kind, *names = min(missing)
        raise StorageBroken(
            f"the index is of another make than this version of Postroad"
            f" (it has no {kind} {'.'.join(names)}); {CURE}"
        )


def _expected(steps: list[str]) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as model:
        for script in steps:
            model.executescript(script)
        return _shape(model)


def _shape(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    """("index", name), ("column", table, name): indexes of one's own may be there besides."""
    return {
        *connection.execute("SELECT 'index', name FROM sqlite_master WHERE type = 'index'"),
        *connection.execute(
            "SELECT 'column', m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
            " WHERE m.type = 'table'"
        ),
    }
