"""Real mail clients hand in; what they sent arrives."""

from __future__ import annotations

import asyncio
import os
import smtplib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postroad.demo.letters import Door
from postroad.demo.world import Site, World
from tests.support.daemon import Daemon
from tests.support.peers import run, smtp_source
from tests.support.requires import require

SENDER = "anna@sender.example"
RECIPIENT = "bert@harbour.example"
BODY = b"One line.\r\n.A line with a dot.\r\n..Two dots.\r\n"
LETTER = (
    b"From: <anna@sender.example>\r\nTo: <bert@harbour.example>\r\nSubject: by hand\r\n"
    b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@sender.example>\r\n\r\n" + BODY
)


async def by_swaks(door: Door, folder: Path) -> None:
    letter = folder / "letter"
    # swaks turns lines into CRLF itself.
    letter.write_bytes(LETTER.replace(b"\r\n", b"\n"))
    await run(
        require("swaks", "swaks libnet-ssleay-perl"),
        *("--server", "127.0.0.1", "--port", str(door.port), "--helo", "client.example"),
        *("--from", SENDER, "--to", RECIPIENT, "--data", f"@{letter}"),
        *("--tls", "--auth", "PLAIN", "--auth-user", door.name, "--auth-password", door.password),
    )


async def by_msmtp(door: Door, folder: Path) -> None:
    roots = folder / "roots.pem"
    roots.write_text(door.roots)
    secret = folder / "secret"
    secret.write_text(door.password)
    await run(
        require("msmtp"),
        *("--host=localhost", f"--port={door.port}", "--file=/dev/null", "--protocol=smtp"),
        *("--tls=on", "--tls-starttls=on", f"--tls-trust-file={roots}"),
        *("--auth=plain", f"--user={door.name}", f"--passwordeval=cat {secret}"),
        *(f"--from={SENDER}", "--", RECIPIENT),
        stdin=LETTER.replace(b"\r\n", b"\n"),
        env={**os.environ, "HOME": str(folder)},
    )


async def by_smtplib(door: Door, folder: Path) -> None:
    def send() -> None:
        with smtplib.SMTP("localhost", door.port, timeout=20) as client:
            client.starttls(context=ssl.create_default_context(cadata=door.roots))
            client.login(door.name, door.password)
            assert client.sendmail(SENDER, [RECIPIENT], LETTER) == {}

    await asyncio.to_thread(send)


@pytest.mark.parametrize("client", [by_swaks, by_msmtp, by_smtplib])
async def test_a_client_with_starttls_and_a_password_is_served(
    client: Callable[[Door, Path], Awaitable[None]], tmp_path: Path
) -> None:
    async with World([Site("harbour.example")]) as world:
        daemon = Daemon({"harbour.example": world["harbour.example"].port})
        door = daemon.guard()
        async with daemon:
            await client(door, tmp_path)
            await daemon.event("tried", status="sent", to=RECIPIENT)
        (arrival,) = world["harbour.example"].arrivals
        trace = arrival.octets.partition(b"\r\nFrom:")[0]
        assert (arrival.sender, arrival.recipients) == (SENDER, (RECIPIENT,))
        # swaks ends a message with an empty line of its own.
        assert arrival.octets.rstrip(b"\r\n").endswith(b"\r\n\r\n" + BODY.rstrip(b"\r\n"))
        assert b"Subject: by hand\r\n" in arrival.octets
        # RFC 3848, RFC 6531: over TLS, authenticated; some clients ask for SMTPUTF8 always.
        assert b"with ESMTPSA" in trace or b"with UTF8SMTPSA" in trace


async def test_a_wrong_password_is_refused_and_logged() -> None:
    daemon = Daemon()
    door = daemon.guard()

    def send() -> int:
        with smtplib.SMTP("localhost", door.port, timeout=20) as client:
            client.starttls(context=ssl.create_default_context(cadata=door.roots))
            try:
                client.login(door.name, "wrong horse")
            except smtplib.SMTPAuthenticationError as refusal:
                return refusal.smtp_code
        raise AssertionError("a wrong password was taken")

    async with daemon:
        assert await asyncio.to_thread(send) == 535
        line = await daemon.event("login-failed")
        assert line["login"] == door.name


async def test_a_client_without_login_sends_nothing() -> None:
    daemon = Daemon()
    door = daemon.guard()

    def send() -> int:
        with smtplib.SMTP("localhost", door.port, timeout=20) as client:
            client.starttls(context=ssl.create_default_context(cadata=door.roots))
            client.ehlo()
            return client.mail(SENDER)[0]

    async with daemon:
        assert await asyncio.to_thread(send) == 530


async def test_every_message_of_a_load_generator_arrives_once() -> None:
    async with World([Site("harbour.example")]) as world:
        site = world["harbour.example"]
        async with Daemon({"harbour.example": site.port}) as daemon:
            await smtp_source(daemon.port, 40, "box@harbour.example", sessions=4)
            await daemon.until(lambda: len(daemon.events("removed")) == 40, what="40 messages removed")
            assert await daemon.queue() == []
        recipients = [to for arrival in site.arrivals for to in arrival.recipients]
        assert len(set(recipients)) == len(recipients) == 40
