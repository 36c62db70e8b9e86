from __future__ import annotations

import pytest

from postroad.mail.shape import Shape


@pytest.mark.parametrize(
    ("units", "bucket"),
    [(0, 1), (1, 2), (2, 3), (3, 3), (4, 4), (7, 4), (8, 5), (255, 9), (256, 10), (10**6, 10)],
)
def test_buckets_double(units: int, bucket: int) -> None:
    shape = Shape()
    shape.add("example.org", units, 3)
    (_, total), (_, counts) = shape.rows()
    assert total == counts == [3, *(3 * (n == bucket) for n in range(1, 11))]


@pytest.mark.parametrize(("units", "bucket"), [(0, 1), (1, 2), (2, 3), (9, 3)])
def test_linear_buckets_are_of_one_size(units: int, bucket: int) -> None:
    shape = Shape(3, linear=True)
    shape.add("example.org", units, 1)
    assert shape.rows()[0][1].index(1, 1) == bucket


@pytest.mark.parametrize(
    ("buckets", "linear", "tick", "heads"),
    [
        (10, False, 5, "T 5 10 20 40 80 160 320 640 1280 1280+"),
        (4, False, 1, "T 1 2 4 4+"),
        (3, True, 60, "T 60 120 120+"),
    ],
)
def test_heads_say_where_a_bucket_ends(buckets: int, linear: bool, tick: int, heads: str) -> None:
    assert Shape(buckets, linear=linear).heads(tick) == heads.split()


def test_the_table_is_as_wide_as_it_may_be_and_names_keep_their_end() -> None:
    shape = Shape(2)
    shape.add("a.very.long.domain.example", 0, 1000)
    shape.add("b.example", 3, 2)
    assert list(shape.lines(5, width=30)) == [
        " " * 18 + "    T    5 5+",
        " " * 13 + "TOTAL" + " 1002 1000  2",
        "+ng.domain.example 1000 1000  0",
        " " * 9 + "b.example    2    0  2",
    ]


def test_domains_above_are_shown_from_so_many_below_them_on() -> None:
    shape = Shape(2, parents=True, least=2)
    for name in ("a.x.example", "b.x.example", "b.x.example", "c.y.example"):
        shape.add(name, 0, 1)
    assert [(name, counts[0]) for name, counts in shape.rows()] == [
        ("TOTAL", 4),
        (".x.example", 3),
        ("b.x.example", 2),
        ("a.x.example", 1),
        ("c.y.example", 1),
    ]
