"""`postroad account show NAME`: what an account may send, and what is left of its quotas."""

from __future__ import annotations

import json
import os
import time
from dataclasses import fields
from enum import Enum

from postroad.cli.client import config_for
from postroad.cli.text import say
from postroad.config.model import Config
from postroad.mail.account import AccountPolicy, Rate
from postroad.mail.quota import Charge, Quota, Used, first_hour, hour_of, quotas
from postroad.mail.timestamps import rfc3339


def show(config: str, name: str, *, as_json: bool) -> int:
    settings = config_for(config)
    table, policy = settings.accounts.of(name)
    hour = hour_of(time.time())
    left = list(quotas(policy, _used(settings, name, hour)))
    shown = {field.name: _value(getattr(policy, field.name)) for field in fields(AccountPolicy)}
    told = f'[account."{table}"]' if table is not None else "[account_defaults]"
    if as_json:
        print(
            json.dumps({"account": name, "table": told, "policy": shown, "quotas": [_quota(q) for q in left]})
        )
        return os.EX_OK
    say(f"{name}: {told}")
    for key, value in shown.items():
        if value is not None:
            say(f"  {key:<24} {', '.join(value) if isinstance(value, list) else json.dumps(value)}")
    for quota in left:
        say(f"  quota: {quota}")
    return os.EX_OK


def _used(settings: Config, name: str, hour: int) -> Used:
    """What the index has of this day; nothing where there is none yet."""
    used = Used(hour)
    if not settings.index_path.exists():
        return used
    for charge in _charges(settings, first_hour(hour)):
        if charge.account == name:
            # The current hour comes last, and with it the day is complete.
            used = used.at(charge.hour).plus(charge)
    return used.at(hour)


def _charges(settings: Config, since: int) -> list[Charge]:
    from postroad.cli.queue import look

    return look(settings, lambda index: index.charges(since))


def _quota(quota: Quota) -> dict[str, object]:
    return {
        "of": quota.of,
        "per": quota.per,
        "limit": quota.limit,
        "used": quota.used,
        "left": quota.left,
        "until": rfc3339(quota.until),
    }


def _value(value: object) -> object:
    """As the configuration spells it, near enough to be read."""
    if isinstance(value, Rate):
        return f"{value.count}/{value.seconds:g}s"
    if isinstance(value, Enum):
        return value.name.lower()
    return list(value) if isinstance(value, tuple) else value
