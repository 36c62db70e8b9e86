"""The daemon and an index that is gone or damaged: it says so, and how to mend it, and loses nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from postroad.adapters.segment_identity import read_identity
from postroad.demo.process import DaemonFailed, free_port
from postroad.demo.world import Site, World
from tests.support.daemon import Daemon

BOTH = ("harbour.example", "island.example")
LETTER = b"From: <anna@sender.example>\r\nSubject: kept\r\n\r\nGood morning.\r\n"


def remove(index: Path) -> None:
    for each in index.parent.glob("queue.sqlite*"):
        each.unlink()


def overwrite(index: Path) -> None:
    remove(index)
    index.write_bytes(os.urandom(20_000))


def empty(index: Path) -> None:
    remove(index)
    index.touch()


def cut_short(index: Path) -> None:
    """The log is taken in first, so that the damage is the index's own."""
    take_in_log(index)
    os.truncate(index, index.stat().st_size // 2 // 4096 * 4096 + 100)


def zero_a_page(index: Path) -> None:
    take_in_log(index)
    with index.open("r+b") as file:
        file.write(bytes(4096))


def zero_the_rest(index: Path) -> None:
    take_in_log(index)
    size = index.stat().st_size
    with index.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(size - 4096))


def take_in_log(index: Path) -> None:
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def lose_all_but_the_log(index: Path) -> None:
    index.unlink()


@pytest.mark.parametrize(
    "lose", [remove, overwrite, empty, cut_short, zero_a_page, zero_the_rest, lose_all_but_the_log]
)
async def test_a_daemon_without_its_index_says_what_to_do_and_goes_on_from_there(
    lose: Callable[[Path], None],
) -> None:
    async with World([Site("harbour.example")], frozenset({"harbour.example"})) as world:
        site = world["harbour.example"]
        async with Daemon({"harbour.example": site.port}) as daemon:
            id = await daemon.submit(["box@harbour.example"], LETTER)
            await daemon.event("tried", id=id, status="deferred")
            await daemon.process.kill()
            lose(daemon.directory / "state" / "queue.sqlite")
            with pytest.raises(DaemonFailed) as failure:
                await daemon.restart()
            assert "it ended with status 74" in str(failure.value)
            assert "postroad spool rebuild" in str(failure.value)
            status, out, err = await daemon.process.command("spool", "rebuild")
            assert (status, err) == (0, "")
            assert out.startswith("a new index: 1 message to 1 recipient wait\n")
            await site.open()
            await daemon.restart()
            await daemon.event("tried", id=id, status="sent")
            assert [arrival.octets.endswith(b"Good morning.\r\n") for arrival in site.arrivals] == [True]
            assert (await daemon.process.command("spool", "check"))[0] == 0


def all_of_it(state: Path, other: Path) -> None:
    """As a hasty restore from a backup would."""
    remove(state / "queue.sqlite")
    for each in other.glob("queue.sqlite*"):
        shutil.copy(each, state / each.name)


def its_log(state: Path, other: Path) -> None:
    """SQLite takes in whatever log lies beside an index."""
    (state / "queue.sqlite-shm").unlink()
    shutil.copy(other / "queue.sqlite-wal", state / "queue.sqlite-wal")


@pytest.mark.parametrize("put_in", [all_of_it, its_log])
async def test_the_index_or_log_of_another_queue_is_recognised_and_nothing_is_touched(
    put_in: Callable[[Path, Path], None],
) -> None:
    """Beside segments of which it knows nothing it would have them removed as settled."""
    async with World([Site("harbour.example")], frozenset({"harbour.example"})) as world:
        site = world["harbour.example"]
        routes = {"harbour.example": site.port}
        async with Daemon(routes) as other, Daemon(routes) as daemon:
            for each in (other, daemon):
                id = await each.submit(["box@harbour.example"], LETTER)
                await each.event("tried", id=id, status="deferred")
                await each.process.kill()
            state = daemon.directory / "state"
            before = {path.name: path.read_bytes() for path in (state / "spool").glob("0*")}
            put_in(state, other.directory / "state")
            with pytest.raises(DaemonFailed) as failure:
                await daemon.restart()
            assert "it ended with status 74" in str(failure.value)
            assert "belongs to another queue" in str(failure.value)
            status, out, _ = await daemon.process.command("spool", "check")
            assert (status, "foreign-index" in out) == (65, True)
            assert {path.name: path.read_bytes() for path in (state / "spool").glob("0*")} == before
            assert (await daemon.process.command("spool", "rebuild"))[0] == 0
            await site.open()
            await daemon.restart()
            await daemon.event("tried", id=id, status="sent")
            assert [arrival.octets.endswith(b"Good morning.\r\n") for arrival in site.arrivals] == [True]
            assert (await daemon.process.command("spool", "check"))[0] == 0


def out_of_a_backup(state: Path, earlier: Path) -> None:
    all_of_it(state, earlier)


def without_its_log(state: Path, earlier: Path) -> None:
    (state / "queue.sqlite-wal").unlink()


@pytest.mark.parametrize("put_in", [out_of_a_backup, without_its_log])
async def test_an_index_of_an_earlier_run_is_recognised_and_nothing_is_touched(
    put_in: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    async with World([Site("harbour.example")], frozenset({"harbour.example"})) as world:
        site = world["harbour.example"]
        async with Daemon({"harbour.example": site.port}) as daemon:
            state = daemon.directory / "state"
            assert await daemon.process.stop() == 0
            shutil.copy(state / "queue.sqlite", tmp_path / "queue.sqlite")
            await daemon.restart()
            id = await daemon.submit(["box@harbour.example"], LETTER)
            await daemon.event("tried", id=id, status="deferred")
            await daemon.process.kill()
            put_in(state, tmp_path)
            with pytest.raises(DaemonFailed) as failure:
                await daemon.restart()
            assert "it ended with status 74" in str(failure.value)
            assert "an earlier copy, or queue.sqlite-wal was taken from it" in str(failure.value)
            status, out, _ = await daemon.process.command("spool", "check")
            assert (status, "old-index" in out) == (65, True)
            assert (await daemon.process.command("spool", "rebuild"))[0] == 0
            await site.open()
            await daemon.restart()
            await daemon.event("tried", id=id, status="sent")
            assert len(site.arrivals) == 1
            assert await daemon.process.stop() == 0
            assert (await daemon.process.command("spool", "check"))[0] == 0


async def test_a_queue_of_before_there_were_identities_gets_one() -> None:
    async with World([Site("harbour.example")]) as world:
        async with Daemon({"harbour.example": world["harbour.example"].port}) as daemon:
            assert await daemon.process.stop() == 0
            state = daemon.directory / "state"
            made, _ = read_identity(state / "spool")
            for lost in ("spool", "index", "both"):
                if lost != "index":
                    (state / "spool" / "identity").unlink()
                if lost != "spool":
                    with closing(sqlite3.connect(state / "queue.sqlite")) as connection:
                        connection.execute("PRAGMA application_id = 0")
                await daemon.restart()
                assert await daemon.process.stop() == 0
                number, run = read_identity(state / "spool")
                assert ((number == made), run > 1) == (lost != "both", True)


async def test_an_index_that_is_gone_with_nothing_waiting_is_no_trouble() -> None:
    async with World([Site("harbour.example")]) as world:
        async with Daemon({"harbour.example": world["harbour.example"].port}) as daemon:
            await daemon.event("removed", id=await daemon.submit(["box@harbour.example"], LETTER))
            assert await daemon.process.stop() == 0
            remove(daemon.directory / "state" / "queue.sqlite")
            await daemon.restart()


async def test_what_was_delivered_does_not_come_back_with_a_new_index() -> None:
    async with World([Site(name) for name in BOTH], frozenset({"island.example"})) as world:
        ports = {name: world[name].port for name in BOTH}
        async with Daemon(ports) as daemon:
            both = await daemon.submit(["box@harbour.example", "box@island.example"], LETTER)
            await daemon.event("tried", id=both, status="sent")
            await daemon.event("tried", id=both, status="deferred")
            await daemon.event("removed", id=await daemon.submit(["box@harbour.example"], LETTER))
            assert await daemon.process.stop() == 0
            remove(daemon.directory / "state" / "queue.sqlite")
            status, out, _ = await daemon.process.command("spool", "rebuild")
            assert (status, out.splitlines()[0]) == (0, "a new index: 1 message to 1 recipient wait")
            await world["island.example"].open()
            await daemon.restart()
            await daemon.event("removed", id=both)
            assert len(world["harbour.example"].arrivals) == 2
            assert len(world["island.example"].arrivals) == 1


async def test_without_its_spool_the_daemon_does_not_start() -> None:
    """A file system that is not mounted must not cost each message its retries."""
    async with Daemon({"harbour.example": free_port()}) as daemon:
        await daemon.submit(["box@harbour.example"], LETTER)
        assert await daemon.process.stop() == 0
        spool = daemon.directory / "state" / "spool"
        away = spool.rename(spool.with_name("away"))
        with pytest.raises(DaemonFailed, match=r"ended with status 74(.|\n)*is its file system mounted\?"):
            await daemon.restart()
        shutil.rmtree(spool)
        away.rename(spool)
        await daemon.restart()
        await daemon.event("started", queued=1)
