"""The command line of `postroad`: its verbs and their options, nothing else loaded."""

from __future__ import annotations

import argparse
import os
from typing import NoReturn

from postroad.cli.arguments_setup import add_setup

CHANGES = {
    "retry": "make due now, whatever the schedule says",
    "hold": "keep in the queue until released",
    "release": "let go on that is held",
    "delete": "drop; nobody is told",
    "bounce": "give up; the sender is told",
}


FORMATS = ("table", "json", "mailq", "postqueue-json")
QUEUES = ("incoming", "active", "deferred", "hold", "bounce")

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
    reload = verbs.add_parser("reload", help="have the daemon read its configuration again, keys included")
    reload.add_argument("--json", action="store_true", help="one object")
    verbs.add_parser("demo", help="see it work: no root, no network, no configuration")
    add_setup(verbs)
    _config(verbs)
    _account(verbs)
    _queue(verbs)
    status = verbs.add_parser("status", help="what runs and waits now")
    status.add_argument("--json", action="store_true", help="one object")
    why = verbs.add_parser("why", help="why mail waits: what binds, where that comes from, what releases it")
    why.add_argument(
        "what",
        nargs="?",
        metavar="ID|ADDRESS",
        help="a message, or all that waits for an address; default: the longest lines of the queue",
    )
    why.add_argument("--json", action="store_true", help="one object a recipient, one a line")
    _plan(verbs)
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
    listing.add_argument("ids", nargs="*", metavar="ID", help="- reads ids from stdin")
    _filters(listing)
    formats = listing.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="one object a recipient, one a line")
    formats.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="mailq: as postqueue -p prints, postqueue-json: as postqueue -j; default: %(default)s",
    )
    show = actions.add_parser("show", help="everything known about a message, each attempt with its reply")
    show.add_argument("ids", nargs="*", metavar="ID", help="- reads ids from stdin")
    _filters(show)
    show.add_argument("--json", action="store_true", help="one object a message, one a line")
    cat = actions.add_parser("cat", help="the message as it is sent")
    cat.add_argument("id", metavar="ID")
    _shape(actions)
    for verb, purpose in CHANGES.items():
        change = actions.add_parser(verb, help=purpose)
        change.add_argument("ids", nargs="*", metavar="ID", help="- reads ids from stdin")
        _filters(change)
        if verb == "hold":
            change.add_argument("--reason", metavar="TEXT", help="why, as the queue then says")
        change.add_argument("--all", action="store_true", help="the whole queue")
        change.add_argument("--yes", action="store_true", help="with --all: yes, I mean it")
        change.add_argument("--dry-run", action="store_true", help="say what would change, change nothing")
        change.add_argument("--json", action="store_true", help="one object a recipient, one a line")


def _shape(actions: argparse._SubParsersAction[Parser]) -> None:
    shape = actions.add_parser(
        "shape", help="how many recipients of which age wait for each domain, as qshape"
    )
    shape.add_argument(
        "queues", nargs="*", metavar="QUEUE", help=f"of {', '.join(QUEUES)}; default: all but bounce"
    )
    _filters(shape)
    shape.add_argument("-s", "--senders", action="store_true", help="by the senders' domains")
    shape.add_argument("-b", "--buckets", metavar="N", type=int, default=10, help="default: %(default)s")
    shape.add_argument(
        "-t", "--age", metavar="TIME", default="5m", help="the first bucket; default: %(default)s"
    )
    shape.add_argument(
        "-l", "--linear", action="store_true", help="buckets of one size, not of doubling ones"
    )
    shape.add_argument("-p", "--parents", action="store_true", help="the domains above, too")
    shape.add_argument(
        "-m", "--least", metavar="N", type=int, default=5, help="with -p: those above N or more; default: 5"
    )
    shape.add_argument("-w", "--width", metavar="COLUMNS", type=int, default=80, help="default: %(default)s")
    shape.add_argument("--json", action="store_true", help="one object a domain, one a line")


def _plan(verbs: argparse._SubParsersAction[Parser]) -> None:
    plan = verbs.add_parser("plan", help="the way that mail for an address would take; nothing is sent")
    plan.add_argument("address", metavar="ADDRESS")
    plan.add_argument("--from", dest="sender", metavar="ADDRESS", help="whose mail; default: of the origin")
    plan.add_argument("--connect", action="store_true", help="greet the hosts, with STARTTLS, and leave")
    plan.add_argument("--json", action="store_true", help="one object")


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
    target.add_argument(
        "--site", metavar="SITE", help="by this way: a route, a next hop, or while the daemon runs an MX host"
    )
    target.add_argument("--state", choices=("waiting", "active", "held"), help="in this state")
    target.add_argument("--older", metavar="AGE", help="in the queue for longer than this, such as 2h")


def _send(verbs: argparse._SubParsersAction[Parser]) -> None:
    send = verbs.add_parser("send", help="submit one message and follow it")
    send.add_argument("--from", dest="sender", metavar="ADDRESS", required=True, help="the sender")
    send.add_argument(
        "--to", metavar="ADDRESS", nargs="+", action="extend", required=True, help="the recipients"
    )
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
