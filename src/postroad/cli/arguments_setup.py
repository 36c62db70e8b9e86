"""The options of the verbs in `setup`."""

from __future__ import annotations

import argparse
from typing import Any


def add_setup(verbs: argparse._SubParsersAction[Any]) -> None:
    _quickstart(verbs)
    _install(verbs)
    manual = verbs.add_parser("manual", help="show a page of the manual")
    pages = ("postroad", "postroad-queue", "postroad-sendmail", "postroad.toml")
    manual.add_argument("page", nargs="?", choices=pages, default="postroad", help="default: %(default)s")
    completion = verbs.add_parser("completion", help="a script that completes verbs and options in a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="which")


def _quickstart(verbs: argparse._SubParsersAction[Any]) -> None:
    start = verbs.add_parser("quickstart", help="configuration, keys and an account from an address alone")
    start.add_argument("address", metavar="ADDRESS", help="yours, in the domain that will send")
    where = start.add_mutually_exclusive_group()
    where.add_argument(
        "--dir", metavar="DIR", help="all in this folder, on a high port: a trial without root"
    )
    where.add_argument("--root", metavar="DIR", help="as for a system whose root is this folder")
    name = "of this server in DNS; default: what it calls itself, else mail.DOMAIN"
    start.add_argument("--hostname", metavar="NAME", help=name)
    chain = "a chain in PEM; default: that of certbot for the hostname, else a self-signed one"
    start.add_argument("--certificate", metavar="FILE", help=chain)
    start.add_argument("--key", metavar="FILE", help="the key of the certificate")
    start.add_argument("--port", metavar="PORT", type=_port, help="for mail clients; default: 587")
    start.add_argument("--ed25519", action="store_true", help="a second, short DKIM key, too")
    start.add_argument("--offline", action="store_true", help="ask nothing of the network")
    start.add_argument("--json", action="store_true", help="one object")


def _install(verbs: argparse._SubParsersAction[Any]) -> None:
    install = verbs.add_parser("install", help="put manual, completion and the sendmail links in place")
    install.add_argument("--systemd", action="store_true", help="the units, and user and folders with them")
    uninstall = verbs.add_parser("uninstall", help="take away what install put in place and nobody changed")
    for target in (install, uninstall):
        target.add_argument("--root", metavar="DIR", help="below this folder, for packages and images")
        target.add_argument("--dry-run", action="store_true", help="only say what would be done")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!a} is no port")
    return int(text)
