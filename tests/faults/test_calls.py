"""Each call that stores mail fails once: the daemon puts mail off where nothing was kept, else it ends.

Where what is on disk is unknown (any failed sync, any EIO) it ends with 74 and the reason,
and is never heard of as if nothing had happened. Started again, it has everything that
had its 250.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from postroad.demo.process import DaemonFailed, DaemonProcess
from postroad.demo.world import Site, World
from tests.support.daemon import Daemon
from tests.support.disks import preloaded
from tests.support.submitting import hand_in

RECIPIENT = "box@harbour.example"
SMALL = b"Subject: %d\r\n\r\nGood morning.\r\n"
LARGE = SMALL + b"x" * 78 + b"\r\n" + (b"y" * 78 + b"\r\n") * 20_000
EX_IOERR = 74


@dataclass
class Patient:
    """A daemon in which one call fails as long as `arm`ed."""

    daemon: Daemon
    site: Site
    switch: Path

    def arm(self) -> None:
        self.switch.touch()

    def heal(self) -> None:
        self.switch.unlink(missing_ok=True)

    async def submit(self, number: int, octets: bytes = SMALL) -> str:
        """The reply; empty where the connection broke."""
        try:
            return await asyncio.to_thread(
                hand_in, self.daemon.port, "a@sender.example", [RECIPIENT], octets % number
            )
        except OSError:
            return ""

    def arrived(self) -> list[int]:
        return sorted(
            int(line.split()[1])
            for arrival in self.site.arrivals
            for line in arrival.octets.splitlines()
            if line.startswith(b"Subject: ")
        )

    async def until_arrived(self, numbers: set[int]) -> None:
        await self.daemon.until(lambda: numbers <= set(self.arrived()), what=f"{numbers} arrived")


@asynccontextmanager
async def patient(
    call: str, path: str, code: int, times: int = 1, late: bool = False
) -> AsyncIterator[Patient]:
    closed = frozenset({"harbour.example"} if late else ())
    async with World([Site("harbour.example")], closed) as world:
        site = world["harbour.example"]
        daemon = Daemon({"harbour.example": site.port})
        switch = daemon.directory / "armed"
        fault = f"{call}:{path}:{code}:{times}"
        daemon.process = DaemonProcess(daemon.config, preloaded(FAULTY=fault, FAULTY_WHEN=str(switch)))
        async with daemon:
            yield Patient(daemon, site, switch)


PUT_OFF = [
    ("pwrite", ".seg$", errno.ENOSPC, SMALL),
    ("pwrite", ".seg$", errno.EDQUOT, SMALL),
    ("pwrite", "-wal$", errno.ENOSPC, SMALL),
    ("open", ".seg", errno.ENOSPC, SMALL),
    ("open", ".seg", errno.EMFILE, SMALL),
    ("open", "/stage/", errno.ENOSPC, LARGE),
    ("open", "/stage/", errno.EMFILE, LARGE),
    ("pwrite", "/stage/", errno.ENOSPC, LARGE),
    ("rename", "/stage/", errno.ENOSPC, LARGE),
    ("pwrite", "00000002.seg$", errno.ENOSPC, LARGE),
]


@pytest.mark.parametrize(("call", "path", "code", "octets"), PUT_OFF)
async def test_where_there_is_no_room_mail_is_put_off_and_the_next_is_taken(
    call: str, path: str, code: int, octets: bytes
) -> None:
    # A new segment is begun by the first message alone.
    first = call == "open" and path == ".seg"
    async with patient(call, path, code) as ill:
        if not first:
            assert (await ill.submit(1)).startswith("250")
            # All of it is written then: the call that fails is one for the second.
            await ill.daemon.event("removed")
        ill.arm()
        assert (await ill.submit(2, octets)).startswith("452 4.3.1"), ill.daemon.process.last_words()
        assert (await ill.submit(3, octets)).startswith("250")
        await ill.until_arrived({3} if first else {1, 3})
        assert await ill.daemon.process.stop() == 0
        assert 2 not in ill.arrived()
        assert (await ill.daemon.process.command("spool", "check"))[0] == 0


ENDS = [
    ("pwrite", ".seg$", errno.EIO, SMALL),
    ("fdatasync", ".seg$", errno.EIO, SMALL),
    ("fdatasync", ".seg$", errno.ENOSPC, SMALL),
    ("pwrite", "-wal$", errno.EIO, SMALL),
    ("fdatasync", "-wal$", errno.EIO, SMALL),
    ("fdatasync", "-wal$", errno.ENOSPC, SMALL),
    ("fdatasync", "/stage/", errno.EIO, LARGE),
    ("rename", "/stage/", errno.EIO, LARGE),
    ("fsync", "/spool$", errno.EIO, LARGE),
    ("fsync", "/spool$", errno.ENOSPC, LARGE),
]


@pytest.mark.parametrize(("call", "path", "code", "octets"), ENDS)
async def test_where_the_disk_fails_the_daemon_ends_with_the_reason_and_keeps_what_it_promised(
    call: str, path: str, code: int, octets: bytes
) -> None:
    async with patient(call, path, code, late=True) as ill:
        assert (await ill.submit(1)).startswith("250")
        ill.arm()
        assert not (await ill.submit(2, octets)).startswith("250")
        assert await ill.daemon.process.wait() == EX_IOERR
        said = "\n".join(ill.daemon.process.noise)
        assert said.startswith("postroad: "), said
        # The reason stands alone: what else could not go on then is no news.
        assert not ill.daemon.events("internal-error") + ill.daemon.events("library")
        reason = "disk I/O error" if "wal" in path else "error" if code == errno.EIO else "No space left"
        assert reason in said
        await ill.site.open()
        await ill.daemon.restart()
        assert (await ill.submit(3, octets)).startswith("250")
        await ill.until_arrived({1, 3})
        assert await ill.daemon.process.stop() == 0
        assert (await ill.daemon.process.command("spool", "check"))[0] == 0
        assert ill.arrived().count(1) == 1


async def test_a_sync_that_failed_is_not_tried_again() -> None:
    """The second would say that all is well: the kernel has dropped the pages it could not write."""
    async with patient("fdatasync", ".seg$", errno.EIO, times=1, late=True) as ill:
        assert (await ill.submit(1)).startswith("250")
        ill.arm()
        replies = await asyncio.gather(*(ill.submit(number) for number in range(2, 12)))
        assert not [reply for reply in replies if reply.startswith("250")]
        assert await ill.daemon.process.wait() == EX_IOERR


@pytest.mark.parametrize(("code", "status"), [(errno.ENOSPC, None), (errno.EIO, EX_IOERR)])
async def test_an_outcome_that_cannot_be_written_is_written_later_or_by_the_next_start(
    code: int, status: int | None
) -> None:
    async with patient("pwrite", "-wal$", code, times=3 if status is None else 1, late=True) as ill:
        assert (await ill.submit(1)).startswith("250")
        # What is in an attempt just now is not held.
        while any(row["state"] != "held" for row in await ill.daemon.queue()):
            assert (await ill.daemon.process.command("queue", "hold", "--all", "--yes"))[0] == 0
        await ill.site.open()
        ill.site.on_change = ill.arm
        assert (await ill.daemon.process.command("queue", "release", "--all", "--yes"))[0] == 0
        if status is None:
            await ill.daemon.event("storage-trouble", operation="record")
            await ill.daemon.event("removed")
        else:
            assert await ill.daemon.process.wait() == status
            await ill.daemon.restart()
            recovered = await ill.daemon.event("recovered")
            assert (recovered["ambiguous"], recovered["heard"]) == (0, 1)
        assert ill.arrived() == [1]
        assert await ill.daemon.process.stop() == 0
        assert await ill.daemon.queue() == []


async def test_a_body_that_cannot_be_received_is_refused_and_nothing_of_it_stays() -> None:
    """Nothing was promised, and its file goes: this failure leaves nothing unknown."""
    async with patient("pwrite", "/stage/", errno.EIO) as ill:
        ill.arm()
        assert not (await ill.submit(1, LARGE)).startswith("250")
        assert (await ill.submit(2, LARGE)).startswith("250")
        await ill.until_arrived({2})
        assert await ill.daemon.process.stop() == 0
        assert (await ill.daemon.process.command("spool", "check"))[0] == 0
        assert list((ill.daemon.directory / "state" / "spool" / "stage").iterdir()) == []


async def test_an_index_that_cannot_be_read_ends_the_daemon_and_the_next_start_has_everything() -> None:
    async with patient("pread", "queue.sqlite", errno.EIO, times=0, late=True) as ill:
        assert (await ill.submit(1)).startswith("250")
        await ill.daemon.event("site-paused")
        ill.arm()
        await ill.daemon.process.command("queue", "hold", "--all", "--yes")
        assert await ill.daemon.process.wait() == EX_IOERR
        # SQLite takes EIO for damage.
        assert "the disk cannot read it" in "\n".join(ill.daemon.process.noise)
        armed = preloaded(FAULTY=f"pread:queue.sqlite:{errno.EIO}:0", FAULTY_WHEN=str(ill.switch))
        with pytest.raises(DaemonFailed, match=r"cannot read it|disk I/O error"):
            await DaemonProcess(ill.daemon.config, armed).start()
        ill.heal()
        await ill.site.open()
        await ill.daemon.restart()
        await ill.until_arrived({1})
        assert await ill.daemon.process.stop() == 0
        assert (await ill.daemon.process.command("spool", "check"))[0] == 0


async def test_files_that_cannot_be_removed_are_removed_by_a_later_start() -> None:
    async with patient("unlink", "/spool/0", errno.EIO, times=0) as ill:
        ill.arm()
        for number, octets in ((1, LARGE), (2, SMALL)):
            assert (await ill.submit(number, octets)).startswith("250")
        await ill.until_arrived({1, 2})
        assert await ill.daemon.process.stop() == 0
        left = {path.name for path in (ill.daemon.directory / "state" / "spool").glob("0*")}
        assert {"00000001.seg", "00000001.body"} <= left
        status, out, _ = await ill.daemon.process.command("spool", "check")
        assert status == 0, out
        await ill.daemon.restart()
        assert await ill.daemon.process.stop() == 0
        assert list((ill.daemon.directory / "state" / "spool").glob("0*")) == []


async def test_a_refused_body_that_cannot_be_removed_is_refused_all_the_same() -> None:
    async with patient("unlink", "/stage/", errno.EIO, times=0) as ill:
        ill.arm()
        looped = b"Received: from x by y; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * 150 + LARGE
        assert (await ill.submit(1, looped)).startswith("554 5.4.6")
        stage = ill.daemon.directory / "state" / "spool" / "stage"
        assert len(list(stage.iterdir())) == 1
        assert (await ill.submit(2)).startswith("250")
        await ill.until_arrived({2})
        assert await ill.daemon.process.stop() == 0
        await ill.daemon.restart()
        assert list(stage.iterdir()) == []


async def test_marks_that_cannot_be_written_disturb_nobody() -> None:
    async with patient("pwrite", ".done$", errno.EIO, times=0) as ill:
        ill.arm()
        for number in (1, 2):
            assert (await ill.submit(number)).startswith("250")
        await ill.until_arrived({1, 2})
        assert await ill.daemon.process.stop() == 0
