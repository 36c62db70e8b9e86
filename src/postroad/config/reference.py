"""`conf/postroad.toml` as the reference of every key, for the manual, the schema and `config show`.

"#key = value" is a default, "## key = value" an example of a key that has none, a
comment explains the keys that follow it, "# --- Title. ---" opens a section.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_SECTION = re.compile(r"# --- (.*) ---")
_HEADER = re.compile(r"(?:#{1,2} ?)?(\[\[?)([a-z0-9_]+)(?:\.(?:\"[^\"]*\"|[a-z0-9_]+))?\]\]?")
_KEY = re.compile(r"(#{1,2}) ?([a-z0-9_]+) = (.*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key: its default as TOML, or an example where `is_default` is false; and what it is for."""

    key: str
    value: str
    is_default: bool
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """The keys of one table. `name` "" is the top of the file; `header` as it is written."""

    name: str
    header: str
    text: str
    entries: list[Entry] = field(default_factory=list)

    def entry(self, key: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.key == key), None)


def read_reference(text: str) -> list[Table]:
    """The tables of the file in their order, the top first."""
    tables = [Table("", "", "")]
    section, comment, fresh = "", list[str](), True
    for line in text.splitlines():
        if found := _SECTION.fullmatch(line):
            section, comment, fresh = found[1], [], True
        elif found := _HEADER.fullmatch(line):
            about = " ".join(comment) if comment and not fresh else section
            header = line.lstrip("# ").strip()
            tables.append(Table(found[2], header, about))
            section, comment, fresh = "", [], True
        elif found := _KEY.fullmatch(line):
            tables[-1].entries.append(Entry(found[2], found[3], found[1] == "#", " ".join(comment)))
            fresh = True
        elif line.startswith("# "):
            comment = [line[2:]] if fresh else [*comment, line[2:]]
            fresh = False
        elif not line:
            fresh = True
    return tables


def table_of(tables: list[Table], name: str) -> Table | None:
    return next((table for table in tables if table.name == name), None)


# Where a key is explained that may also stand elsewhere.
ELSEWHERE = {"route": "delivery", "account": "account_defaults"}


def entry_of(tables: list[Table], name: str, key: str) -> Entry | None:
    """What explains a key of a table, there or where the same key is explained for both."""
    for place in (name, ELSEWHERE.get(name, name)):
        table = table_of(tables, place)
        found = table.entry(key) if table is not None else None
        if found is not None and found.text:
            return found
    return None
