"""Our listings of what a real Postfix has queued are those that it prints itself, character by character."""

from __future__ import annotations

import asyncio
import json
import smtplib
import time
from typing import Any

from postroad.cli.postqueue import Listing, as_json
from postroad.demo.process import HANGS_AFTER, free_port
from postroad.mail.address import parse_address
from postroad.mail.lifecycle import State
from postroad.mail.message import Message, Recipient
from postroad.mail.shape import Shape
from tests.support.build import deferred, message, recipient
from tests.support.peers import Postfix

Mail = tuple[Message, list[Recipient]]
MAILS = [
    ("a@sender.example", ["b@one.example", "c@one.example", "d@two.example", "e@one.example"], 200),
    ("", ["f@one.example"], 10),
    ("somebody.with.a.long.name@a.very.long.domain.of.a.sender.example", ["g@two.example"], 9000),
    ('"quo ted"@sender.example', ["h@two.example", "i@one.example"], 3),
]


def hand_in(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        for sender, recipients, size in MAILS:
            client.sendmail(sender, recipients, f"Subject: t\r\n\r\n{'x' * 60}\r\n" * (size // 60 + 1))


async def queued(peer: Postfix) -> list[dict[str, Any]]:
    """What `postqueue -j` says, once every recipient was tried."""
    async with asyncio.timeout(HANGS_AFTER):
        while True:
            said = await peer.command("postqueue", "-j")
            found = [json.loads(line) for line in said.splitlines()]
            tried = all("delay_reason" in to for one in found for to in one["recipients"])
            rests = {one["queue_name"] for one in found} <= {"deferred", "hold"}
            if len(found) == len(MAILS) and tried and rests:
                return found
            await asyncio.sleep(0.1)


def as_ours(one: dict[str, Any]) -> Mail:
    sender = one["sender"]
    owner = message(
        id=one["queue_id"],
        sender=None if sender == "MAILER-DAEMON" else parse_address(sender),
        size=one["message_size"],
        received_at=one["arrival_time"],
    )
    state = State.HELD if one["queue_name"] == "hold" else State.WAITING
    rows = [
        recipient(
            owner,
            n,
            address=parse_address(to["address"]),
            state=state,
            last=deferred(text=to["delay_reason"]),
        )
        for n, to in enumerate(one["recipients"])
    ]
    return owner, rows


async def test_our_formats_are_those_of_postfix() -> None:
    async with Postfix(dead={"one.example": free_port(), "two.example": free_port()}) as peer:
        await asyncio.to_thread(hand_in, peer.port)
        first, *_ = await queued(peer)
        await peer.command("postsuper", "-h", first["queue_id"])
        found = await queued(peer)
        listed, said = await peer.command("postqueue", "-p"), await peer.command("postqueue", "-j")
        ours = list(map(as_ours, found))
        shapes, at = await shapes_of(peer, ours)
    listing = Listing()
    lines = [line for mail in ours for line in listing.message(*mail)] + list(listing.end())
    assert "\n".join(lines) + "\n" == listed
    assert "".join(f"{as_json(*mail)}\n" for mail in ours) == said
    assert [
        shape(ours, at, Shape(), 5),
        shape(ours, at, Shape(), 5, senders=True),
        shape(ours, at, Shape(4), 1),
        shape(ours, at, Shape(3, linear=True), 60, width=100),
    ] == shapes


async def shapes_of(peer: Postfix, mails: list[Mail]) -> tuple[list[str], float]:
    """What qshape says, and a time at which it is so: that no message came into another minute meanwhile."""

    def ages(now: float) -> list[int]:
        return [int(now - owner.received_at) // 60 for owner, _ in mails]

    while True:
        before = time.time()
        shapes = [
            await peer.command("qshape", *words, "hold", "deferred")
            for words in ((), ("-s",), ("-b", "4", "-t", "1"), ("-l", "-b", "3", "-t", "60", "-w", "100"))
        ]
        # It counts whole seconds, and so may we be one ahead of it.
        if ages(before - 1) == ages(time.time() + 1):
            return shapes, before


def shape(
    mails: list[Mail],
    now: float,
    table: Shape,
    tick: int,
    *,
    width: int = 80,
    senders: bool = False,
) -> str:
    for owner, rows in mails:
        units = int((now - owner.received_at) // (60 * tick))
        sender = owner.sender.domain if owner.sender else "MAILER-DAEMON"
        for name in [sender] if senders else [row.address.domain for row in rows]:
            table.add(name, units, 1)
    lines = list(table.lines(tick, width))
    # Among names of one count and length qshape has no order; ours is that of the letters.
    return "".join(f"{line}\n" for line in lines)
