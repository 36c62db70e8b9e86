"""`postroad config check [FILE]`: every problem of a configuration, or that there is none."""

from __future__ import annotations

import os
import sys
import time

from postroad.adapters.smtpd_certificates import validities
from postroad.adapters.system_descriptors import highest_limit
from postroad.cli.text import count, say
from postroad.config import ConfigError, load
from postroad.config.advice import advice
from postroad.config.alias_files import read as read_aliases
from postroad.config.exposure import exposed
from postroad.mail.printable import printable
from postroad.mail.validity import told, wanes


def run(path: str, *, quiet: bool = False) -> int:
    try:
        config = load(path)
    except ConfigError as error:
        tell(error)
        return os.EX_CONFIG
    aliases = read_aliases(config)
    for problem in (*aliases.errors, *aliases.warnings):
        print(problem, file=sys.stderr)
    for warning in exposed(config):
        print(printable(warning), file=sys.stderr)
    if aliases.errors:
        return os.EX_CONFIG
    for piece in advice(config, highest_limit()):
        print(f"{path}: {piece}", file=sys.stderr)
    now = time.time()
    for validity in validities(config.own_certificates):
        if wanes(validity, now):
            print(told(validity, now), file=sys.stderr)
    if quiet:
        return os.EX_OK
    listeners = ", ".join(str(listener) for listener in config.listeners) or "none: local programs only"
    say(f"{path}: good")
    say(f"  {config.hostname}, queue in {config.state_directory}")
    say(f"  listeners: {listeners}")
    say(f"  {count(len(aliases.names.aliases), 'local name')} in {config.local.aliases}")
    say(f"  {count(len(config.routes), 'route')}, {count(len(config.dkim), 'DKIM key')}")
    return os.EX_OK


def tell(error: ConfigError) -> None:
    """One problem a line on stderr, as compilers do, so that editors can jump to it."""
    for problem in error.problems:
        print(problem, file=sys.stderr)
    if len(error.problems) > 1:
        print(f"{len(error.problems)} problems", file=sys.stderr)
