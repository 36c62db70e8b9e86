"""`postroad status`: what runs and waits now, asked of the daemon, or read from the queue without it."""

from __future__ import annotations

import json
import os

from postroad.cli.client import config_for
from postroad.cli.client import status as ask_status
from postroad.cli.text import say
from postroad.config.model import Config


def run(config: str, *, as_json: bool) -> int:
    settings = config_for(config)
    found = ask_status(settings.socket_path) or _from_index(settings)
    if as_json:
        print(json.dumps(found))
    else:
        _show(found)
    return os.EX_OK


def _from_index(settings: Config) -> dict[str, object]:
    if not settings.index_path.exists():
        return {"running": False, "waiting": 0, "active": 0, "held": 0, "messages": 0}
    from postroad.cli.queue import look

    return {"running": False, **look(settings, lambda index: index.counts())}


def _show(found: dict[str, object]) -> None:
    running = bool(found.get("running"))
    say("the daemon is running" if running else "the daemon is not running")
    for key, value in found.items():
        if key != "running":
            say(f"  {key:<20} {_value(value)}")


def _value(value: object) -> str:
    if isinstance(value, str | int | float) or value is None:
        return str(value)
    return json.dumps(value)
