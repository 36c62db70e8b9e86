"""The configuration as JSON Schema (draft 2020-12), for editors, made of the loader's own key tables."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from postroad.config.keys import Keys, Readers, keys
from postroad.config.reference import Table, entry_of, table_of
from postroad.config.spelling import schema_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(tables: list[Table], known: Keys | None = None) -> dict[str, Any]:
    """`tables`: the reference, from which come descriptions and defaults."""
    known = known or keys(Path())
    properties = _properties("", known.top, tables)
    for name, readers in known.tables.items():
        properties[name] = _object(name, readers, tables)
    for name, readers in known.repeated.items():
        properties[name] = {"type": "array", "items": _object(name, readers, tables)}
    for name, readers in known.named.items():
        properties[name] = {"type": "object", "additionalProperties": _object(name, readers, tables)}
    return {
        "$schema": DIALECT,
        "title": "Configuration of Postroad",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _object(name: str, readers: Readers, tables: list[Table]) -> dict[str, Any]:
    table = table_of(tables, name)
    described = {"description": table.text} if table is not None and table.text else {}
    properties = _properties(name, readers, tables)
    return {"type": "object", **described, "properties": properties, "additionalProperties": False}


def _properties(name: str, readers: Readers, tables: list[Table]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, reader in readers.items():
        found: dict[str, Any] = {**(schema_of(reader) or {})}
        entry = entry_of(tables, name, key)
        if entry is not None:
            found["description"] = entry.text
            value = tomllib.loads(f"x = {entry.value}")["x"]
            found |= {"default": value} if entry.is_default else {"examples": [value]}
        made[key] = found
    return made
