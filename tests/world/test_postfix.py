"""A thousand messages through the daemon into a real Postfix."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

from tests.support.daemon import Daemon
from tests.support.peers import Postfix, smtp_source, without_trace

COUNT = 1000
LETTER = (
    b"From: <anna@sender.example>\r\nTo: <box@postfix.example>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@sender.example>\r\n"
    b"X-Folded: one\r\n\ttwo\r\n   three\r\n\r\n"
    b".dot\r\n..dots\r\n\r\n\r\nFrom the start of a line\r\n" + bytes(range(128, 256)) + b"\r\nend\r\n"
)


async def settled(daemon: Daemon, count: int) -> None:
    """The daemon has let go of `count` messages."""
    await daemon.until(lambda: len(daemon.events("removed")) >= count, what=f"{count} messages removed")


async def test_each_of_a_thousand_messages_reaches_postfix_exactly_once() -> None:
    async with Postfix() as peer, Daemon({"postfix.example": peer.port}) as daemon:
        await smtp_source(daemon.port, COUNT, "box@postfix.example", sessions=10)
        await settled(daemon, COUNT)
        while peer.count() < COUNT and "status=bounced" not in peer.log():  # its own last step
            await asyncio.sleep(0.05)
        found = Counter(
            match[1]
            for octets in peer.mailbox()
            if (match := re.search(rb"X-Original-To: (\d*box\d*)@", octets))
        )
        assert (len(found), set(found.values())) == (COUNT, {1})
        assert {line["status"] for line in daemon.events("tried")} == {"sent"}
        assert await daemon.queue() == []


async def test_what_postfix_stores_is_what_was_handed_in() -> None:
    async with Postfix() as peer, Daemon({"postfix.example": peer.port}) as daemon:
        await daemon.submit(["box@postfix.example"], LETTER, options=" BODY=8BITMIME")
        await settled(daemon, 1)
        while not peer.count():
            await asyncio.sleep(0.05)
        stored = without_trace(peer.mailbox()[0])
        assert stored.startswith(b"Received: ")
        assert stored.endswith(b"\r\n" + LETTER)


async def test_a_mailbox_that_postfix_does_not_know_comes_back() -> None:
    async with Postfix(mailboxes="inline:{box@postfix.example=box/}") as peer:
        routes = {"postfix.example": peer.port}
        async with Daemon(routes) as daemon:
            await daemon.submit(
                ["box@postfix.example", "missing@postfix.example"], LETTER, sender="box@postfix.example"
            )
            await daemon.event("notified", kind="failed", to="box@postfix.example")
            await settled(daemon, 2)
            while peer.count() < 2:
                await asyncio.sleep(0.05)
            (notice,) = [octets for octets in peer.mailbox() if b"\nReturn-Path: <>" in b"\n" + octets]
            assert b"Final-Recipient: rfc822;missing@postfix.example" in notice.replace(b"; ", b";")
