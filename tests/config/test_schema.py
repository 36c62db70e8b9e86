"""The JSON Schema says of a configuration what the loader says, as far as a schema can."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from postroad.config import values
from postroad.config.keys import keys
from postroad.config.problems import BadValue
from postroad.config.reference import entry_of, read_reference
from postroad.config.schema import schema
from postroad.config.shipped import shipped
from postroad.config.spelling import is_secret, schema_of
from postroad.config.values import Reader

SHIPPED = (Path(__file__).parents[2] / "conf" / "postroad.toml").read_text()
TABLES = read_reference(SHIPPED)
SCHEMA = schema(TABLES)
VALID = Draft202012Validator(SCHEMA)
KNOWN = keys(Path())


def readers() -> Iterator[tuple[str, str, Reader]]:
    for name, table in {"": KNOWN.top, **KNOWN.tables, **KNOWN.repeated, **KNOWN.named}.items():
        for key, reader in table.items():
            yield name, key, reader


def faults(text: str) -> list[str]:
    return [error.message for error in VALID.iter_errors(tomllib.loads(text))]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_shipped_file_is_the_one_that_was_read() -> None:
    assert shipped("conf/postroad.toml").read_text() == SHIPPED


@pytest.mark.parametrize("pattern", ["#(?=[a-z0-9_]+ = )", r"(#{1,2} ?(?=[a-z0-9_]+ = )|## (?=\[))"])
def test_the_shipped_file_with_its_defaults_and_its_examples_is_valid(pattern: str) -> None:
    assert faults(re.sub(f"(?m)^{pattern}", "", SHIPPED)) == []


@pytest.mark.parametrize(("table", "key", "reader"), list(readers()))
def test_every_key_says_how_its_values_are_spelled(table: str, key: str, reader: Reader) -> None:
    where = f"{table}.{key}".lstrip(".")
    assert schema_of(reader) is not None, f"{where}: give its reader @spelled(...) (postroad.config.spelling)"
    assert entry_of(TABLES, table, key) is not None, f"{where}: one line of why in conf/postroad.toml"


def test_what_is_a_password_or_a_secret_is_marked_as_one() -> None:
    secrets = {f"{table}.{key}" for table, key, reader in readers() if is_secret(reader)}
    named = {f"{table}.{key}" for table, key, _ in readers() if re.search("password|secret|token$", key)}
    assert secrets == named != set()


@pytest.mark.parametrize(
    "text",
    [
        "zzz = 1",
        "hostname = 1",
        "[submission]\nmax_recipients = 0",
        '[submission]\nmax_message_size = "5 miles"',
        "[retry]\nschedule = []",
        '[retry]\nschedule = ["soon"]',
        '[log]\nformat = "xml"',
        "[[listener]]\nport = 25",
        '[[listener]]\nmode = "777a"',
        "[account.anna]\nlanes = 1",
        "[account_defaults]\nenabled = 1",
        '[[policy]]\nactions = { reject = "hodl" }',
    ],
)
def test_mistakes_are_mistakes_in_an_editor_too(text: str) -> None:
    assert faults(text)


SPELLINGS = st.one_of(
    st.from_regex(r"[0-9]{1,3}(w|d|h|m|s|ms)([0-9]{1,3}(m|s|ms))?", fullmatch=True),
    st.from_regex(r"[0-9]{1,5} ?(B|[KMG]iB|[KMGk]B)", fullmatch=True),
    st.from_regex(r"[0-9]{1,3}/([0-9]{1,2})?[smhd]", fullmatch=True),
    st.sampled_from(
        [
            "off",
            "a.example",
            "*",
            "10.0.0.0/8",
            "[::1]:25",
            "unix:/x",
            "systemd:a",
            "a:b",
            "0660",
            "/x",
            "bulk",
        ]
    ),
    st.text(max_size=12),
    st.integers(-10, 2_000_000_000),
    st.booleans(),
)


@given(st.one_of(SPELLINGS, st.lists(SPELLINGS, max_size=2)))
@settings(max_examples=300)
def test_the_schema_refuses_nothing_that_is_read(value: Any) -> None:
    for table, key, reader in readers():
        try:
            reader(value)
        except BadValue:
            continue
        assert Draft202012Validator(dict(schema_of(reader) or {})).is_valid(value), (table, key, value)


def test_a_reader_that_nobody_described_takes_anything_in_an_editor() -> None:
    assert schema_of(lambda value: value) is None
    assert schema_of(values.listed(lambda value: value)) == {"type": "array", "items": {}, "minItems": 1}
