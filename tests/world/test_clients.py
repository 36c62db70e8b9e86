"""Real mail clients hand in; what they sent arrives."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path

import pytest

from postroad.demo.process import HANGS_AFTER
from postroad.demo.world import Site, World
from tests.support.clients import BODY, CLIENTS, RECIPIENT, SENDER, SUBJECT, Client
from tests.support.daemon import Daemon
from tests.support.peers import smtp_source


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__.removeprefix("by_"))
async def test_what_a_client_hands_in_arrives_once_with_envelope_headers_and_body_as_sent(
    client: Client, tmp_path: Path
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
    letter = message_from_bytes(arrival.octets, policy=SMTP)
    assert [address.addr_spec for address in letter["From"].addresses] == [SENDER]
    assert [address.addr_spec for address in letter["To"].addresses] == [RECIPIENT]
    assert letter["Subject"] == SUBJECT
    assert letter["Date"].datetime is not None
    assert [len(letter.get_all(name, ())) for name in ("Message-ID", "Received")] == [1, 1]
    # swaks ends a message with an empty line of its own.
    assert letter.get_content().rstrip("\r\n") == BODY.decode().rstrip("\r\n")
    # RFC 3848, RFC 6531: over TLS, authenticated; some clients ask for SMTPUTF8 always.
    assert b"with ESMTPSA" in trace or b"with UTF8SMTPSA" in trace


async def test_a_wrong_password_is_refused_and_logged() -> None:
    daemon = Daemon()
    door = daemon.guard()

    def send() -> int:
        with smtplib.SMTP("localhost", door.port, timeout=HANGS_AFTER) as client:
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
        with smtplib.SMTP("localhost", door.port, timeout=HANGS_AFTER) as client:
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
