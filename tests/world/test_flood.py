"""Ten thousand silent connections, and guesses at passwords: others are served, and the log tells who."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import smtplib
import socket
import ssl
from collections import Counter
from collections.abc import Iterator

import pytest

from postroad.demo.process import HANGS_AFTER
from postroad.demo.world import Site, World
from tests.support.daemon import Daemon

LETTER = b"From: <anna@sender.example>\r\nSubject: x\r\n\r\nx\r\n"
RECIPIENT = "bert@harbour.example"
# Connections from one address, as many as the default lets in.
EACH = 100


@contextlib.contextmanager
def silent(port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many connections, from addresses all over 127.0.0.0/8."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held: list[socket.socket] = []
    try:
        for n in range(count):
            host = n // EACH
            source = (f"127.0.{1 + host // 250}.{1 + host % 250}", 0)
            held.append(socket.create_connection(("127.0.0.1", port), HANGS_AFTER, source_address=source))
        yield held
    finally:
        for sock in held:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def descriptors(pid: int) -> int:
    from os import listdir

    return len(listdir(f"/proc/{pid}/fd"))


@pytest.mark.timeout(1800)
async def test_ten_thousand_silent_connections_keep_nobody_out() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, hard - 2_500)
    async with World([Site("harbour.example")]) as world:
        # All of them are let in, and then there is no room for one more. On a fast machine they are not even
        # two seconds old by then, and a newcomer would be told to try again.
        settings = {"submission": {"max_connections": count, "shed_after": "1ms", "idle_timeout": "1d"}}
        async with Daemon({"harbour.example": world["harbour.example"].port}, settings) as daemon:
            had = await daemon.event("descriptors")
            assert had["limit"] == hard
            before = descriptors(daemon.process.pid)
            with contextlib.ExitStack() as stack:
                held = await asyncio.to_thread(lambda: stack.enter_context(silent(daemon.port, count)))
                assert len(held) == count
                for _ in range(3):
                    id = await daemon.submit([RECIPIENT], LETTER)
                    await daemon.event("tried", status="sent", id=id)
                full = await daemon.event("doors-full")
                # The last seconds' newcomers are still on their way to 421 or in.
                assert full["silent"] > 0.9 * count
                assert full["holders"][0].startswith("127.0.")
                assert full["holders"][0].endswith(f" ({EACH})")
            async with asyncio.timeout(HANGS_AFTER):
                while descriptors(daemon.process.pid) > before + 5:
                    await asyncio.sleep(0.05)
            assert daemon.events("internal-error") == []


async def test_twenty_that_guess_passwords_harm_nobody_else() -> None:
    async with World([Site("harbour.example")]) as world:
        daemon = Daemon(
            {"harbour.example": world["harbour.example"].port},
            {"login": {"failure_delay": "100ms"}},
        )
        door = daemon.guard()

        def guess(n: int) -> int:
            context = ssl.create_default_context(cadata=door.roots)
            with smtplib.SMTP(
                "localhost", door.port, timeout=HANGS_AFTER, source_address=(f"127.0.0.{n + 2}", 0)
            ) as client:
                client.starttls(context=context)
                client.ehlo()
                for word in ("wrong", "horse"):
                    code, _ = client.docmd("AUTH", f"PLAIN {plain(f'user{n}', word)}")
                return code

        def send() -> None:
            with smtplib.SMTP("localhost", door.port, timeout=HANGS_AFTER) as client:
                client.starttls(context=ssl.create_default_context(cadata=door.roots))
                client.login(door.name, door.password)
                client.sendmail("anna@sender.example", [RECIPIENT], LETTER)

        async with daemon:
            guesses = [asyncio.create_task(asyncio.to_thread(guess, n)) for n in range(20)]
            for n in range(3):
                await asyncio.to_thread(send)
                await daemon.until(
                    lambda n=n: len(daemon.events("tried", status="sent")) > n,  # type: ignore[misc]
                    what="a message on its way",
                )
            assert set(await asyncio.gather(*guesses)) == {535}
            # The last lines come behind the last replies.
            await daemon.until(lambda: len(daemon.events("login-failed")) >= 40, what="40 failures told")
            told = Counter((line["peer"], line["login"]) for line in daemon.events("login-failed"))
            assert told == {(f"127.0.0.{n + 2}", f"user{n}"): 2 for n in range(20)}


def plain(login: str, password: str) -> str:
    from base64 import b64encode

    return b64encode(f"\0{login}\0{password}".encode()).decode()
