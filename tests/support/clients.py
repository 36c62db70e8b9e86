"""Real mail clients: each hands one letter in over STARTTLS with a password, as its users have it do."""

from __future__ import annotations

import asyncio
import os
import smtplib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from postroad.demo.letters import Door
from postroad.demo.process import HANGS_AFTER
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


async def by_smtplib(door: Door, folder: Path) -> None:
    def send() -> None:
        with smtplib.SMTP("localhost", door.port, timeout=HANGS_AFTER) as client:
            client.starttls(context=ssl.create_default_context(cadata=door.roots))
            client.login(door.name, door.password)
            assert client.sendmail(SENDER, [RECIPIENT], LETTER) == {}

    await asyncio.to_thread(send)


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


CLIENTS: list[Client] = [
    by_msmtp,
    by_phpmailer,
    by_smtplib,
    by_swaks,
]
