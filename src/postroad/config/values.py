"""How the file spells its values: texts, numbers, words to choose from, lists and tables of them.

Each reader takes what `tomllib` made of a value and answers what the program
uses, or raises BadValue with a text that shows how it is spelled. Readers of
one subject are beside this: `measures`, `names`, `hosts`, `accounts`, `doors`, `files`.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from postroad.config.problems import BadValue, KeyPath, shown
from postroad.config.spelling import TEXT, schema_of, spelled

Reader = Callable[[object], Any]
MOST = 1_000_000_000


@spelled(TEXT)
def text(value: object) -> str:
    if not isinstance(value, str):
        raise BadValue(f"expected a text in quotes, got {shown(value)}")
    if not value or not value.isprintable():
        raise BadValue("expected a text that is not empty and has no control characters")
    return value


@spelled({"type": "boolean"})
def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadValue(f"expected true or false, got {shown(value)}")
    return value


def number(low: int, high: int) -> Reader:
    """A whole number from low to high, both allowed."""

    @spelled({"type": "integer", "minimum": low, "maximum": high})
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadValue(f"expected a whole number, got {shown(value)}")
        if not low <= value <= high:
            raise BadValue(f"expected a number from {low} to {high}, got {value}")
        return value

    return read


def choice(*allowed: str) -> Reader:
    @spelled({"enum": list(allowed)})
    def read(value: object) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        listed = ", ".join(f'"{word}"' for word in allowed)
        raise BadValue(f"expected one of {listed}, got {shown(value)}{did_you_mean(value, allowed)}")

    return read


def did_you_mean(word: object, known: tuple[str, ...] | list[str]) -> str:
    """`; did you mean "x"?` where one of the known words is near, else nothing."""
    if not isinstance(word, str):
        return ""
    folded = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), folded, n=1)
    return f'; did you mean "{folded[near[0]]}"?' if near else ""


def listed(reader: Reader, *, empty: bool = False) -> Reader:
    """A list of what the reader reads, as a tuple; every bad item is told."""

    @spelled({"type": "array", "items": schema_of(reader) or {}, **({} if empty else {"minItems": 1})})
    def read(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise BadValue(f"expected a list in brackets, got {shown(value)}")
        if not value and not empty:
            raise BadValue("the list is empty; leave the key out for the default")
        faults: list[tuple[KeyPath, str]] = []
        items = []
        for n, item in enumerate(value):
            try:
                items.append(reader(item))
            except BadValue as bad:
                faults += [((n, *path), why) for path, why in bad.faults]
        if faults:
            raise BadValue(*faults)
        return tuple(items)

    return read


def mapping(known: tuple[str, ...], reader: Reader) -> Reader:
    """A table from these words to what the reader reads, as a tuple of pairs."""

    properties = {key: schema_of(reader) or {} for key in known}

    @spelled({"type": "object", "properties": properties, "additionalProperties": False})
    def read(value: object) -> tuple[tuple[str, Any], ...]:
        if not isinstance(value, dict):
            raise BadValue(f"expected a table in braces, got {shown(value)}")
        faults: list[tuple[KeyPath, str]] = []
        made = []
        for key, item in value.items():
            try:
                if key not in known:
                    raise BadValue(f"unknown here{did_you_mean(key, known)}")
                made.append((key, reader(item)))
            except BadValue as bad:
                faults += [((key, *path), why) for path, why in bad.faults]
        if faults:
            raise BadValue(*faults)
        return tuple(made)

    return read
