"""Programs that submit over SMTP: each one message, arrived once, with envelope, header and body as sent."""

from __future__ import annotations

import email
import os
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import aiosmtplib
import pytest

from postroad.demo.letters import Door
from postroad.demo.world import Site, World
from tests.support.daemon import Daemon
from tests.support.peers import run
from tests.support.requires import require

SENDER = "anna@sender.example"
FIRST, SECOND = "bert@harbour.example", "zoe@harbour.example"
SUBJECT = "Grüße by hand"
BODY = "One line.\n.A line with a dot.\n..Two dots.\n.\nFrom here: Grüße.\n" + "long " * 30 + "\nend\n"


def letter() -> EmailMessage:
    """For programs that send what they are given."""
    message = EmailMessage(policy=default.clone(linesep="\r\n"))
    message["From"], message["To"], message["Subject"] = SENDER, f"{FIRST}, {SECOND}", SUBJECT
    message.set_content(BODY)
    return message


def files(folder: Path, door: Door) -> tuple[Path, Path, Path]:
    """The certificate to trust, the body, the whole letter."""
    roots, body, whole = folder / "roots.pem", folder / "body", folder / "letter"
    roots.write_text(door.roots)
    body.write_text(BODY)
    whole.write_bytes(bytes(letter()))
    return roots, body, whole


async def by_curl(door: Door, folder: Path) -> None:
    roots, _, whole = files(folder, door)
    await run(
        require("curl"),
        *("-sS", "--ssl-reqd", "--cacert", str(roots), f"smtp://localhost:{door.port}"),
        *("--user", f"{door.name}:{door.password}", "--mail-from", SENDER),
        *("--mail-rcpt", FIRST, "--mail-rcpt", SECOND, "-T", str(whole)),
    )


async def by_aiosmtplib(door: Door, folder: Path) -> None:
    roots, _, _ = files(folder, door)
    await aiosmtplib.send(
        letter(),
        hostname="localhost",
        port=door.port,
        username=door.name,
        password=door.password,
        start_tls=True,
        cert_bundle=str(roots),
    )


DJANGO = """
import sys
from django.conf import settings
settings.configure(
    EMAIL_HOST="localhost", EMAIL_PORT=int(sys.argv[1]), EMAIL_USE_TLS=True,
    EMAIL_HOST_USER=sys.argv[2], EMAIL_HOST_PASSWORD=sys.argv[3],
)
from django.core.mail import EmailMessage
subject, body, sender, *to = sys.argv[4:]
assert EmailMessage(subject, body, sender, to).send() == 1
"""


async def by_django(door: Door, folder: Path) -> None:
    roots, _, _ = files(folder, door)
    # Debian's Python, which has Debian's Django (python3-django).
    await run(
        "/usr/bin/python3",
        *("-c", DJANGO, str(door.port), door.name, door.password, SUBJECT, BODY, SENDER, FIRST, SECOND),
        # It takes the system's roots, and those that OpenSSL is told of.
        env={**os.environ, "SSL_CERT_FILE": str(roots)},
    )


NODEMAILER = """
const [port, user, pass, roots, subject, text, from, ...to] = process.argv.slice(2);
require("nodemailer").createTransport({
  host: "127.0.0.1", port: Number(port), requireTLS: true, auth: { user, pass },
  tls: { ca: require("fs").readFileSync(roots), servername: "localhost" },
}).sendMail({ from, to, subject, text }).then(
  (info) => process.exit(info.accepted.length === 2 ? 0 : 1),
  (error) => { console.error(error); process.exit(1); });
"""


async def by_nodemailer(door: Door, folder: Path) -> None:
    roots, _, _ = files(folder, door)
    script = folder / "send.js"
    script.write_text(NODEMAILER)
    words = (str(door.port), door.name, door.password, str(roots), SUBJECT, BODY, SENDER, FIRST, SECOND)
    await run(
        require("node", "nodejs node-nodemailer"),
        *(str(script), *words),
        env={**os.environ, "NODE_PATH": "/usr/share/nodejs"},
    )


NET_SMTP = """
use strict; use Net::SMTP;
my ($port, $user, $pass, $roots, $letter, $from, @to) = @ARGV;
my $smtp = Net::SMTP->new("localhost", Port => $port, Timeout => 20) or die "connect: $@";
$smtp->starttls(SSL_ca_file => $roots, SSL_verifycn_name => "localhost") or die $smtp->message;
$smtp->auth($user, $pass) or die $smtp->message;
$smtp->mail($from) or die $smtp->message;
$smtp->to(@to) or die $smtp->message;
open my $file, "<:raw", $letter or die $!;
$smtp->data() or die $smtp->message;
$smtp->datasend($_) while <$file>;
$smtp->dataend() or die $smtp->message;
$smtp->quit;
"""


async def by_net_smtp(door: Door, folder: Path) -> None:
    roots, _, whole = files(folder, door)
    whole.write_bytes(whole.read_bytes().replace(b"\r\n", b"\n"))
    await run(
        require("perl", "libauthen-sasl-perl libio-socket-ssl-perl"),
        *("-e", NET_SMTP, str(door.port), door.name, door.password, str(roots), str(whole)),
        *(SENDER, FIRST, SECOND),
    )


async def by_mutt(door: Door, folder: Path) -> None:
    roots, body, _ = files(folder, door)
    settings = folder / "muttrc"
    settings.write_text(
        f'set smtp_url="smtp://{door.name}@localhost:{door.port}/" smtp_pass="{door.password}"\n'
        f'set ssl_starttls=yes ssl_force_tls=yes ssl_ca_certificates_file="{roots}" copy=no\n'
        f'set certificate_file="{roots}" from="{SENDER}" use_envelope_from=yes charset=utf-8\n'
    )
    home = {**os.environ, "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    await run(
        require("mutt"),
        *("-n", "-F", str(settings), "-s", SUBJECT, "--", FIRST, SECOND),
        stdin=body.read_bytes(),
        env=home,
    )


async def by_snail(door: Door, folder: Path) -> None:
    roots, body, _ = files(folder, door)
    place = f"smtp://{door.name}:{door.password.replace(' ', '%20')}@localhost:{door.port}"
    settings = [f"mta={place}", "smtp-use-starttls", "smtp-auth=plain"]
    settings += [f"tls-ca-file={roots}", f"from={SENDER}"]
    await run(
        require("s-nail"),
        *("-:/", "-S", "v15-compat", *(word for each in settings for word in ("-S", each))),
        *("-s", SUBJECT, FIRST, SECOND),
        stdin=body.read_bytes(),
        env={**os.environ, "HOME": str(folder), "LC_ALL": "C.UTF-8"},
    )


async def by_git(door: Door, folder: Path) -> None:
    roots, body, _ = files(folder, door)
    patch = folder / "0001-x.patch"
    patch.write_text(
        f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: {SENDER}\nDate: Mon, 23 Nov 2026 12:00:00 +0000\n"
        f"Subject: {SUBJECT}\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n"
        f"Content-Transfer-Encoding: 8bit\n\n{body.read_text()}"
    )
    git = require("git", "git git-email")
    home = {**os.environ, "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        home |= {f"GIT_{who}_NAME": "Anna", f"GIT_{who}_EMAIL": SENDER}
    await run(git, "init", "-q", str(folder), env=home)
    await run(
        git,
        *("-C", str(folder), "send-email", "--quiet", "--confirm=never", "--suppress-cc=all"),
        *("--smtp-server=localhost", f"--smtp-server-port={door.port}", "--smtp-encryption=tls"),
        *(f"--smtp-user={door.name}", f"--smtp-pass={door.password}", f"--smtp-ssl-cert-path={roots}"),
        *(f"--from={SENDER}", f"--to={FIRST}", f"--to={SECOND}", str(patch)),
        env=home,
    )


PROGRAMS = [by_curl, by_aiosmtplib, by_django, by_nodemailer, by_net_smtp, by_mutt, by_snail, by_git]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
async def test_what_a_program_sends_arrives_once_as_it_was_sent(
    program: Callable[[Door, Path], Awaitable[None]], tmp_path: Path
) -> None:
    async with World([Site("harbour.example")]) as world:
        site = world["harbour.example"]
        daemon = Daemon({"harbour.example": site.port})
        door = daemon.guard()
        async with daemon:
            await program(door, tmp_path)
            await daemon.event("removed")
            assert [line["account"] for line in daemon.events("accepted")] == [door.name]
            assert len(daemon.events("tried")) == len(daemon.events("tried", status="sent")) == 2
            assert await daemon.queue() == []
        assert {arrival.sender for arrival in site.arrivals} == {SENDER}
        arrived = sorted(to for arrival in site.arrivals for to in arrival.recipients)
        assert arrived == [FIRST, SECOND]
        for arrival in site.arrivals:
            message = email.message_from_bytes(arrival.octets, policy=default)
            assert isinstance(message, EmailMessage)
            assert SENDER in str(message["From"])
            assert all(to in str(message["To"]) for to in (FIRST, SECOND))
            assert message["Subject"] == SUBJECT
            # Some programs end a text with an empty line of their own.
            assert message.get_content().replace("\r\n", "\n").rstrip() == BODY.rstrip()
