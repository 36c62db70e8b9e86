"""The command line of `postroad`: its verbs and their options, nothing else loaded."""

from __future__ import annotations

import argparse
import os
from typing import NoReturn

CHANGES = {
    "retry": "make due now, whatever the schedule says",
    "hold": "keep in the queue until released",
    "release": "let go on that is held",
    "delete": "drop; nobody is told",
    "bounce": "give up; the sender is told",
}


# Of `adapters.accounts_schemes`, which is slow to load.
SCHEMES = ("ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "PBKDF2", "SCRAM-SHA-256")


class Parser(argparse.ArgumentParser):
    """argparse with the exit code of sysexits.h."""

    def error(self, message: str) -> NoReturn:
        self.exit(os.EX_USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser() -> Parser:
    """`verb` names the command; two-word commands are "queue list" and so on."""
    from postroad import __version__

    top = Parser(prog="postroad", description="An outbound mail transfer agent.", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"postroad {__version__}")
    top.add_argument(
        "--config", metavar="FILE", help="default: $POSTROAD_CONFIG, else /etc/postroad/postroad.toml"
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    verbs.add_parser("serve", help="run the daemon in the foreground")
    verbs.add_parser("demo", help="see it work: no root, no network, no configuration")
    _config(verbs)
    _account(verbs)
    _queue(verbs)
    status = verbs.add_parser("status", help="what runs and waits now")
    status.add_argument("--json", action="store_true", help="one object")
    _spool(verbs)
    _send(verbs)
    return top


def _config(verbs: argparse._SubParsersAction[Parser]) -> None:
    actions = _actions(verbs, "config", "check the configuration, or show it")
    check = actions.add_parser("check", help="every problem as file:line: key: problem; exit 78")
    check.add_argument("file", nargs="?", metavar="FILE", help="default: the configuration in use")
    check.add_argument("--quiet", action="store_true", help="say nothing where all is well")
    show = actions.add_parser("show", help="every key as it holds, secrets left out")
    which = show.add_mutually_exclusive_group()
    which.add_argument("--defaults", action="store_true", help="what holds where no file says otherwise")
    which.add_argument("--changed", action="store_true", help="only what is not as by default")
    show.add_argument("--origin", action="store_true", help="behind each key file and line that set it")
    show.add_argument("--json", action="store_true", help="one object a key, one a line")
    actions.add_parser("schema", help="a JSON Schema of the configuration, for editors")


def _account(verbs: argparse._SubParsersAction[Parser]) -> None:
    actions = _actions(verbs, "account", "who may submit")
    add = actions.add_parser("add", help="add an account to the accounts file")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--password-stdin", action="store_true", help="the first line of stdin is the password")
    add.add_argument("--replace", action="store_true", help="change the password of an existing account")
    _scheme(add)
    passwd = actions.add_parser("passwd", help="change the password of an account")
    passwd.add_argument("name", metavar="NAME")
    passwd.add_argument(
        "--password-stdin", action="store_true", help="the first line of stdin is the password"
    )
    _scheme(passwd)
    remove = actions.add_parser("remove", help="remove an account from the accounts file")
    remove.add_argument("name", metavar="NAME")
    listing = actions.add_parser("list", help="the accounts and how their passwords are kept")
    listing.add_argument("--json", action="store_true", help="one object an account, one a line")
    show = actions.add_parser("show", help="what an account may send, and what is left of its quotas")
    show.add_argument("name", metavar="NAME", help='a login, "net:ADDRESS" or "uid:NUMBER"')
    show.add_argument("--json", action="store_true", help="one object")


def _scheme(target: Parser) -> None:
    target.add_argument(
        "--scheme",
        choices=SCHEMES,
        default=SCHEMES[0],
        type=str.upper,
        help="how it is kept; SCRAM-SHA-256 lets clients log in without saying it; default: %(default)s",
    )


def _queue(verbs: argparse._SubParsersAction[Parser]) -> None:
    actions = _actions(verbs, "queue", "look at the queue and change it")
    listing = actions.add_parser("list", help="what waits, why and until when")
    _filters(listing)
    listing.add_argument("--json", action="store_true", help="one object a recipient, one a line")
    show = actions.add_parser("show", help="everything known about one message")
    show.add_argument("id", metavar="ID")
    show.add_argument("--json", action="store_true", help="one object")
    cat = actions.add_parser("cat", help="the message as it is sent")
    cat.add_argument("id", metavar="ID")
    for verb, purpose in CHANGES.items():
        change = actions.add_parser(verb, help=purpose)
        change.add_argument("ids", nargs="*", metavar="ID", help="- reads ids from stdin")
        _filters(change)
        change.add_argument("--all", action="store_true", help="the whole queue")
        change.add_argument("--yes", action="store_true", help="with --all: yes, I mean it")
        change.add_argument("--json", action="store_true", help="one object a recipient, one a line")


def _spool(verbs: argparse._SubParsersAction[Parser]) -> None:
    actions = _actions(verbs, "spool", "hold the queue on disk against itself, make its index anew")
    check = actions.add_parser("check", help="all in which index and segments disagree; exit 65")
    check.add_argument("--json", action="store_true", help="one object")
    rebuild = actions.add_parser("rebuild", help="a new index from the segments; the daemon must be down")
    rebuild.add_argument("--json", action="store_true", help="one object")


def _filters(target: Parser) -> None:
    target.add_argument("--to", metavar="ADDRESS", help="to this recipient")
    target.add_argument("--from", dest="sender", metavar="ADDRESS", help="of this sender; <> for bounces")
    target.add_argument("--domain", metavar="DOMAIN", help="to recipients in this domain")
    target.add_argument("--state", choices=("waiting", "active", "held"))
    target.add_argument("--older", metavar="AGE", help="in the queue for longer than this, such as 2h")


def _send(verbs: argparse._SubParsersAction[Parser]) -> None:
    send = verbs.add_parser("send", help="submit one message and follow it")
    send.add_argument("--from", dest="sender", metavar="ADDRESS", required=True)
    send.add_argument("--to", metavar="ADDRESS", nargs="+", action="extend", required=True)
    send.add_argument("--subject", metavar="TEXT", help="the input is a text; make a message of it")
    send.add_argument("--no-wait", action="store_true", help="end as soon as the message is in the queue")
    send.add_argument("--timeout", metavar="TIME", default="2m", help="how long to follow; default 2m")
    send.add_argument("--json", action="store_true", help="one object an event, one a line")
    send.add_argument("file", nargs="?", metavar="FILE", help="the message; default: stdin")


def _actions(
    verbs: argparse._SubParsersAction[Parser], name: str, purpose: str
) -> argparse._SubParsersAction[Parser]:
    group = verbs.add_parser(name, help=purpose)
    return group.add_subparsers(dest="action", metavar="ACTION", required=True)
