"""`postroad config show` and `config schema`: what holds, where it comes from, how it is written."""

from __future__ import annotations

import json
import os
import tomllib
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postroad.cli.text import say
from postroad.config import ConfigError, load_sound
from postroad.config.keys import Keys, Readers, keys
from postroad.config.places import KeyPath, Places
from postroad.config.problems import BadValue
from postroad.config.reference import Table, read_reference, table_of
from postroad.config.schema import schema
from postroad.config.shipped import shipped
from postroad.config.sources import read_all
from postroad.config.spelling import is_secret
from postroad.config.values import Reader

HIDDEN = "(secret)"
ELSEWHERE = ("file:", "env:", "credential:")


@dataclass(frozen=True, slots=True)
class Shown:
    """One key below its table's header; `changed`: a file set it to something else than the default."""

    path: KeyPath
    header: str
    value: Any
    changed: bool

    @property
    def key(self) -> str:
        return str(self.path[-1])


def show_schema() -> int:
    print(json.dumps(schema(reference()), indent=2))
    return os.EX_OK


def reference() -> list[Table]:
    return read_reference(shipped("conf/postroad.toml").read_text("utf-8"))


def show(path: str, args: Namespace) -> int:
    """What cannot be read as TOML raises ConfigError; a key that is wrong is left out and told of."""
    known = keys(Path(path).absolute().parent)
    if args.defaults:
        document, places = dict[str, Any](), Places()
    else:
        merged = read_all(Path(path), known)
        document, places = merged.document, merged.places
    found = list(_keys(document, known, reference(), {} if args.defaults else _computed(path)))
    if args.changed:
        found = [each for each in found if each.changed]
    if args.json:
        _print_json(found, places)
    else:
        _print_toml(found, places if args.origin else None)
    return os.EX_OK


def _computed(path: str) -> dict[str, str]:
    """What is taken from the machine where no file says it."""
    try:
        config = load_sound(path)
    except ConfigError:
        return {}
    return {"hostname": config.hostname, "origin": config.origin}


def _keys(
    document: Mapping[str, Any], known: Keys, tables: list[Table], computed: Mapping[str, str]
) -> Iterator[Shown]:
    """Every key that is set and known, and every default, in the order of the reference."""
    defaults = {name: value for name, value in computed.items() if value}
    yield from _table((), "", document, known.top, table_of(tables, ""), defaults)
    for table in tables[1:]:
        value = document.get(table.name)
        if table.name in known.tables:
            mine = value if isinstance(value, dict) else {}
            yield from _table((table.name,), f"[{table.name}]", mine, known.tables[table.name], table)
    for name, readers in known.repeated.items():
        entries = document.get(name)
        for n, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, dict):
                yield from _table((name, n), f"[[{name}]]", entry, readers, None)
    for name, readers in known.named.items():
        named = document.get(name)
        for key, entry in (named if isinstance(named, dict) else {}).items():
            if isinstance(entry, dict):
                yield from _table((name, key), f"[{name}.{toml(key)}]", entry, readers, None)


def _table(
    path: KeyPath,
    header: str,
    values: Mapping[str, Any],
    readers: Readers,
    table: Table | None,
    computed: Mapping[str, str] | None = None,
) -> Iterator[Shown]:
    defaults: dict[str, Any] = {}
    for entry in table.entries if table else ():
        if entry.is_default:
            defaults[entry.key] = tomllib.loads(f"x = {entry.value}")["x"]
    ordered = [entry.key for entry in table.entries] if table else []
    for key in [*ordered, *(key for key in values if key not in ordered)]:
        reader = readers.get(key)
        if reader is None:
            continue
        if key in values:
            changed = key not in defaults or not _same(reader, values[key], defaults[key])
            yield Shown((*path, key), header, _safe(reader, values[key]), changed)
        elif key in defaults or (computed and key in computed):
            default = (computed or {}).get(key, defaults.get(key))
            yield Shown((*path, key), header, default, changed=False)


def _same(reader: Reader, value: object, default: object) -> bool:
    try:
        return bool(reader(value) == reader(default))
    except BadValue:
        return False


def _safe(reader: Reader, value: Any) -> Any:
    """A secret is never shown; where it lies is."""
    if is_secret(reader) and not (isinstance(value, str) and value.startswith(ELSEWHERE)):
        return HIDDEN
    return value


def _print_toml(found: list[Shown], places: Places | None) -> None:
    before: KeyPath = ()
    for each in found:
        if each.path[:-1] != before:
            before = each.path[:-1]
            say()
            say(each.header)
        line = f"{each.key} = {toml(each.value)}"
        say(line if places is None else f"{line}  # {_origin(each.path, places)}")


def _origin(path: KeyPath, places: Places) -> str:
    place, before = places.of(*path), places.overridden.get(path)
    if place is None:
        return "default"
    return f"{place}, in place of {before}" if before else str(place)


def _print_json(found: list[Shown], places: Places) -> None:
    """One object a line, one line a key."""
    for each in found:
        place, before = places.of(*each.path), places.overridden.get(each.path)
        table = each.path[:-1]
        line = {
            "table": table[0] if table else "",
            "entry": table[1] if len(table) > 1 else None,
            "key": each.key,
            "value": each.value,
            "origin": str(place) if place else None,
            "overrides": str(before) if before else None,
            "changed": each.changed,
        }
        print(json.dumps(line, default=str))


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        inside = ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return str(value)
