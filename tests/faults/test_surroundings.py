"""What else can go wrong around a daemon, and what it then does.

clock set by an hour   new mail is taken and delivered at once; what waits keeps its due time,
                       so that after a step back `queue retry` is there for the impatient
no descriptors left    no new session until there are some; nothing ends
a long reader          its log grows, and the daemon's log says so; nobody waits; it shrinks when the
                       reader ends, and at the worst meets the low-water mark
the index locked       mail is put off (452) after five seconds; all goes on when it is let go
a read-only spool      no start, and a reason; a daemon that meets it ends with 74
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from postroad.adapters.sqlite_log import LogWatch
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.demo.process import HANGS_AFTER, DaemonFailed, DaemonProcess
from postroad.demo.world import Site, World
from tests.faults.test_calls import EX_IOERR, patient
from tests.support.build import message, recipient
from tests.support.daemon import Daemon
from tests.support.disks import preloaded, run, small_disk
from tests.support.requires import as_root
from tests.support.running import running
from tests.support.submitting import hand_in

RECIPIENT = "box@harbour.example"
LETTER = b"Subject: hello\r\n\r\nGood morning.\r\n"


@pytest.mark.parametrize("step", [3600, -3600])
async def test_the_clock_is_set_by_an_hour(step: int) -> None:
    async with World(
        [Site("harbour.example"), Site("island.example")], frozenset({"island.example"})
    ) as world:
        ports = {name: world[name].port for name in ("harbour.example", "island.example")}
        daemon = Daemon(ports, {"retry": {"expire_after": "5d", "warn_after": "1d"}})
        clock = daemon.directory / "step"
        daemon.process = DaemonProcess(daemon.config, preloaded(FAULTY_CLOCK=str(clock)))
        async with daemon:
            waits = await daemon.submit(["box@island.example"], LETTER)
            await daemon.event("tried", id=waits, status="deferred")
            before = await daemon.submit([RECIPIENT], LETTER)
            await daemon.event("removed", id=before)
            clock.write_text(str(step))
            after = await daemon.submit([RECIPIENT], LETTER)
            await daemon.event("removed", id=after)
            assert len({waits, before, after}) == 3
            await world["island.example"].open()
            if step < 0:
                assert (await daemon.process.command("queue", "retry", "--all", "--yes"))[0] == 0
            await daemon.event("removed", id=waits)
            assert await daemon.process.stop() == 0
        assert [len(world[name].arrivals) for name in ports] == [2, 1]


async def test_no_descriptors_are_left() -> None:
    async with World([Site("harbour.example")]) as world:
        async with Daemon({"harbour.example": world["harbour.example"].port}) as daemon:
            await daemon.event("removed", id=await daemon.submit([RECIPIENT], LETTER))
            pid = daemon.process.pid
            used = len(os.listdir(f"/proc/{pid}/fd"))
            _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 4, hard))
            clients = [
                socket.create_connection(("127.0.0.1", daemon.port), timeout=HANGS_AFTER) for _ in range(12)
            ]
            while len(os.listdir(f"/proc/{pid}/fd")) < used + 4:
                await asyncio.sleep(0.02)
            for client in clients:
                client.close()
            async with asyncio.timeout(HANGS_AFTER):
                while not (await attempt(daemon)).startswith("250"):
                    await asyncio.sleep(0.1)
            await daemon.until(lambda: len(world["harbour.example"].arrivals) >= 2, what="the second message")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
            assert await daemon.process.stop() == 0


async def attempt(daemon: Daemon) -> str:
    """The reply; empty where there was none to be had."""
    try:
        return await asyncio.to_thread(hand_in, daemon.port, "a@sender.example", [RECIPIENT], LETTER)
    except OSError:
        return ""


async def test_a_long_reader_holds_nobody_up() -> None:
    async with World([Site("harbour.example")]) as world:
        async with Daemon({"harbour.example": world["harbour.example"].port}) as daemon:
            await daemon.event("removed", id=await daemon.submit([RECIPIENT], LETTER))
            index = daemon.directory / "state" / "queue.sqlite"
            with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True, isolation_level=None)) as reader:
                reader.execute("BEGIN")
                assert reader.execute("SELECT count(*) FROM message").fetchone() == (0,)
                for _ in range(20):
                    await daemon.event("removed", id=await daemon.submit([RECIPIENT], LETTER))
                assert reader.execute("SELECT count(*) FROM message").fetchone() == (0,)
            assert await daemon.process.stop() == 0
            assert not index.with_name("queue.sqlite-wal").exists()


async def test_a_log_that_a_long_reader_lets_grow_is_told_of_and_cut_short_when_it_ends(
    tmp_path: Path,
) -> None:
    """Its bound is the low-water mark, below which no mail is taken."""
    told: list[str] = []
    index, kept = tmp_path / "queue.sqlite", 256 * 1024
    log = tmp_path / "queue.sqlite-wal"
    queue = SqliteQueue(index, told.append, log_kept=kept)
    number = 0

    async def commit(until: Callable[[], bool]) -> None:
        nonlocal number
        async with asyncio.timeout(HANGS_AFTER):
            while not until():
                number += 1
                owner = message(number)
                await queue.add(owner, [recipient(owner, n=n) for n in range(200)])

    async with running(queue):
        await commit(lambda: number > 3)
        with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM message").fetchone()
            # Beyond where it would be copied back, were there no reader.
            await commit(lambda: bool(told) and log.stat().st_size > 5000 * 4096)
            grown = log.stat().st_size
        assert "queue.sqlite-wal has grown to" in told[0]
        await commit(lambda: log.stat().st_size <= kept)
    assert grown > 2 * kept


def test_a_long_log_is_told_of_once_for_each_doubling(tmp_path: Path) -> None:
    log, now = tmp_path / "queue.sqlite-wal", [0.0]
    watch = LogWatch(tmp_path / "queue.sqlite", 1000, lambda: now[0])
    told = []
    for size in (1999, 2000, 2500, 3999, 4000, 7000, 1999, 2000):
        now[0] += 1.0
        log.write_bytes(bytes(size))
        told.append(watch.look() is not None)
        assert watch.look() is None
    assert told == [False, True, False, False, True, False, False, True]


async def test_an_index_that_somebody_locks_puts_mail_off() -> None:
    async with World([Site("harbour.example")]) as world:
        async with Daemon({"harbour.example": world["harbour.example"].port}) as daemon:
            index = daemon.directory / "state" / "queue.sqlite"
            with closing(sqlite3.connect(index, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                assert (await attempt(daemon)).startswith("452 4.3.1")
                # Nor does it keep the daemon from stopping.
                assert await daemon.process.stop() == 0
                other.execute("ROLLBACK")
            await daemon.restart()
            await daemon.event("removed", id=await daemon.submit([RECIPIENT], LETTER))
            assert await daemon.process.stop() == 0
            assert (await daemon.process.command("spool", "check"))[0] == 0


async def test_a_spool_that_becomes_read_only_ends_the_daemon() -> None:
    async with patient("open", ".seg", errno.EROFS) as ill:
        ill.arm()
        assert not (await ill.submit(1)).startswith("250")
        assert await ill.daemon.process.wait() == EX_IOERR
        assert "Read-only file system" in "\n".join(ill.daemon.process.noise)


async def test_a_spool_that_is_read_only_is_no_place_to_start() -> None:
    with tempfile.TemporaryDirectory(prefix="postroad-") as top:
        disk = small_disk(Path(top) / "disk", "16m")
        assert isinstance(disk, AbstractContextManager)
        async with World([Site("harbour.example")]) as world:
            with disk as path:
                settings = {"state_directory": str(path / "state"), "queue": {"low_water": "1MiB"}}
                daemon = Daemon({"harbour.example": world["harbour.example"].port}, settings)
                async with daemon:
                    assert await daemon.process.stop() == 0
                    run(*as_root(), "mount", "-o", "remount,ro", path)
                    with pytest.raises(DaemonFailed, match="Read-only file system"):
                        await daemon.restart()
                    run(*as_root(), "mount", "-o", "remount,rw", path)
                    await daemon.restart()
                    await daemon.event("removed", id=await daemon.submit([RECIPIENT], LETTER))
                    assert await daemon.process.stop() == 0
