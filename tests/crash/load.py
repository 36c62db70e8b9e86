"""Load for the crash tests: clients that number what they hand in, and know what had its 250."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from typing import Any

from postroad.demo.process import HANGS_AFTER
from postroad.demo.world import Site
from tests.support.submitting import Client

RECIPIENTS = ("box@harbour.example", "bell@harbour.example", "mast@harbour.example")
CLIENTS = 4
ID = re.compile(rb"\bid ([0-9A-Z]{12})\b")
MARK = re.compile(rb"^Subject: (\S+)\r$", re.MULTILINE)


def letter(mark: str) -> bytes:
    """A message whose body follows from its mark; one in a hundred is large."""
    lines = 3000 if mark.endswith("17") else 12
    return (
        f"From: <a@sender.example>\r\nSubject: {mark}\r\n\r\n".encode()
        + f"{mark} {'x' * 60}\r\n".encode() * lines
    )


class Load:
    """Clients that keep handing in until the connection breaks; `taken` are the marks that had their 250."""

    def __init__(self, port: int, name: str, clients: int = CLIENTS) -> None:
        self.taken: list[str] = []
        self.last = "nothing"
        self._enough = asyncio.Event()
        self._wanted = 0
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._clients = [
            asyncio.create_task(asyncio.to_thread(self._client, port, f"{name}c{n}")) for n in range(clients)
        ]

    def _client(self, port: int, name: str) -> None:
        number = 0
        # Every third client writes to three.
        to = RECIPIENTS[: 1 if int(name[-1]) % 3 else 3]
        try:
            with Client(port, timeout=HANGS_AFTER) as client:
                while not self._stop.is_set():
                    number += 1
                    mark = f"{name}-{number}"
                    reply = client.transact("a@sender.example", to, letter(mark))
                    self.last = reply
                    if not reply.startswith("250"):
                        return
                    self.taken.append(mark)
                    if len(self.taken) >= self._wanted:
                        self._loop.call_soon_threadsafe(self._enough.set)
        except OSError:
            return

    async def until(self, count: int) -> None:
        """So many had their 250."""
        self._wanted = count
        enough: asyncio.Future[bool] = asyncio.ensure_future(self._enough.wait())
        refused: asyncio.Future[Any] = asyncio.gather(*self._clients)
        both: set[asyncio.Future[Any]] = {enough, refused}
        await asyncio.wait(both, timeout=HANGS_AFTER, return_when=asyncio.FIRST_COMPLETED)
        assert enough.done(), f"{len(self.taken)} taken, then {self.last}"

    async def end(self) -> list[str]:
        """After the daemon has gone: what had its 250."""
        self._stop.set()
        await asyncio.gather(*self._clients)
        return self.taken


def arrived(site: Site) -> Counter[str]:
    """How often each numbered message came in: to that one of its recipients who has it most often."""
    each = Counter(
        (mark.decode(), recipient)
        for arrival in site.arrivals
        for mark in MARK.findall(arrival.octets)[:1]
        for recipient in arrival.recipients
    )
    # A claim may cut a message in two: that is not twice.
    most: Counter[str] = Counter()
    for (mark, _), count in each.items():
        most[mark] = max(most[mark], count)
    return most


def again(site: Site) -> Counter[tuple[str, str]]:
    """How often each (queue id, recipient) came in after the first time."""
    each = Counter(
        (ID.findall(arrival.octets)[0].decode(), recipient)
        for arrival in site.arrivals
        for recipient in arrival.recipients
    )
    return Counter({key: count - 1 for key, count in each.items() if count > 1})


def altered(site: Site) -> list[str]:
    """Marks of messages whose body is not as it was handed in."""
    return [
        mark
        for arrival in site.arrivals
        for mark in [MARK.findall(arrival.octets)[0].decode()]
        if arrival.octets.partition(b"\r\n\r\n")[2] != letter(mark).partition(b"\r\n\r\n")[2]
    ]
