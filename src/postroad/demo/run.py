"""`postroad demo`: the real daemon on loopback, a receiving world, and the fate of every message.

No root, no network, no configuration: all lives in a temporary directory that is
gone afterwards. Ends with 0 when every message ended as it should, with 1 and
what differed otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
import ssl
import sys
import tempfile
import time
from pathlib import Path

from postroad.demo.fates import Ledger
from postroad.demo.house import House, furnish, self_signed
from postroad.demo.letters import CLOSED, DAWN, HARBOUR, PATIENCE, Letter, letters, submit
from postroad.demo.process import DaemonFailed, DaemonProcess, free_port
from postroad.demo.table import Table
from postroad.demo.verdict import bounces, differences, failed_recipients
from postroad.demo.world import Site, World, accepting, greylisting, refusing

GREYLIST_WINDOW = 3.0
DAWN_AFTER = 4.0
INTERRUPTED = 130


class Hourglass:
    """Seconds since it was turned; none before. What happens first is then the same on every machine."""

    def __init__(self) -> None:
        self._turned: float | None = None

    def turn(self) -> None:
        self._turned = time.monotonic()

    def __call__(self) -> float:
        return 0.0 if self._turned is None else time.monotonic() - self._turned


class DemoFailed(Exception):
    """The demonstration could not be held; the text says why."""


def main() -> int:
    """Hold the demonstration; the exit status."""
    # Its server library logs each session; the account of the mail is the table.
    logging.getLogger("mail").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="postroad-demo-") as directory:
        try:
            return asyncio.run(_demo(Path(directory)))
        except (KeyboardInterrupt, asyncio.CancelledError):
            print("\ninterrupted; the daemon is stopped and its directory removed", file=sys.stderr)
            return INTERRUPTED
        except (DemoFailed, DaemonFailed, OSError) as problem:
            print(f"postroad demo: {problem}", file=sys.stderr)
            return 1


async def _demo(directory: Path) -> int:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    began = time.monotonic()
    post = letters()
    patience = Hourglass()
    async with _world(directory, patience) as world:
        house = furnish(directory, free_port(), world.sites.values())
        ledger = Ledger(post, {site.domain: f"127.0.0.1:{site.port}" for site in world.sites.values()})
        table = Table(ledger.fates, sys.stdout)
        ledger.on_change = table.changed
        daemon = DaemonProcess(house.config)
        daemon.listen(ledger.read)
        try:
            _introduce(table, house)
            await daemon.start()
            await _correspond(post, house, world, patience, daemon, ledger, table)
            table.finish()
            found = await _close(daemon, table)
        finally:
            await daemon.kill()
        found += differences(ledger.fates, post, world, house.dkim_record)
    _show_bounces(table, world)
    return _conclude(found, table, time.monotonic() - began)


def _world(directory: Path, patience: Hourglass) -> World:
    certificate, key = self_signed(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    sites = [
        Site(HARBOUR, accepting, tls=context),
        Site(PATIENCE, greylisting(GREYLIST_WINDOW, patience)),
        Site(CLOSED, refusing),
        Site(DAWN, accepting),
    ]
    return World(sites, late=frozenset({DAWN}))


def _introduce(table: Table, house: House) -> None:
    table.say(
        f"Postroad listens on 127.0.0.1:{house.door.port}: STARTTLS and AUTH required. The world around it:"
    )
    table.say(f"  {HARBOUR:18} accepts, and is where the sender's own mailbox is")
    table.say(f"  {PATIENCE:18} greylists: turns everyone away for {GREYLIST_WINDOW:g} s")
    table.say(f"  {CLOSED:18} refuses: knows nobody")
    table.say(f"  {DAWN:18} is down; it comes up {DAWN_AFTER:g} s from now")
    table.say()


async def _correspond(
    post: tuple[Letter, ...],
    house: House,
    world: World,
    patience: Hourglass,
    daemon: DaemonProcess,
    ledger: Ledger,
    table: Table,
) -> None:
    """Submit everything, look at the queue once while something waits, and see it all end."""
    dawn = asyncio.get_running_loop().time() + DAWN_AFTER
    for letter in post:
        ledger.accepted(letter, _queue_id(await asyncio.to_thread(submit, letter, house.door)))
    await daemon.until(lambda: ledger.waiting, what="a message that has to wait")
    patience.turn()
    await _look_at_queue(daemon, table)
    opening = asyncio.create_task(_open(world[DAWN], dawn))
    try:
        with contextlib.suppress(DaemonFailed):  # the verdict says what is missing
            await daemon.until(lambda: ledger.complete, what="the end of every message")
    finally:
        opening.cancel()


async def _open(site: Site, at: float) -> None:
    """At that time of the loop, or now."""
    await asyncio.sleep(max(0.0, at - asyncio.get_running_loop().time()))
    await site.open()


def _queue_id(reply: str) -> str:
    found = re.search(r"queued as (\S+)", reply)
    if found is None:
        raise DemoFailed(f"the reply to DATA names no queue id: {reply}")
    return found[1]


async def _look_at_queue(daemon: DaemonProcess, table: Table) -> None:
    status, out, err = await daemon.command("queue", "list")
    if status:
        raise DemoFailed(f"postroad queue list ended with {status}: {err}")
    table.say("\n$ postroad queue list")
    table.say(out.rstrip() + "\n")


async def _close(daemon: DaemonProcess, table: Table) -> list[str]:
    """Stop the daemon as a service manager does, and see that nothing is left."""
    found = []
    if not daemon.runs:
        found.append(f"the daemon ended by itself\n{daemon.last_words()}")
    status = await daemon.stop()
    if status:
        found.append(f"the daemon ended with {status}, not 0")
    status, out, err = await daemon.command("queue", "list", "--json")
    if status or out.strip():
        found.append(f"the queue should be empty: {out.strip() or err.strip()}")
    table.say("\nSIGTERM: the daemon drained and ended; its queue is " + ("not empty" if found else "empty"))
    return found


def _show_bounces(table: Table, world: World) -> None:
    table.say("\nWhat the sender was told, as Python's email package reads it:")
    for notice in bounces(world):
        for recipient, status in failed_recipients(notice).items():
            table.say(f"  {notice['Subject']}: {recipient} {status}")


def _conclude(found: list[str], table: Table, seconds: float) -> int:
    if not found:
        table.say(f"\nEvery message ended as it should, in {seconds:.1f} s: arrived once, octet for octet,")
        table.say("its signature verified; what was refused came back to its sender.")
        return 0
    table.say("\nNot as it should be:")
    for line in found:
        table.say(f"  {line}")
    return 1
