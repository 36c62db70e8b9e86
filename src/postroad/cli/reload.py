"""`postroad reload`: the daemon reads its configuration again, and says what became of it."""

from __future__ import annotations

import json
import os
import sys

from postroad.cli.client import ask, config_for, socket_of
from postroad.cli.text import CommandFailed, say
from postroad.mail.printable import printable


def run(path: str, *, as_json: bool) -> int:
    """78 where the new configuration is refused: nothing of it is in force then."""
    (answer,) = ask(socket_of(config_for(path)), {"verb": "reload"}) or [{}]
    problems, waiting = _words(answer, "problems"), _words(answer, "needs_restart")
    if as_json:
        print(json.dumps({"reloaded": not problems, "problems": problems, "needs_restart": waiting}))
        return os.EX_CONFIG if problems else os.EX_OK
    for problem in problems:
        print(printable(problem), file=sys.stderr)
    if problems:
        raise CommandFailed("nothing was changed: the old configuration stays in force", os.EX_CONFIG)
    say("reloaded")
    for key in waiting:
        say(f"  {key} takes a restart; until then it is as it was")
    return os.EX_OK


def _words(answer: dict[str, object], key: str) -> list[str]:
    found = answer.get(key)
    return [str(word) for word in found] if isinstance(found, list) else []
