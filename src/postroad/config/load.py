"""TOML files become one frozen Config, or a list of everything that is wrong with them."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from postroad.config import accounts, model, names
from postroad.config.consistency import check
from postroad.config.files import Folder, path_in
from postroad.config.keys import LIMIT_FIELDS, OPEN_RELAY_KEY, Keys, Readers, keys
from postroad.config.problems import BadValue, ConfigError, KeyPath, Report, shown
from postroad.config.sources import read_all
from postroad.config.values import did_you_mean
from postroad.mail.account import AccountPolicies, AccountPolicy
from postroad.mail.backoff import RetryPolicy
from postroad.mail.routing import Route, TlsWish
from postroad.mail.throttle import Limits


@dataclass(slots=True)
class Tables:
    """What the file says, read key by key: only keys that are there and right."""

    top: dict[str, Any] = field(default_factory=dict)
    single: dict[str, dict[str, Any]] = field(default_factory=dict)
    repeated: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    named: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)


def load(path: Path | str, kept: Mapping[Path, Path] | None = None) -> model.Config:
    """The configuration in a file and in conf.d/*.toml beside it; paths are relative to its folder.

    Reads the files it names (secrets, certificate, keys), or where one cannot be read what
    was `kept` of it. Raises ConfigError with all problems at once.
    """
    config, tables, report = _parsed(Path(path), kept or {})
    check(config, report, open_relay_wanted=tables.single["submission"].get(OPEN_RELAY_KEY, False))
    if report.problems:
        raise ConfigError(report.problems)
    return config


def load_sound(path: Path | str) -> model.Config:
    """What is right in a file, for commands that are not the daemon; the rest is left at its defaults.

    Whoever looks at the queue or submits may be unable to read the keys, and is not
    stopped by them. Raises ConfigError where the file is no TOML or the state
    directory is wrong.
    """
    config, _, report = _parsed(Path(path), {})
    if not report.sound(("state_directory",)):
        raise ConfigError(report.problems)
    return config


def accounts_file(path: Path | str) -> Path:
    """The accounts file that a file names, existing or not. Raises ConfigError where it names none."""
    path = Path(path)
    merged = read_all(path, keys(path.absolute().parent))
    table = merged.document.get("submission", {})
    named = table.get("accounts") if isinstance(table, dict) else None
    try:
        return Path(path_in(path.absolute().parent)(named))
    except BadValue as bad:
        report = Report(str(path), merged.known)
        reason = "missing; name the file that holds the accounts" if named is None else str(bad)
        report.add(("submission", "accounts"), reason)
        raise ConfigError(report.problems) from None


def _parsed(path: Path, kept: Mapping[Path, Path]) -> tuple[model.Config, Tables, Report]:
    folder = Folder(path.absolute().parent, kept)
    known = keys(folder.base, folder)
    merged = read_all(path, known)
    report = Report(str(path), merged.known, merged.clashes)
    tables = _read(merged.document, known, report)
    config = _config(path, tables, report)
    secret = {
        place.file
        for path, place in merged.places.known.items()
        if folder.plain and _value_at(merged.document, path) in folder.plain
    }
    config = replace(
        config, places=merged.places, files=tuple(folder.named), secret_sources=frozenset(secret)
    )
    return config, tables, report


def _value_at(document: Any, path: KeyPath) -> str | None:
    """A text of the document."""
    try:
        for step in path:
            document = document[step]
    except (LookupError, TypeError):
        return None
    return document if isinstance(document, str) else None


def _read(document: Mapping[str, Any], known: Keys, report: Report) -> Tables:
    names = (*known.top, *known.tables, *known.repeated, *known.named)
    tables = Tables(
        single={name: {} for name in known.tables},
        repeated={name: [] for name in known.repeated},
        named={name: {} for name in known.named},
    )
    for name, value in document.items():
        if name in known.top:
            tables.top |= _keys({name: value}, (), known.top, known, report)
        elif name in known.tables:
            if isinstance(value, dict):
                tables.single[name] = _keys(value, (name,), known.tables[name], known, report)
            else:
                report.add((name,), f"expected one table written [{name}], got {shown(value)}")
        elif name in known.repeated:
            tables.repeated[name] = _entries(value, name, known, report)
        elif name in known.named:
            tables.named[name] = _named(value, name, known, report)
        else:
            report.add((name,), _unknown(name, names, (), known))
    return tables


def _entries(value: object, name: str, known: Keys, report: Report) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        report.add((name,), f"expected tables written [[{name}]], got {shown(value)}")
        return []
    return [_keys(entry, (name, n), known.repeated[name], known, report) for n, entry in enumerate(value)]


def _named(value: object, name: str, known: Keys, report: Report) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict):
        report.add((name,), f'expected tables written [{name}."NAME"], got {shown(value)}')
        return {}
    found: dict[str, dict[str, Any]] = {}
    first: dict[str, KeyPath] = {}
    for key, table in value.items():
        path: KeyPath = (name, key)
        if not isinstance(table, dict):
            hint = (
                f'; [{name}_defaults] is for all, [{name}."NAME"] for one' if key in known.named[name] else ""
            )
            report.add(path, f'expected a table written [{name}."{key}"], got {shown(table)}{hint}')
            continue
        try:
            means = accounts.account_pattern(key)
        except BadValue as bad:
            report.add(path, str(bad))
            continue
        if means in found:
            report.add(path, f"is there twice, in another spelling: {report.where(first[means])}")
        first.setdefault(means, path)
        found[means] = _keys(table, path, known.named[name], known, report)
    return found


def _keys(
    table: Mapping[str, object], path: KeyPath, readers: Readers, known: Keys, report: Report
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key not in readers:
            report.add((*path, key), _unknown(key, tuple(readers), path, known))
            continue
        try:
            found[key] = readers[key](value)
        except BadValue as bad:
            for below, why in bad.faults:
                report.add((*path, key, *below), why)
    return found


def _unknown(key: str, siblings: Sequence[str], path: KeyPath, known: Keys) -> str:
    hint = did_you_mean(key, list(siblings))
    owner = known.owner(key)
    if owner is not None:
        return f"unknown key here; it belongs to {owner}"
    return ("unknown key" if path else "unknown key or table") + hint


# --- from keys to values ---------------------------------------------------------


def _config(path: Path, tables: Tables, report: Report) -> model.Config:
    hostname = tables.top.get("hostname") or _own_name(report)
    single = tables.single
    submission = {key: value for key, value in single["submission"].items() if key != OPEN_RELAY_KEY}
    delivery = _delivery(single["delivery"])
    return model.Config(
        path=path,
        hostname=hostname,
        state_directory=tables.top.get("state_directory", model.STATE_DIRECTORY),
        origin=tables.top.get("origin", hostname),
        user=tables.top.get("user"),
        listeners=tuple(_listener(entry, n, report) for n, entry in enumerate(tables.repeated["listener"])),
        submission=model.SubmissionConfig(**submission),
        content=model.ContentConfig(**single["content"]),
        tls=model.TlsConfig(**single["tls"]),
        certificates=_certificates(tables.repeated["certificate"], report),
        oauth=model.OAuthConfig(**single["oauth"]),
        login=_login(single["login"], tables.repeated["client_certificate"], report),
        queue=model.QueueConfig(**single["queue"]),
        dns=model.DnsConfig(**single["dns"]),
        delivery=delivery,
        routes=tuple(_route(entry, n, delivery) for n, entry in enumerate(tables.repeated["route"], 1)),
        retry=RetryPolicy(**single["retry"]),
        dkim=_dkim(tables.repeated["dkim"], report),
        accounts=_accounts(single["account_defaults"], tables.named["account"]),
        policies=_policies(tables.repeated["policy"], report),
        local=model.LocalConfig(**single["local"]),
        log=model.LogConfig(**single["log"]),
    )


def _own_name(report: Report) -> str:
    if not report.sound(("hostname",)):
        return ""
    name = socket.getfqdn()
    try:
        return str(names.qualified(name))
    except BadValue:
        report.add(
            ("hostname",),
            f"missing, and this machine calls itself {shown(name)}, which is no full name "
            'such as "mail.example.com"',
        )
        return ""


def _listener(entry: Mapping[str, Any], n: int, report: Report) -> model.Listener:
    if "address" not in entry and report.sound(("listener", n, "address")):
        report.add(("listener", n, "address"), 'missing; write for example "127.0.0.1:587"')
    place = entry.get("address", {})
    # A Unix socket tells who is there, and nobody can listen in.
    usual = {"tls": "off", "auth": "off"} if "path" in place else {}
    return model.Listener(**place, **usual | {key: entry[key] for key in entry if key != "address"})


def _login(
    entry: Mapping[str, Any], certificates: Sequence[Mapping[str, Any]], report: Report
) -> model.LoginConfig:
    found: dict[str, str] = {}
    first: dict[str, KeyPath] = {}
    for n, certificate in enumerate(certificates):
        at: KeyPath = ("client_certificate", n)
        _all_of(("fingerprint", "account"), certificate, at, report)
        printed = certificate.get("fingerprint", "")
        if printed in found:
            report.add((*at, "fingerprint"), f"is there twice: {report.where(first[printed])}")
        first.setdefault(printed, (*at, "fingerprint"))
        found[printed] = certificate.get("account", "")
    return model.LoginConfig(**entry, certificates=found)


def _all_of(keys: Sequence[str], entry: Mapping[str, Any], path: KeyPath, report: Report) -> None:
    for key in keys:
        if key not in entry and report.sound((*path, key)):
            report.add((*path, key), "missing")


def _limits(entry: Mapping[str, Any], base: Limits) -> Limits:
    current = {name: getattr(base, name) for name in LIMIT_FIELDS.values()}
    return Limits(**current | {LIMIT_FIELDS[key]: entry[key] for key in LIMIT_FIELDS if key in entry})


def _delivery(entry: Mapping[str, Any]) -> model.DeliveryConfig:
    own = {key: value for key, value in entry.items() if key not in LIMIT_FIELDS}
    return model.DeliveryConfig(**own, limits=_limits(entry, Limits()))


def _route(entry: Mapping[str, Any], n: int, delivery: model.DeliveryConfig) -> Route:
    given = {key: entry[key] for key in ("match", "username", "password") if key in entry}
    if "tls" in entry:
        given["tls"] = TlsWish(entry["tls"])
    if "relay" in entry:
        host, port = entry["relay"]
        given["relay"] = (host, port or delivery.port)
    return Route(name=entry.get("name", f"relay-{n}"), limits=_limits(entry, delivery.limits), **given)


def _accounts(defaults: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> AccountPolicies:
    return AccountPolicies(
        AccountPolicy(**defaults),
        {name: AccountPolicy(**{**defaults, **entry}) for name, entry in tables.items()},
    )


def _certificates(entries: Sequence[Mapping[str, Any]], report: Report) -> tuple[model.Certificate, ...]:
    for n, entry in enumerate(entries):
        _all_of(("certificate", "key"), entry, ("certificate", n), report)
    return tuple(
        model.Certificate(entry["certificate"], entry["key"])
        for entry in entries
        if "certificate" in entry and "key" in entry
    )


def _dkim(entries: Sequence[Mapping[str, Any]], report: Report) -> tuple[model.DkimKey, ...]:
    for n, entry in enumerate(entries):
        _all_of(("domain", "selector", "key"), entry, ("dkim", n), report)
    return tuple(
        model.DkimKey(entry.get("domain", ""), entry.get("selector", ""), entry.get("key", Path()))
        for entry in entries
    )


def _policies(entries: Sequence[Mapping[str, Any]], report: Report) -> tuple[model.PolicyConfig, ...]:
    made = []
    for n, entry in enumerate(entries):
        at: KeyPath = ("policy", n)
        if report.sound((*at, "hook"), (*at, "rspamd")) and ("hook" in entry) == ("rspamd" in entry):
            report.add((*at, "hook"), 'either hook, "package.module:callable", or rspamd, an address')
        for key in ("path",) if "rspamd" in entry else ("password", "max_size", "actions"):
            if key in entry:
                owner = "hook" if key == "path" else "rspamd"
                report.add((*at, key), f"is of use with {owner} alone")
        name = "rspamd" if "rspamd" in entry else str(entry.get("hook", ""))
        made.append(model.PolicyConfig(**{"name": name, **entry}))
    return tuple(made)
