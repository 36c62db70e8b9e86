"""How values are spelled, one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.config import doors, hosts, measures, names, values
from postroad.config.problems import BadValue
from postroad.config.values import Reader

READERS: list[Reader] = [
    values.text,
    values.flag,
    values.number(0, 9),
    values.choice("a", "b"),
    measures.duration,
    measures.size,
    hosts.network,
    doors.listener_address,
    hosts.nameserver,
    hosts.relay,
    names.domain,
    names.qualified,
    names.pattern,
    names.selector,
    names.route_name,
    values.listed(measures.duration),
]


@pytest.mark.parametrize(
    ("spelled", "seconds"),
    [
        ("90s", 90.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("5d", 432000.0),
        ("1w", 604800.0),
        ("250ms", 0.25),
        ("1d1ms", 86400.001),
    ],
)
def test_durations(spelled: str, seconds: float) -> None:
    assert measures.duration(spelled) == seconds


@pytest.mark.parametrize(
    "spelled",
    [
        "",
        "5",
        "m",
        "5 m",
        "-5m",
        "5m1h",
        "1.5h",
        "5M",
        "5min",
        "0s",
        "0h0m",
        "3651d",
        "٥m",
        5,
        5.0,
        True,
        None,
    ],
)
def test_what_is_no_duration(spelled: object) -> None:
    with pytest.raises(BadValue, match="expected a duration"):
        measures.duration(spelled)


@pytest.mark.parametrize(
    ("spelled", "octets"),
    [("25MiB", 26214400), ("50MB", 50_000_000), ("1KiB", 1024), ("1kB", 1000), ("7 B", 7), ("2GiB", 2**31)],
)
def test_sizes(spelled: str, octets: int) -> None:
    assert measures.size(spelled) == octets


@pytest.mark.parametrize("spelled", ["", "25", "25M", "MiB", "1.5MiB", "-1B", "0MiB", "9999GiB", 25, True])
def test_what_is_no_size(spelled: object) -> None:
    with pytest.raises(BadValue, match="expected a size"):
        measures.size(spelled)


@pytest.mark.parametrize(
    ("reader", "spelled", "means"),
    [
        (doors.listener_address, "127.0.0.1:587", ("127.0.0.1", 587)),
        (doors.listener_address, "[::]:0", ("::", 0)),
        (doors.listener_address, "[::1]:25", ("::1", 25)),
        (doors.listener_address, "[0:0::1]:25", ("::1", 25)),
        (hosts.nameserver, "9.9.9.9", ("9.9.9.9", 53)),
        (hosts.nameserver, "2620:fe::fe", ("2620:fe::fe", 53)),
        (hosts.nameserver, "[2620:fe::fe]:5353", ("2620:fe::fe", 5353)),
        (hosts.relay, "SMTP.Example.NET:587", ("smtp.example.net", 587)),
        (hosts.relay, "smtp.example.net", ("smtp.example.net", None)),
        (hosts.relay, "[smtp.example.net]:26", ("[smtp.example.net]", 26)),
        (hosts.relay, "[2001:DB8::1]", ("2001:db8::1", None)),
        (hosts.relay, "[127.0.0.1]:26", ("127.0.0.1", 26)),
        (hosts.relay, "localhost:26", ("localhost", 26)),
        (names.domain, "Bücher.example.", "xn--bcher-kva.example"),
        (names.pattern, "*.EXAMPLE.org", "*.example.org"),
        (names.pattern, "*", "*"),
        (names.selector, "2026_a.S1", "2026_a.s1"),
        (names.route_name, "relay-1", "relay-1"),
    ],
)
def test_addresses_and_names(reader: Reader, spelled: str, means: Any) -> None:
    assert reader(spelled) == means


@pytest.mark.parametrize(
    ("reader", "spelled"),
    [
        (doors.listener_address, "[::]"),
        (doors.listener_address, "::1:25"),
        (doors.listener_address, "127.0.0.1:65536"),
        (doors.listener_address, "127.0.0.1:smtp"),
        (doors.listener_address, "1.2.3:25"),
        (hosts.nameserver, "9.9.9.9:0"),
        (hosts.nameserver, ""),
        (hosts.relay, "a.example:0"),
        (hosts.relay, "[a:b]:25"),
        (hosts.relay, "a.example:25:26"),
        (hosts.relay, "a_b.example"),
        (names.domain, "1.2.3.4"),
        (names.domain, "a..b"),
        (names.domain, "a" * 64 + ".example"),
        (names.domain, "." + "a.b" * 100),
        (names.domain, "-a.example"),
        (names.domain, "\N{SNOWMAN WITHOUT SNOW}\N{ZERO WIDTH JOINER}.example"),
        (names.qualified, "localhost"),
        (names.pattern, "a.*.example"),
        (names.pattern, "*.*"),
        (names.pattern, "*example.org"),
        (names.route_name, "Relay 1"),
        (values.text, "a\nb"),
        (values.text, ""),
    ],
)
def test_what_is_none(reader: Reader, spelled: str) -> None:
    with pytest.raises(BadValue, match=r"^expected|is no domain"):
        reader(spelled)


TOML_VALUES = st.one_of(
    st.text(max_size=20),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.dates(),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.text(st.sampled_from("0123456789.:[]*mhdsKMGiB-/ab"), max_size=20),
)


@given(st.sampled_from(READERS), TOML_VALUES)
def test_any_value_is_taken_or_refused_in_printable_words(reader: Reader, value: object) -> None:
    try:
        reader(value)
    except BadValue as bad:
        told = bad.faults
    else:
        told = []
    assert all(text and text.isprintable() for _, text in told)
