"""Which recipients a queue command is about: the conditions of the command line, checked by their form."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, cast

from postroad.adapters import local_client
from postroad.cli.text import CommandFailed
from postroad.config.measures import duration
from postroad.config.model import Config
from postroad.config.problems import BadValue
from postroad.mail.address import AddressError, parse_address
from postroad.mail.queue_id import QueueIdError, parse_id
from postroad.ports.queue import QueueFilter

NULL_SENDER = "MAILER-DAEMON"
Conditions = dict[str, str | float | list[str]]


def conditions(args: Namespace) -> Conditions:
    """The given ones, by the names of `QueueFilter`. CommandFailed for what can match nothing by its form."""
    given: dict[str, str | float | list[str] | None] = {
        "to": _address(args.to, "--to"),
        "sender": _address(args.sender, "--from"),
        "domain": _domain(args.domain),
        "state": args.state,
        "older_than": _older(args.older),
        "sites": None if args.site is None else [args.site],
    }
    return {name: value for name, value in given.items() if value is not None}


def chosen(args: Namespace, settings: Config) -> QueueFilter | None:
    """What a command that looks is about; None: ids were to come from stdin, and none did."""
    wanted = conditions(args)
    ids = queue_ids(args.ids) if args.ids else []
    if args.ids and not ids:
        return None
    sites = [] if args.site is None else [args.site, *_hops_of(args.site, settings)]
    plain = {name: value for name, value in wanted.items() if name != "sites"}
    return QueueFilter(ids=tuple(ids), sites=tuple(sites), **cast("dict[str, Any]", plain))


def _hops_of(site: str, settings: Config) -> list[str]:
    """What the daemon knows of a site by its MX hosts; nothing where none runs."""
    try:
        for answer in local_client.ask(settings.socket_path, {"verb": "site", "site": site}, timeout=10.0):
            hops = answer.get("hops")
            return list(map(str, hops)) if isinstance(hops, list) else []
    except (local_client.DaemonDown, local_client.NotAnswered, local_client.Denied):
        # The index alone answers then.
        pass
    return []


def queue_ids(words: Sequence[str]) -> list[str]:
    """The ids of the command line, each once; "-" stands for stdin, the first word of each line."""
    found: dict[str, None] = {}
    for word in words:
        texts = (line.split()[0] for line in sys.stdin if line.strip()) if word == "-" else (word,)
        for text in texts:
            found[queue_id(text)] = None
    return list(found)


def queue_id(text: str) -> str:
    try:
        parse_id(text)
    except QueueIdError as wrong:
        raise CommandFailed(f"{text}: {wrong}", os.EX_USAGE) from None
    return text.upper()


def _address(text: str | None, option: str) -> str | None:
    if text is None:
        return None
    if option == "--from" and (text in ("", "<>") or text.upper() == NULL_SENDER):
        # mailq calls the null sender so.
        return "<>"
    try:
        return str(parse_address(text, smtputf8=True))
    except AddressError as wrong:
        raise CommandFailed(f"{option}: {wrong}", os.EX_USAGE) from None


def _domain(text: str | None) -> str | None:
    """As addresses have it in the queue: lower case, A-labels."""
    if text is None:
        return None
    try:
        return parse_address(f"x@{text.removesuffix('.')}", smtputf8=True).domain
    except AddressError as wrong:
        raise CommandFailed(f"--domain: {wrong}", os.EX_USAGE) from None


def _older(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return time.time() - duration(text)
    except BadValue as bad:
        raise CommandFailed(f"--older: {bad}", os.EX_USAGE) from None
