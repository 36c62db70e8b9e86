"""Every key of a document is found on the line where it stands."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.config.locate import key_lines
from postroad.config.problems import KeyPath

DOCUMENT = '''\
# a comment = 1
top = 1 # [not.a.table]
"quoted \\u0041" . 'key' = """
[inside]
x = 1 \\"""
"""
[table]
list = [
  "a", # one = 1
  [ "b", { deep = 2 } ],
  """x
y""",
  "c"
]
date = 1979-05-27 07:32:00
[[many]]
name = 'C:\\[[x]]'
[[many]]
[many.below]
name.first = { a = 1, b = { c = "}" } }
  [ "spaced" . out ]
    literal = \'\'\'
k = v\'\'\'
[[many.nested]]
[[many.nested]]
z = -inf
'''

EXPECTED: dict[KeyPath, int] = {
    ("top",): 2,
    ("quoted A",): 3,
    ("quoted A", "key"): 3,
    ("table",): 7,
    ("table", "list"): 8,
    ("table", "list", 0): 9,
    ("table", "list", 1): 10,
    ("table", "list", 1, 0): 10,
    ("table", "list", 1, 1): 10,
    ("table", "list", 1, 1, "deep"): 10,
    ("table", "list", 2): 11,
    ("table", "list", 3): 13,
    ("table", "date"): 15,
    ("many",): 16,
    ("many", 0): 16,
    ("many", 0, "name"): 17,
    ("many", 1): 18,
    ("many", 1, "below"): 19,
    ("many", 1, "below", "name"): 20,
    ("many", 1, "below", "name", "first"): 20,
    ("many", 1, "below", "name", "first", "a"): 20,
    ("many", 1, "below", "name", "first", "b"): 20,
    ("many", 1, "below", "name", "first", "b", "c"): 20,
    ("spaced",): 21,
    ("spaced", "out"): 21,
    ("spaced", "out", "literal"): 22,
    ("many", 1, "nested"): 24,
    ("many", 1, "nested", 0): 24,
    ("many", 1, "nested", 1): 25,
    ("many", 1, "nested", 1, "z"): 26,
}


def paths(value: Any, at: KeyPath = ()) -> set[KeyPath]:
    """Every path below a parsed value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: set[KeyPath] = set()
    for key, below in items:
        found |= {(*at, key)} | paths(below, (*at, key))
    return found


def test_keys_tables_and_items_stand_where_they_are_written() -> None:
    assert set(EXPECTED) == paths(tomllib.loads(DOCUMENT))
    assert key_lines(DOCUMENT) == EXPECTED


KEY = st.sampled_from(["a", "b", '"c d"', "'e.f'", "g-1", "a.b", "a . c"])
VALUE = st.recursive(
    st.sampled_from(
        ["1", "true", '"x"', "'y'", '"# no"', '"""m\n\\"""n"""', "'''o\n'''", '"\\""', "1e5", "07:32:00"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[ " + " , # c ]\n".join(items) + "\n]")
        | st.dictionaries(st.sampled_from(["p", "q"]), inner.filter(lambda v: "#" not in v), max_size=2).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        )
    ),
    max_leaves=4,
)
LINE = st.one_of(
    st.tuples(KEY, VALUE).map(" = ".join),
    KEY.map("[{}]".format),
    KEY.map("[[{}]]".format),
    st.just("# comment"),
    st.just(""),
)


@given(st.lists(LINE, max_size=8))
@settings(max_examples=300)
def test_the_places_are_of_exactly_the_keys_that_the_parser_finds(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        # What is no TOML never gets here; the scanner must only come to an end.
        key_lines(text)
        return
    places = key_lines(text)
    assert set(places) == paths(document)
    assert all(1 <= line <= text.count("\n") + 1 for line in places.values())


@pytest.mark.parametrize("text", ["[", "[[", "a = [", "a = [[[", "a = {", "a = {b", "a", "=", "a = '''", "]"])
def test_what_is_no_toml_comes_to_an_end(text: str) -> None:
    key_lines(text)


@given(st.text(st.sampled_from("[]{}='\"#.,ab \n\\"), max_size=40))
@settings(max_examples=300)
def test_any_text_comes_to_an_end(text: str) -> None:
    key_lines(text)
