"""kill -9 with a long queue: the next start dispatches what is due at once, and nothing is missing.

POSTROAD_BACKLOG says how many recipients wait (20,000; 100,000 take twice as long, and the benchmark
of that name has a million).
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace

import pytest

from postroad.demo.world import Site, World
from postroad.mail.address import Address
from postroad.mail.message import Message, Recipient
from postroad.mail.routing import DIRECT, Hop
from postroad.mail.throttle import Limits
from tests.support.build import HOUR, content, message, recipient
from tests.support.daemon import Daemon
from tests.support.queued import fill

BACKLOG = int(os.environ.get("POSTROAD_BACKLOG", "20000"))
EACH = 50
DOMAINS = 2000
DUE = 300


def long_lived(number: int, now: float) -> tuple[Message, list[Recipient], bytes]:
    """A message that was tried and is due in hours."""
    owner = message(
        number, size=content(body=b"x\r\n").size, received_at=now, expires_at=now + 100 * HOUR, warn_at=None
    )
    rows = []
    for n in range(EACH):
        name = f"d{(number * EACH + n) % DOMAINS}.backlog.example"
        to = recipient(f"b{n}@{name}", n, message=owner.id, due=now + 6 * HOUR + n, attempts=3)
        rows.append(replace(to, address=Address(f"b{n}", name), hop=Hop(DIRECT, name)))
    return owner, rows, b"x\r\n"


def due(number: int, hop: Hop, now: float) -> tuple[Message, list[Recipient], bytes]:
    owner = message(
        number, size=content(body=b"y\r\n").size, received_at=now, expires_at=now + HOUR, warn_at=None
    )
    return owner, [recipient(reader(number), message=owner.id, hop=hop, due=now)], b"y\r\n"


def reader(number: int) -> str:
    return f"box{number}@harbour.example"


@pytest.mark.timeout(600 + BACKLOG // 100)
async def test_a_daemon_killed_with_a_long_queue_goes_on_at_once_and_has_all_of_it() -> None:
    now = time.time()
    async with World([Site("harbour.example")]) as world:
        site = world["harbour.example"]
        daemon = Daemon({"harbour.example": site.port})
        # Two for each connection that there may be: of one of these the daemon has heard the answer to the
        # first, and most of what is due has not gone yet.
        some = asyncio.Event()
        site.on_change = lambda: some.set() if len(site.arrivals) > 2 * Limits().connections else None
        hop = Hop("relay-1", f"127.0.0.1:{site.port}")
        count = BACKLOG // EACH
        mails = [long_lived(number, now) for number in range(1, count + 1)]
        urgent = range(count + 1, count + DUE + 1)
        mails += [due(number, hop, now) for number in urgent]
        state = daemon.directory / "state"
        state.mkdir()
        await fill(state, *mails)
        async with daemon:
            await some.wait()
            await daemon.process.kill()
            began = time.monotonic()
            await daemon.restart()
            wanted = {reader(number) for number in urgent}
            await daemon.until(lambda: wanted == {to for each in site.arrivals for to in each.recipients})
            print(f"{BACKLOG} wait: all that was due came {time.monotonic() - began:.1f} s after the kill")
            assert await daemon.process.stop() == 0
            await daemon.restart()
            await daemon.until(lambda: len(daemon.events("recovered")) == 3)
            first, second, third = (line["recipients"] for line in daemon.events("recovered"))
            assert first == BACKLOG + DUE
            assert third == BACKLOG < second < first
            assert await daemon.process.stop() == 0
            assert (await daemon.process.command("spool", "check"))[0] == 0
