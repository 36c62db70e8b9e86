"""The whole daemon: every door asks what an account may send, and a reload changes it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

from postroad.demo.process import free_port
from tests.support.daemon import Daemon
from tests.support.submitting import Client

LETTER = b"From: <a@sender.example>\r\nSubject: s\r\n\r\nhello\r\n"


def open_mail(port: int, *commands: str) -> list[str]:
    with Client(port) as client:
        return [client.say(command) for command in commands]


async def test_a_door_refuses_as_early_as_it_knows() -> None:
    rules = {"allowed_senders": ["sender.example"], "max_message_size": "1KiB", "max_recipients": 1}
    async with Daemon({}, {"account_defaults": rules}) as daemon:
        said = await asyncio.to_thread(
            open_mail,
            daemon.port,
            "MAIL FROM:<boss@other.example>",
            "MAIL FROM:<a@sender.example> SIZE=2000",
            "MAIL FROM:<a@sender.example> SIZE=500",
            "RCPT TO:<b@harbour.example>",
            "RCPT TO:<c@harbour.example>",
        )
        assert said == [
            "550 5.7.1 allowed_senders: account net:127.0.0.1 may send as sender.example",
            "552 5.3.4 max_message_size: 1024 octets for account net:127.0.0.1",
            "250 2.1.0 Sender OK",
            "250 2.1.5 Recipient OK",
            "452 4.5.3 Too many recipients",
        ]


async def test_a_local_user_is_an_account_too_and_a_reload_changes_what_he_may() -> None:
    async with Daemon({"harbour.example": free_port()}) as daemon:
        (daemon.directory / "letter").write_bytes(LETTER)
        send = ("send", "--from", "a@sender.example", "--to", "b@harbour.example", "--no-wait")
        letter = str(daemon.directory / "letter")
        status, _, _ = await daemon.process.command(*send, letter)
        assert status == 0
        daemon.change({"account_defaults": {"allowed_senders": ["{account}@sender.example"]}})
        os.kill(daemon.process.pid, signal.SIGHUP)
        await daemon.event("reloaded")
        status, out, error = await daemon.process.command(*send, letter)
        assert status != 0
        assert f"allowed_senders: account uid:{os.getuid()} may send as" in out + error
        assert len(await daemon.queue()) == 1


async def test_a_large_message_that_is_made_again_leaves_nothing_behind() -> None:
    large = LETTER.replace(b"Subject", b"Idempotency-Key: big\r\nSubject") + b"x" * 70 + b"\r\n"
    large += (b"y" * 70 + b"\r\n") * 30_000
    async with Daemon({"harbour.example": free_port()}) as daemon:
        first = await daemon.submit(["b@harbour.example"], large)
        before = Counter(path.name for path in (daemon.directory / "state" / "spool").rglob("*"))
        assert await daemon.submit(["b@harbour.example"], large) != ""
        await daemon.event("replayed", id=first)
        after = Counter(path.name for path in (daemon.directory / "state" / "spool").rglob("*"))
        assert [row["id"] for row in await daemon.queue()] == [first]
        assert after == before
        assert len(daemon.events("replayed")) == 1
