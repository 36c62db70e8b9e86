"""`postroad account add NAME`: one more who may submit."""

from __future__ import annotations

import getpass
import os
import sys

from postroad.cli.text import CommandFailed, say
from postroad.config import accounts_file

MAX_PASSWORD = 4096


def add(config: str, name: str, *, from_stdin: bool, replace: bool) -> int:
    path = accounts_file(config)
    password = _from_stdin() if from_stdin else _from_terminal(name)
    # argon2 is loaded only now: a mistyped command should fail at once.
    from postroad.adapters.accounts import add_account

    try:
        add_account(path, name, password, replace=replace)
    except ValueError as wrong:
        hint = "; --replace changes its password" if "exists" in str(wrong) else ""
        raise CommandFailed(f"{wrong}{hint}", os.EX_DATAERR) from None
    except PermissionError:
        raise CommandFailed(
            f"{path}: may not be written by this user; be root or its owner", os.EX_NOPERM
        ) from None
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}", os.EX_CANTCREAT) from None
    say(
        f"{path}: account {name} {'set' if replace else 'added'}; "
        "a running daemon takes it with a reload (SIGHUP)"
    )
    return os.EX_OK


def _from_stdin() -> str:
    try:
        password = sys.stdin.readline(MAX_PASSWORD).rstrip("\r\n")
    except UnicodeDecodeError:
        raise CommandFailed("the password on stdin is not UTF-8", os.EX_DATAERR) from None
    if not password:
        raise CommandFailed("no password on stdin: its first line is the password", os.EX_DATAERR)
    return password


def _from_terminal(name: str) -> str:
    if not sys.stdin.isatty():
        raise CommandFailed("no terminal to ask for the password; use --password-stdin", os.EX_USAGE)
    try:
        first = getpass.getpass(f"Password for {name}: ")
        second = getpass.getpass("Again: ")
    except EOFError:
        raise CommandFailed("no password given", os.EX_DATAERR) from None
    if not first:
        raise CommandFailed("an empty password is none", os.EX_DATAERR)
    if first != second:
        raise CommandFailed("the two are not the same; nothing was changed", os.EX_DATAERR)
    return first
