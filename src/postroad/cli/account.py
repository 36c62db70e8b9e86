"""`postroad account`: who may submit."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from pathlib import Path

from postroad.cli.text import CommandFailed, say
from postroad.config import accounts_file

MAX_PASSWORD = 4096


def run(config: str, args: argparse.Namespace) -> int:
    """`account add`, `passwd`, `remove`, `list`. Raises CommandFailed."""
    path = accounts_file(config)
    try:
        if args.action == "list":
            return _list(path, as_json=args.json)
        return _change(path, args)
    except ValueError as wrong:
        hint = "; --replace changes its password" if "exists" in str(wrong) else ""
        raise CommandFailed(f"{wrong}{hint}", os.EX_DATAERR) from None
    except PermissionError:
        what = "read" if args.action == "list" else "written"
        raise CommandFailed(
            f"{path}: may not be {what} by this user; be root or its owner", os.EX_NOPERM
        ) from None
    except FileNotFoundError as error:
        raise CommandFailed(f"{path}: {error.strerror}", os.EX_NOINPUT) from None
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}", os.EX_CANTCREAT) from None


def _change(path: Path, args: argparse.Namespace) -> int:
    password = "" if args.action == "remove" else _password(args)
    # argon2 is loaded only now: a mistyped command should fail at once.
    from postroad.adapters.accounts_file import add_account, change_password, remove_account

    if args.action == "remove":
        remove_account(path, args.name)
        done = "removed"
    elif args.action == "passwd":
        change_password(path, args.name, password, args.scheme)
        done = "has a new password"
    else:
        add_account(path, args.name, password, replace=args.replace, scheme=args.scheme)
        done = "set" if args.replace else "added"
    say(f"{path}: account {args.name} {done}; a running daemon takes it with `postroad reload`")
    return os.EX_OK


def _list(path: Path, *, as_json: bool) -> int:
    from postroad.adapters.accounts_file import read_accounts

    found = read_accounts(path)
    width = max(map(len, found), default=0)
    for name, stored in sorted(found.items()):
        if as_json:
            print(json.dumps({"account": name, "scheme": stored.scheme}))
        else:
            say(f"{name:{width}}  {stored.scheme}")
    return os.EX_OK


def _password(args: argparse.Namespace) -> str:
    return _from_stdin() if args.password_stdin else _from_terminal(args.name)


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
