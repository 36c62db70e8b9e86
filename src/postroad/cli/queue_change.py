"""`postroad queue retry | hold | release | delete | bounce`: asked of the daemon, which owns the queue."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from postroad.cli.client import ask, config_for
from postroad.cli.filters import Conditions, conditions, queue_ids
from postroad.cli.text import CommandFailed, complain, count, listed, say

# Ids in one request: some 30 KiB of a line that may have a MiB.
BATCH = 2000
ANSWER_TIMEOUT = 300.0


def run(config: str, verb: str, args: Namespace) -> int:
    """0, or 66 when an id that was named could not be changed."""
    wanted = conditions(args)
    _consent(verb, wanted, args)
    ids = queue_ids(args.ids)
    if args.ids and not ids:
        # No id on stdin is nothing to do, never everything.
        return os.EX_OK
    changed = _request(config_for(config).socket_path, verb, wanted, ids)
    for one in changed:
        if args.json:
            print(json.dumps(one))
        else:
            say(f"{one['id']}  {one['recipient']}")
    if not args.json:
        say(f"{verb}: {count(len(changed), 'recipient')}")
    return _missed(verb, set(ids) - {str(one["id"]) for one in changed})


def _consent(verb: str, wanted: Conditions, args: Namespace) -> None:
    """The whole queue is changed only on purpose."""
    if args.ids or wanted:
        if args.all:
            raise CommandFailed("--all goes with no id and no filter", os.EX_USAGE)
        return
    if not args.all:
        raise CommandFailed(f"queue {verb}: name ids, a filter, or --all", os.EX_USAGE)
    # To try again does no harm; the others are for good, or stop the mail.
    if not args.yes and verb != "retry":
        raise CommandFailed(f"queue {verb} --all concerns the whole queue; add --yes", os.EX_USAGE)


def _request(socket: Path, verb: str, wanted: Conditions, ids: Sequence[str]) -> list[dict[str, object]]:
    batches: list[Sequence[str]] = [ids[n : n + BATCH] for n in range(0, len(ids), BATCH)] or [()]
    changed = []
    for batch in batches:
        request: dict[str, object] = {"verb": verb, "filter": {**wanted, "ids": list(batch)}}
        if not wanted and not batch:
            request["all"] = True
        changed += [said for said in ask(socket, request, ANSWER_TIMEOUT) if "id" in said]
    return changed


_ELSE = {
    "retry": "held (then: queue release)",
    "hold": "held already",
    "release": "not held",
}


def _missed(verb: str, ids: set[str]) -> int:
    if not ids:
        return os.EX_OK
    reasons = ["not in the queue", "being delivered now"]
    if verb in _ELSE:
        reasons.insert(1, _ELSE[verb])
    complain(f"not changed: {listed(sorted(ids))}: {', '.join(reasons[:-1])}, or {reasons[-1]}")
    return os.EX_NOINPUT
