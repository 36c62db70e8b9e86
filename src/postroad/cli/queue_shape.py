"""`postroad queue shape`: the table of qshape(1), by the ages in the index."""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace

from postroad.adapters.sqlite_reader import Aged
from postroad.cli.arguments import QUEUES
from postroad.cli.client import config_for
from postroad.cli.filters import chosen
from postroad.cli.postqueue import NULL_SENDER, queue_of
from postroad.cli.queue import look
from postroad.cli.text import CommandFailed
from postroad.config.measures import duration
from postroad.config.problems import BadValue
from postroad.mail.printable import printable
from postroad.mail.shape import Shape

MOST_BUCKETS = 60


def run(config: str, args: Namespace) -> int:
    tick = _tick(args)
    queues = set(args.queues) or set(QUEUES) - {"bounce"}
    if unknown := queues - set(QUEUES):
        raise CommandFailed(f"no such queue: {min(unknown)}; there are {', '.join(QUEUES)}", os.EX_USAGE)
    if not 2 <= args.buckets <= MOST_BUCKETS:
        raise CommandFailed(f"--buckets: from 2 to {MOST_BUCKETS}", os.EX_USAGE)
    settings = config_for(config)
    args.ids = []
    wanted = chosen(args, settings)
    assert wanted is not None, "no id was asked for"
    shape = Shape(args.buckets, linear=args.linear, parents=args.parents, least=args.least)
    for each in look(settings, lambda index: index.ages(wanted, time.time(), tick)):
        if _is_in(each, queues):
            shape.add(_name(each, by_sender=args.senders), each.units, each.count)
    for line in _json(shape, tick) if args.json else shape.lines(int(tick // 60), max(80, args.width)):
        print(printable(line))
    return os.EX_OK


def _tick(args: Namespace) -> float:
    """Seconds, whole minutes. A bare number is minutes, as qshape has it."""
    text = f"{args.age}m" if args.age.isdigit() else args.age
    try:
        seconds = duration(text)
    except BadValue as bad:
        raise CommandFailed(f"--age: {bad}", os.EX_USAGE) from None
    if seconds < 60 or seconds % 60:
        raise CommandFailed("--age: whole minutes, one or more", os.EX_USAGE)
    return seconds


def _is_in(aged: Aged, queues: set[str]) -> bool:
    if "bounce" in queues and aged.sender is None:
        return True
    return queue_of(aged.state, fresh=aged.fresh) in queues


def _name(aged: Aged, *, by_sender: bool) -> str:
    if not by_sender:
        return aged.domain
    return NULL_SENDER if aged.sender is None else aged.sender


def _json(shape: Shape, tick: float) -> list[str]:
    """`under` is the age in seconds at which a bucket ends, null: it is open."""
    ends = [int(head) * 60 for head in shape.heads(int(tick // 60))[1:-1]]
    return [
        json.dumps(
            {
                "domain": name,
                "total": counts[0],
                "ages": [
                    {"under": end, "count": c} for end, c in zip([*ends, None], counts[1:], strict=True)
                ],
            }
        )
        for name, counts in shape.rows()
    ]
