"""What a reload takes and what it leaves for a restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from postroad.config.model import Config, DeliveryConfig, DnsConfig, Listener, LogConfig, SubmissionConfig
from postroad.config.reloading import PARTS, WHOLE, kept, needs_restart

OLD = Config(path=None, hostname="a.example", state_directory=Path("/a"), origin="a.example")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, ()),
        ({"hostname": "b.example"}, ("hostname",)),
        ({"listeners": (Listener("127.0.0.1", 25),)}, ("listener",)),
        ({"dns": DnsConfig(timeout=1.0), "log": LogConfig(level="debug")}, ("dns.timeout", "log.level")),
        ({"origin": "b.example"}, ()),
        ({"submission": SubmissionConfig(max_errors=3)}, ()),
        ({"submission": SubmissionConfig(accounts=Path("/b"), max_errors=3)}, ("submission.accounts",)),
        ({"delivery": DeliveryConfig(port=26, max_connections=3)}, ("delivery.max_connections",)),
    ],
)
def test_what_takes_a_restart_is_named_and_the_rest_is_taken(
    change: dict[str, object], named: tuple[str, ...]
) -> None:
    new = replace(OLD, **change)  # type: ignore[arg-type]
    assert needs_restart(OLD, new) == named
    taken = kept(OLD, new)
    assert needs_restart(OLD, taken) == ()
    assert needs_restart(taken, new) == named
    assert taken.origin == new.origin
    assert taken.submission.max_errors == new.submission.max_errors
    assert taken.delivery.port == new.delivery.port


def test_every_name_is_one_of_the_configuration() -> None:
    assert all(hasattr(OLD, field) for field in WHOLE)
    assert all(hasattr(getattr(OLD, table), key) for table, keys in PARTS.items() for key in keys)
