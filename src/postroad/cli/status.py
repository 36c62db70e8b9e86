"""`postroad status`: what runs and waits now, asked of the daemon, or read from the queue without it."""

from __future__ import annotations

import json
import os

from postroad.adapters.maildrop_names import messages, refused
from postroad.cli.client import config_for, moved, socket_of
from postroad.cli.client import status as ask_status
from postroad.cli.text import say
from postroad.config.model import Config
from postroad.mail.timestamps import rfc3339

Facts = dict[str, object]


# Keys whose numbers are instants: said as RFC 3339, as everywhere.
INSTANTS = ("since", "until")


def run(config: str, *, as_json: bool) -> int:
    settings = config_for(config)
    asked = ask_status(socket_of(settings))
    found = (_from_index(settings) if asked is None else _dated(asked)) | _dropped(settings)
    if as_json:
        print(json.dumps(found))
    else:
        _show(found)
        if asked is not None and (elsewhere := moved(settings)):
            say(elsewhere)
    return os.EX_OK


def _from_index(settings: Config) -> Facts:
    try:
        settings.index_path.stat()
    except FileNotFoundError:
        return {"running": False, "waiting": 0, "active": 0, "held": 0, "messages": 0}
    except OSError:
        # The look itself says what is the matter, and what to do.
        pass
    from postroad.cli.queue import look

    return {"running": False, **look(settings, lambda index: index.counts())}


def _dropped(settings: Config) -> Facts:
    """What the sendmail command left for a daemon to take up, and what of it was refused and is kept."""
    drop = settings.maildrop_path
    return {"maildrop": len(messages(drop)), "refused": len(refused(drop))}


def _dated(found: Facts) -> Facts:
    return {key: _value(key, value) for key, value in found.items()}


def _value(key: str, value: object) -> object:
    if key in INSTANTS and isinstance(value, int | float):
        return rfc3339(value)
    if isinstance(value, list):
        return [_dated(item) if isinstance(item, dict) else item for item in value]
    return value


def _show(found: Facts) -> None:
    say("the daemon is running" if found.get("running") else "the daemon is not running")
    for key, value in found.items():
        if key == "running":
            continue
        if not isinstance(value, list):
            say(f"  {key:<14} {value}")
            continue
        say(f"  {key:<14} {len(value) or 'none'}")
        for item in value:
            text = ", ".join(f"{k} {v}" for k, v in item.items()) if isinstance(item, dict) else str(item)
            say(f"    {text}")
    if found.get("refused"):
        say("why something was refused in the maildrop, and what helps: postroad spool check")
