"""`postroad quickstart you@example.com`: a server that can send, from an address alone.

Asks nothing that it can find out, overwrites nothing, and says what is left to do: the
records to publish and the command that shows it work.
"""

from __future__ import annotations

import grp
import json
import os
import re
import secrets
import shlex
import socket
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from postroad.cli.config_show import toml
from postroad.cli.quickstart_checks import Check, Findings, look
from postroad.cli.quickstart_files import (
    CONFIGURATION,
    DKIM,
    LISTENER,
    Made,
    dkim_pair,
    self_signed,
    write,
)
from postroad.cli.text import CommandFailed, say
from postroad.config.names import qualified
from postroad.config.problems import BadValue
from postroad.mail.address import Address, AddressError, parse_address
from postroad.mail.publishing import DnsRecord, Publication, mta_sts_policy, records

FOLDER = Path("/etc/postroad")
STATE = "/var/lib/postroad"
GROUP = "postroad"
LETS_ENCRYPT = Path("/etc/letsencrypt/live")
_ACCOUNT = re.compile(r"[A-Za-z0-9._@+=-]{1,255}")
# For a trial without root: one that is free is taken from here on.
TRIAL_PORT = 5870


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything goes. `shown`: how commands name the configuration; "" where it is the usual one."""

    address: Address
    hostname: str
    folder: Path
    state: str
    trial: bool
    port: int
    shown: str


def run(args: Namespace) -> int:
    plan = _plan(args)
    certificate, key, files = _certificate(plan, args)
    stamp = time.strftime("%Y%m%d")
    pairs = [(f"s{stamp[:6]}", "rsa")] + ([(f"e{stamp[:6]}", "ed25519")] if args.ed25519 else [])
    published = []
    domain = plan.address.domain
    text = CONFIGURATION.format(
        hostname=plan.hostname,
        domain=domain,
        state=plan.state,
        listeners=_listeners(plan),
        account=plan.address,
        certificate=toml(certificate),
        key=toml(key),
    )
    for selector, algorithm in pairs:
        file, record = dkim_pair(domain, selector, algorithm=algorithm)
        files.append(file)
        published.append((selector, record))
        text += DKIM.format(domain=domain, selector=selector)
    password = secrets.token_urlsafe(18)
    files.append(Made("accounts", _account(str(plan.address), password), private=True))
    files.append(Made("postroad.toml", text.encode(), private=False))
    write(plan.folder, files, None if plan.trial else _group())
    found = Findings() if args.offline else look(domain, plan.hostname)
    of = Publication(
        domain,
        plan.hostname,
        str(plan.address),
        published,
        found.addresses,
        found.spf,
        found.mx,
        f"{stamp}{time.strftime('%H%M%S')}",
    )
    made = [str(plan.folder / file.name) for file in files]
    if args.json:
        _print_json(plan, password, made, found.checks, records(of))
    else:
        _tell(plan, password, made, found.checks, of, own_certificate=certificate == "cert.pem")
    return os.EX_OK


def _plan(args: Namespace) -> Plan:
    try:
        # A domain of other letters is as good as its ASCII form; what stands before it is the account's name.
        address = parse_address(args.address, smtputf8=True)
    except AddressError as error:
        raise CommandFailed(f"{args.address}: {error}", os.EX_USAGE) from None
    if not _ACCOUNT.fullmatch(str(address)):
        why = "the address is the name of the account, too: letters, digits and . _ @ + = -"
        raise CommandFailed(f"{args.address}: {why}", os.EX_USAGE)
    if "." not in address.domain or address.domain.startswith("["):
        raise CommandFailed(f"{args.address}: an address in your own domain is wanted", os.EX_USAGE)
    try:
        hostname = str(qualified(args.hostname)) if args.hostname else _own_name(address.domain)
    except BadValue as bad:
        raise CommandFailed(f"--hostname: {bad}", os.EX_USAGE) from None
    if args.dir is not None:
        folder = Path(args.dir).absolute()
        port = args.port or _free_port(TRIAL_PORT)
        return Plan(address, hostname, folder, "state", True, port, str(folder / "postroad.toml"))
    folder = Path(args.root or "/").absolute() / FOLDER.relative_to("/")
    return Plan(address, hostname, folder, STATE, False, args.port or 587, "")


def _own_name(domain: str) -> str:
    """What this machine calls itself where that is a full name, else a usual one in the domain."""
    try:
        name = str(qualified(socket.getfqdn()))
    except BadValue:
        return f"mail.{domain}"
    return f"mail.{domain}" if name.endswith((".localdomain", ".local", ".internal")) else name


def _free_port(first: int) -> int:
    for port in range(first, first + 100):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    return first


def _listeners(plan: Plan) -> str:
    if plan.trial:
        return LISTENER.format(address=f"127.0.0.1:{plan.port}", tls="starttls")
    everywhere = "[::]" if _has_ipv6() else "0.0.0.0"
    submission = LISTENER.format(address=f"{everywhere}:{plan.port}", tls="starttls")
    return submission + LISTENER.format(address=f"{everywhere}:465", tls="implicit")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _certificate(plan: Plan, args: Namespace) -> tuple[str, str, list[Made]]:
    """Certificate and key as the configuration names them, and those that are made for it."""
    if bool(args.certificate) != bool(args.key):
        raise CommandFailed("--certificate and --key go together", os.EX_USAGE)
    if args.certificate:
        given = (Path(args.certificate).absolute(), Path(args.key).absolute())
        for path in given:
            if not path.is_file():
                raise CommandFailed(f"{path}: no such file", os.EX_NOINPUT)
        return str(given[0]), str(given[1]), []
    issued = LETS_ENCRYPT / plan.hostname
    if not plan.trial and args.root is None and os.access(issued / "privkey.pem", os.R_OK):
        return str(issued / "fullchain.pem"), str(issued / "privkey.pem"), []
    return "cert.pem", "key.pem", list(self_signed(plan.hostname))


def _account(name: str, password: str) -> bytes:
    from postroad.adapters.accounts_schemes import hash_password

    return f"{name}:{hash_password(password)}\n".encode()


def _group() -> int | None:
    try:
        return grp.getgrnam(GROUP).gr_gid if os.geteuid() == 0 else None
    except KeyError:
        return None


def _tell(
    plan: Plan, password: str, made: list[str], checks: list[Check], of: Publication, *, own_certificate: bool
) -> None:
    say("Made:")
    for name in made:
        say(f"  {name}")
    if own_certificate:
        say("  (the certificate is signed by itself: for other machines get one from an authority)")
    say()
    say("The account, its password shown only now:")
    say(f"  {plan.address}")
    say(f"  {password}")
    if checks:
        say()
        say("This machine:")
        for check in checks:
            mark = {True: "good", False: "BAD ", None: "?   "}[check.good]
            say(f"  {mark}  {check.name}: {check.text}")
    _tell_records(of)
    say()
    say("Then:")
    for command in _commands(plan):
        say(f"  {command}")


def _tell_records(of: Publication) -> None:
    say()
    say(f"Publish in the DNS of {of.domain}:")
    for record in records(of):
        say()
        say(f"  ; {record.why}")
        say(f"  {record}")
    if not of.addresses:
        say()
        say(f"  ; The address of {of.hostname} (A, AAAA), and its PTR with whoever gave it: unknown here.")
    say()
    say(f"  ; https://mta-sts.{of.domain}/.well-known/mta-sts.txt, for the hosts that receive your mail:")
    for line in mta_sts_policy(of.mx or ("RECEIVING-HOST",)).splitlines():
        say(f"  ;   {line}")


def _commands(plan: Plan) -> list[str]:
    config = f" --config {shlex.quote(plan.shown)}" if plan.shown else ""
    start = f"postroad{config} serve" if plan.trial else "systemctl enable --now postroad"
    host = f"127.0.0.1:{plan.port}" if plan.trial else f"{plan.hostname}:{plan.port}"
    client = (
        f"curl --ssl-reqd --insecure smtp://{host} --user {plan.address} --mail-from {plan.address} "
        f"--mail-rcpt {plan.address} --upload-file letter.txt   # as a mail client would"
    )
    first = [] if plan.trial else ["postroad install --systemd   # unless done"]
    send = f"echo works | postroad{config} send --from {plan.address} --to {plan.address} --subject Hello"
    return [*first, start, send, client]


def _print_json(
    plan: Plan, password: str, made: list[str], checks: list[Check], published: list[DnsRecord]
) -> None:
    print(
        json.dumps(
            {
                "account": str(plan.address),
                "password": password,
                "hostname": plan.hostname,
                "files": made,
                "checks": [{"name": c.name, "good": c.good, "text": c.text} for c in checks],
                "records": [{"name": r.name, "type": r.type, "value": r.value} for r in published],
                "commands": _commands(plan),
            }
        )
    )
