"""Traps around what the storage path asks of the disk: each call becomes what `around` makes of it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from postroad.adapters import sqlite_changes, sqlite_files

Call = Callable[..., Any]


def install(around: Callable[[str, Call], Call], calls: Iterable[str], changes: Iterable[str]) -> None:
    """Around these calls of the operating system, these changes of the index, and its "commit"."""
    for name in calls:
        setattr(os, name, around(name, getattr(os, name)))
    for name in changes:
        real = getattr(sqlite_changes.Changes, name)
        setattr(sqlite_changes.Changes, name, around(name, real))

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            step = around("commit", super().execute) if sql == "COMMIT" else super().execute
            cursor: sqlite3.Cursor = step(sql, *arguments)
            return cursor

    real_connect = sqlite3.connect
    sqlite_files.sqlite3.connect = lambda *a, **k: real_connect(*a, **k, factory=Connection)  # type: ignore[attr-defined]
