"""Readers of values that know how their values are spelled, in the words of JSON Schema (draft 2020-12).

`config schema` is made of these, so what an editor is told and what the loader takes
come from one place. A schema may be wider than its reader, which also looks at files
and other keys; it must never refuse what the reader takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Schema = Mapping[str, Any]


class Spelled(Generic[T]):
    """A reader with its schema. `secret`: its value is for nobody's eyes, unless it says where it lies."""

    def __init__(self, read: Callable[[object], T], schema: Schema, secret: bool) -> None:
        self._read = read
        self.schema = schema
        self.secret = secret
        self.__doc__ = read.__doc__

    def __call__(self, value: object) -> T:
        return self._read(value)


def spelled(schema: Schema, *, secret: bool = False) -> Callable[[Callable[[object], T]], Spelled[T]]:
    """Makes a function of a TOML value a reader that `config schema` can tell of."""
    return lambda read: Spelled(read, schema, secret)


def schema_of(reader: Callable[[object], Any]) -> Schema | None:
    """None: nobody has said how its values are spelled."""
    return reader.schema if isinstance(reader, Spelled) else None


def is_secret(reader: Callable[[object], Any]) -> bool:
    return isinstance(reader, Spelled) and reader.secret


def matching(pattern: str, *, empty: bool = False) -> Schema:
    """A text that matches a regular expression (ECMA 262, the whole of it)."""
    return {"type": "string", "pattern": f"^(?:{pattern})$", **({} if empty else {"minLength": 1})}


TEXT: Schema = {"type": "string", "minLength": 1}
