"""Real mail clients: each hands one letter in over STARTTLS with a password, as its users have it do."""

from __future__ import annotations

import asyncio
import json
import os
import smtplib
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiosmtplib

from postroad.demo.letters import Door
from tests.support.peers import run
from tests.support.requires import require

SENDER = "anna@sender.example"
RECIPIENT = "bert@harbour.example"
SUBJECT = "by hand"
LINES = ("One line.", ".A line with a dot.", "..Two dots.", "The last line.")
BODY = "".join(f"{line}\r\n" for line in LINES).encode()
LETTER = (
    f"From: <{SENDER}>\r\nTo: <{RECIPIENT}>\r\nSubject: {SUBJECT}\r\n"
    "Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@sender.example>\r\n\r\n"
).encode() + BODY

Client = Callable[[Door, Path], Awaitable[None]]


def _unix(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n")


def _write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _home(folder: Path, **more: str) -> dict[str, str]:
    """An environment in which nothing of the user's own counts."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "EMAIL"))}
    return {**kept, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), **more}


async def by_swaks(door: Door, folder: Path) -> None:
    # swaks turns lines into CRLF itself.
    letter = _write(folder, "letter", _unix(LETTER))
    await run(
        require("swaks", "swaks libnet-ssleay-perl"),
        *("--server", "127.0.0.1", "--port", str(door.port), "--helo", "client.example"),
        *("--from", SENDER, "--to", RECIPIENT, "--data", f"@{letter}"),
        *("--tls", "--auth", "PLAIN", "--auth-user", door.name, "--auth-password", door.password),
    )


async def by_msmtp(door: Door, folder: Path) -> None:
    roots, secret = _write(folder, "roots.pem", door.roots), _write(folder, "secret", door.password)
    await run(
        require("msmtp"),
        *("--host=localhost", f"--port={door.port}", "--file=/dev/null", "--protocol=smtp"),
        *("--tls=on", "--tls-starttls=on", f"--tls-trust-file={roots}"),
        *("--auth=plain", f"--user={door.name}", f"--passwordeval=cat {secret}"),
        *(f"--from={SENDER}", "--", RECIPIENT),
        stdin=_unix(LETTER),
        env=_home(folder),
    )


async def by_curl(door: Door, folder: Path) -> None:
    await run(
        require("curl"),
        *("-sS", "--ssl-reqd", "--cacert", str(_write(folder, "roots.pem", door.roots))),
        *(f"smtp://localhost:{door.port}/client.example", "--user", f"{door.name}:{door.password}"),
        *("--mail-from", SENDER, "--mail-rcpt", RECIPIENT, "-T", str(_write(folder, "letter", LETTER))),
    )


async def by_smtplib(door: Door, folder: Path) -> None:
    def send() -> None:
        with smtplib.SMTP("localhost", door.port, timeout=20) as client:
            client.starttls(context=ssl.create_default_context(cadata=door.roots))
            client.login(door.name, door.password)
            assert client.sendmail(SENDER, [RECIPIENT], LETTER) == {}

    await asyncio.to_thread(send)


async def by_aiosmtplib(door: Door, folder: Path) -> None:
    refused, _ = await aiosmtplib.send(
        LETTER,
        sender=SENDER,
        recipients=[RECIPIENT],
        hostname="localhost",
        port=door.port,
        username=door.name,
        password=door.password,
        start_tls=True,
        tls_context=ssl.create_default_context(cadata=door.roots),
    )
    assert refused == {}


DJANGO = """\
import sys
from django.conf import settings
port, user, password, sender, recipient, subject = sys.argv[1:]
settings.configure(EMAIL_HOST="localhost", EMAIL_PORT=int(port), EMAIL_USE_TLS=True,
    EMAIL_HOST_USER=user, EMAIL_HOST_PASSWORD=password)
from django.core.mail import send_mail
assert send_mail(subject, sys.stdin.read(), sender, [recipient]) == 1
"""


async def by_django(door: Door, folder: Path) -> None:
    # It takes the system's roots, and those that OpenSSL is told of.
    await run(
        *(sys.executable, "-c", DJANGO, str(door.port), door.name, door.password),
        *(SENDER, RECIPIENT, SUBJECT),
        stdin=_unix(BODY),
        env=_home(folder, SSL_CERT_FILE=str(_write(folder, "roots.pem", door.roots))),
    )


NODEMAILER = """\
const [port, user, pass, from, to, subject] = process.argv.slice(1);
const text = require("fs").readFileSync(0, "utf8");
require("/usr/share/nodejs/nodemailer")
  .createTransport({ host: "localhost", port: Number(port), requireTLS: true, auth: { user, pass } })
  .sendMail({ from, to, subject, text })
  .catch((error) => { console.error(error); process.exit(1); });
"""


async def by_nodemailer(door: Door, folder: Path) -> None:
    await run(
        *(require("node", "node-nodemailer"), "-e", NODEMAILER, str(door.port), door.name, door.password),
        *(SENDER, RECIPIENT, SUBJECT),
        stdin=_unix(BODY),
        env=_home(folder, NODE_EXTRA_CA_CERTS=str(_write(folder, "roots.pem", door.roots))),
    )


PHPMAILER = """\
require "/usr/share/php/libphp-phpmailer/autoload.php";
[, $port, $user, $password, $roots, $from, $to, $subject] = $argv;
$mail = new PHPMailer\\PHPMailer\\PHPMailer(true);
$mail->isSMTP();
$mail->Host = "localhost"; $mail->Port = (int) $port; $mail->SMTPSecure = "tls";
$mail->SMTPAuth = true; $mail->Username = $user; $mail->Password = $password;
$mail->SMTPOptions = ["ssl" => ["cafile" => $roots]];
$mail->setFrom($from); $mail->addAddress($to);
$mail->Subject = $subject; $mail->Body = stream_get_contents(STDIN);
$mail->send();
"""


async def by_phpmailer(door: Door, folder: Path) -> None:
    await run(
        *(require("php", "php-cli libphp-phpmailer"), "-r", PHPMAILER, "--"),
        *(str(door.port), door.name, door.password, str(_write(folder, "roots.pem", door.roots))),
        *(SENDER, RECIPIENT, SUBJECT),
        stdin=_unix(BODY),
        env=_home(folder),
    )


NET_SMTP = """\
use strict; use Net::SMTP;
my ($port, $user, $password, $roots, $from, $to) = @ARGV;
my $smtp = Net::SMTP->new("localhost", Port => $port, Timeout => 20) or die "no connection";
$smtp->starttls(SSL_ca_file => $roots) or die "TLS: $@";
$smtp->auth($user, $password) or die "AUTH: " . $smtp->message;
$smtp->mail($from) && $smtp->to($to) && $smtp->data(do { local $/; <STDIN> }) or die $smtp->message;
$smtp->quit;
"""


async def by_net_smtp(door: Door, folder: Path) -> None:
    await run(
        *(require("perl"), "-e", NET_SMTP, str(door.port), door.name, door.password),
        *(str(_write(folder, "roots.pem", door.roots)), SENDER, RECIPIENT),
        stdin=_unix(LETTER),
        env=_home(folder),
    )


async def by_git_send_email(door: Door, folder: Path) -> None:
    roots = _write(folder, "roots.pem", door.roots)
    await run(
        *(require("git", "git git-email"), "send-email", "--quiet", "--confirm=never", "--suppress-cc=all"),
        *(f"--from=<{SENDER}>", f"--to={RECIPIENT}", "--smtp-server=localhost"),
        *(f"--smtp-server-port={door.port}", "--smtp-encryption=tls", f"--smtp-ssl-cert-path={roots}"),
        *(f"--smtp-user={door.name}", f"--smtp-pass={door.password}"),
        str(_write(folder, "letter", _unix(LETTER))),
        env=_home(folder, GIT_CONFIG_NOSYSTEM="1"),
    )


async def by_mutt(door: Door, folder: Path) -> None:
    settings = {
        "smtp_url": f"smtp://{door.name}@localhost:{door.port}/",
        "smtp_pass": door.password,
        "ssl_starttls": "yes",
        "ssl_force_tls": "yes",
        "certificate_file": str(_write(folder, "roots.pem", door.roots)),
        "from": SENDER,
        "use_from": "yes",
        "copy": "no",
    }
    rc = _write(folder, "muttrc", "".join(f"set {key} = {json.dumps(v)}\n" for key, v in settings.items()))
    await run(
        *(require("mutt"), "-n", "-F", str(rc), "-s", SUBJECT, "--", RECIPIENT),
        stdin=_unix(BODY),
        env=_home(folder),
    )


async def by_s_nail(door: Door, folder: Path) -> None:
    settings = {
        "v15-compat": "yes",
        "mta": f"smtp://{door.name}:{door.password.replace(' ', '%20')}@localhost:{door.port}",
        "smtp-use-starttls": "",
        "smtp-auth": "plain",
        "tls-ca-file": str(_write(folder, "roots.pem", door.roots)),
        "tls-verify": "strict",
        "from": SENDER,
    }
    options = [part for key, value in settings.items() for part in ("-S", f"{key}={value}" if value else key)]
    await run(
        *(require("s-nail"), "-:/", *options, "-s", SUBJECT, "-.", RECIPIENT),
        stdin=_unix(BODY),
        env=_home(folder, MAILRC="/dev/null"),
    )


CLIENTS: list[Client] = [
    by_aiosmtplib,
    by_curl,
    by_django,
    by_git_send_email,
    by_msmtp,
    by_mutt,
    by_net_smtp,
    by_nodemailer,
    by_phpmailer,
    by_s_nail,
    by_smtplib,
    by_swaks,
]
