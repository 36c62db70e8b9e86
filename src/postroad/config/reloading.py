"""What a running daemon keeps of its old configuration until it is restarted; a reload takes the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

from postroad.config.model import Config

# Fields of Config as the file calls them.
WHOLE = {
    "hostname": "hostname",
    "state_directory": "state_directory",
    "user": "user",
    "listeners": "listener",
}
# By table those of its keys; none named: all.
PARTS: dict[str, tuple[str, ...]] = {
    "submission": ("accounts",),
    "queue": (),
    "tls": ("client_ca",),
    "login": (
        "dovecot_socket",
        "max_failures_per_address",
        "max_failures_per_account",
        "failure_memory",
        "failure_delay",
    ),
    "oauth": (),
    "dns": (),
    "delivery": ("max_connections", "ca_file"),
    "log": (),
}


def needs_restart(old: Config, new: Config) -> tuple[str, ...]:
    """The keys that differ and that a reload does not take, such as "dns.timeout"."""
    whole = [name for field, name in WHOLE.items() if getattr(old, field) != getattr(new, field)]
    return (*whole, *(f"{table}.{key}" for table, key in _parts(old) if _differ(old, new, table, key)))


def kept(old: Config, new: Config) -> Config:
    """The new configuration but for what needs a restart: that is still the old one's."""
    parts = {
        table: replace(
            getattr(new, table),
            **{key: getattr(getattr(old, table), key) for of, key in _parts(old) if of == table},
        )
        for table in PARTS
    }
    return replace(new, **{field: getattr(old, field) for field in WHOLE}, **parts)


def _parts(config: Config) -> Iterator[tuple[str, str]]:
    for table, keys in PARTS.items():
        yield from ((table, key) for key in keys or [field.name for field in fields(getattr(config, table))])


def _differ(old: Config, new: Config, table: str, key: str) -> bool:
    return bool(getattr(getattr(old, table), key) != getattr(getattr(new, table), key))
