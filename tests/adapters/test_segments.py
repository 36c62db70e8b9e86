"""The spool on a real disk: segments, their lifetimes, and what a failing disk does."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.adapters.segment_reader import SegmentReader
from postroad.adapters.segments import Segments, SpoolInUse
from postroad.mail.message import Location
from postroad.ports.spool import DamagedRecord, Record, Stored
from postroad.ports.storage import StorageBroken, StorageFull
from tests.support.build import message, queue_id, record
from tests.support.running import running


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name not in ("lock", "stage"))


async def fill(directory: Path, *records: Record, segment_size: int = 2**26) -> list[Location]:
    """A spool that was written and closed."""
    spool = Segments(directory, segment_size)
    async with running(spool):
        return [await spool.append(each) for each in records]


async def append_large(spool: Segments, number: int, body: bytes) -> Location:
    file = spool.stage(queue_id(number))
    await file.write(body)
    return await spool.append(record(number, file.finish(b"h" * 32)))


def scan(directory: Path) -> list[tuple[Location, Record]]:
    reader = SegmentReader(directory)
    return list(reader.scan())


# --- what is kept ------------------------------------------------------------------


async def test_a_scan_finds_every_record_with_its_place(tmp_path: Path) -> None:
    records = [record(number, b"%d\r\n" % number) for number in range(1, 6)]
    locations = await fill(tmp_path, *records)
    found = scan(tmp_path)
    assert [location for location, _ in found] == locations
    assert [each.message.location for _, each in found] == locations
    assert [(each.message.id, each.recipients, each.content) for _, each in found] == [
        (each.message.id, each.recipients, each.content) for each in records
    ]


async def test_files_that_only_look_like_segments_are_let_be(tmp_path: Path) -> None:
    strange = ["99999999999999999999.seg", "0000005.seg", "\u0663.seg", "-1.seg", "x.seg", "9.body"]
    for name in strange:
        (tmp_path / name).write_bytes(b"not ours")
    spool = Segments(tmp_path)
    spool.adopt({})
    async with running(spool):
        assert (await spool.append(record())).segment == 1
    assert set(strange) < set(names(tmp_path))


async def test_a_scan_finds_large_messages_too(tmp_path: Path) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        location = await append_large(spool, 1, b"x" * 300_000)
        ((found, each),) = scan(tmp_path)
        assert found == location
        assert each.content.size == record().content.size - len(b"Good morning.\r\n") + 300_000


async def test_nobody_else_may_read_the_spool(tmp_path: Path) -> None:
    spool = Segments(tmp_path / "spool")
    async with running(spool):
        await spool.append(record())
        await append_large(spool, 2, b"x")
        assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
        modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "spool").iterdir() if path.is_file()}
        assert modes == {0o600}


async def test_a_reader_needs_no_lock(tmp_path: Path) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        location = await spool.append(record())
        reader = SegmentReader(tmp_path)
        assert (await reader.read(location)).body == b"Good morning.\r\n"
        reader.close()


async def test_a_second_daemon_is_told_who_holds_the_spool(tmp_path: Path) -> None:
    spool = Segments(tmp_path)
    with pytest.raises(SpoolInUse, match=re.escape(f"{tmp_path} is in use by process {os.getpid()}")):
        Segments(tmp_path)
    async with running(spool):
        pass
    async with running(Segments(tmp_path)):
        pass


# --- lifetimes ---------------------------------------------------------------------


async def test_a_segment_goes_with_its_last_live_message(tmp_path: Path) -> None:
    spool = Segments(tmp_path, segment_size=1)
    async with running(spool):
        one, other, _ = [await spool.append(record(number)) for number in (1, 2, 3)]
        spool.release(message(1, location=one))
        assert [each.segment for each in (one, other)] == [1, 2]
    assert names(tmp_path) == ["00000002.seg", "00000003.seg"]


async def test_the_segment_being_written_stays_and_goes_when_the_next_begins(tmp_path: Path) -> None:
    spool = Segments(tmp_path, segment_size=1)
    async with running(spool):
        spool.release(message(1, location=await spool.append(record(1))))
        assert names(tmp_path) == ["00000001.seg"]
        await spool.append(record(2))
    assert names(tmp_path) == ["00000002.seg"]


async def test_a_large_body_goes_with_its_message(tmp_path: Path) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        location = await append_large(spool, 1, b"x" * 300_000)
        assert names(tmp_path) == ["00000001.body", "00000001.seg"]
        spool.release(message(1, location=location))
    assert names(tmp_path) == []


async def test_a_start_keeps_what_the_index_knows_and_removes_the_rest(tmp_path: Path) -> None:
    kept, _ = await fill(tmp_path, record(1), record(2), segment_size=1)
    (tmp_path / "00000007.body").write_bytes(b"orphan")
    (tmp_path / "stage" / "HALF").write_bytes(b"half received")
    spool = Segments(tmp_path)
    spool.adopt({kept.segment: (1, kept.length)})
    async with running(spool):
        pass
    assert names(tmp_path) == ["00000001.seg"]
    assert list((tmp_path / "stage").iterdir()) == []


async def test_an_old_segment_is_never_appended_to(tmp_path: Path) -> None:
    (old,) = await fill(tmp_path, record(1))
    (new,) = await fill(tmp_path, record(2))
    assert new.segment > old.segment


async def test_a_number_the_index_knows_is_not_used_again_for_other_content(tmp_path: Path) -> None:
    spool = Segments(tmp_path)
    spool.adopt({41: (3, 1200)})
    async with running(spool):
        assert (await spool.append(record())).segment == 42


async def test_without_adoption_nothing_old_is_removed(tmp_path: Path) -> None:
    one, _ = await fill(tmp_path, record(1), record(2))
    spool = Segments(tmp_path)
    async with running(spool):
        spool.release(message(1, location=one))
    assert names(tmp_path) == ["00000001.seg"]


async def test_a_body_id_cannot_leave_the_directory(tmp_path: Path) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        with pytest.raises(ValueError):
            spool.stage("../x")


# --- damage ------------------------------------------------------------------------

THREE = [record(number, b"%d" % number * 50) for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def octets(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Location], bytes]:
    """A segment of three records, and where they lie."""
    directory = tmp_path_factory.mktemp("three")
    locations = asyncio.run(fill(directory, *THREE))
    return locations, (directory / "00000001.seg").read_bytes()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_a_torn_tail_ends_the_scan_after_the_last_whole_record(
    octets: tuple[list[Location], bytes], tmp_path: Path, data: st.DataObject
) -> None:
    locations, whole = octets
    length = data.draw(st.integers(0, len(whole)))
    garbage = data.draw(st.sampled_from([b"", bytes(400), b"\x89PRM"]))
    (tmp_path / "00000001.seg").write_bytes(whole[:length] + garbage)
    intact = [each for each in locations if each.offset + each.length <= length]
    found = scan(tmp_path)
    assert [location for location, _ in found] == intact
    assert [each.content for _, each in found] == [each.content for each in THREE[: len(intact)]]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_a_changed_octet_is_never_delivered(
    octets: tuple[list[Location], bytes], tmp_path: Path, data: st.DataObject
) -> None:
    locations, whole = octets
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    (tmp_path / "00000001.seg").write_bytes(changed)
    for location, written in zip(locations, THREE, strict=True):
        hit = location.offset <= place < location.offset + location.length
        reader = SegmentReader(tmp_path)
        if hit:
            with pytest.raises(DamagedRecord):
                asyncio.run(_read(reader, location))
        else:
            assert asyncio.run(_read(reader, location)) == written.content.body
        reader.close()


async def _read(reader: SegmentReader, location: Location) -> bytes | None:
    return (await reader.read(location)).body


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"x" * 10),
    ],
)
async def test_a_large_body_that_is_gone_or_short_is_damaged(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        location = await append_large(spool, 1, b"x" * 300_000)
        damage(tmp_path / "00000001.body")
        with pytest.raises(DamagedRecord):
            await spool.read(location)
        assert scan(tmp_path) == []


async def test_a_changed_large_body_is_never_completed(tmp_path: Path) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        location = await append_large(spool, 1, b"x" * 600_000)
        with (tmp_path / "00000001.body").open("r+b") as file:
            file.write(b"y")
        stored = await spool.read(location)
        got: list[bytes] = []
        with pytest.raises(DamagedRecord):
            await collect(stored, got)
        assert sum(map(len, got)) < 600_000


async def collect(stored: Stored, got: list[bytes]) -> None:
    async for chunk in stored.chunks():
        got.append(chunk)


# --- a failing disk ------------------------------------------------------------------


class Disk:
    """Makes one call of the operating system fail, once or always."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def fail(self, name: str, code: int, times: int = 1) -> None:
        real = getattr(os, name)
        left = [times]

        def call(*arguments: object, **named: object) -> object:
            if left[0] > 0:
                left[0] -= 1
                raise OSError(code, os.strerror(code))
            return real(*arguments, **named)

        self._patch.setattr(os, name, call)

    def tear(self, octets: int) -> None:
        """The next pwrite takes only so many octets, the one after finds the disk full."""
        real = os.pwrite
        calls = iter([octets])

        def pwrite(descriptor: int, data: bytes, offset: int) -> int:
            taken = next(calls, None)
            if taken is None:
                self._patch.setattr(os, "pwrite", real)
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, memoryview(data)[:taken], offset)

        self._patch.setattr(os, "pwrite", pwrite)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def test_a_full_disk_refuses_the_burst_and_keeps_nothing_of_it(tmp_path: Path, disk: Disk) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        first = await spool.append(record(1))
        disk.tear(100)
        with pytest.raises(StorageFull):
            await spool.append(record(2))
        assert (tmp_path / "00000001.seg").stat().st_size == first.length
        second = await spool.append(record(3))
        assert second.offset == first.length
    assert [each.message.id for _, each in scan(tmp_path)] == [queue_id(1), queue_id(3)]


async def test_a_tail_that_cannot_be_cut_off_ends_its_segment(tmp_path: Path, disk: Disk) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        first = await spool.append(record(1))
        disk.tear(100)
        disk.fail("ftruncate", errno.EIO)
        with pytest.raises(StorageFull):
            await spool.append(record(2))
        second = await spool.append(record(3))
        assert second.segment > first.segment
    assert [each.message.id for _, each in scan(tmp_path)] == [queue_id(1), queue_id(3)]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE])
async def test_a_segment_that_cannot_be_begun_is_tried_again_by_the_next_message(
    tmp_path: Path, disk: Disk, code: int
) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        disk.fail("open", code)
        with pytest.raises(StorageFull):
            await spool.append(record(1))
        await spool.append(record(2))


@pytest.mark.parametrize("call", ["fdatasync", "fsync", "pwrite"])
async def test_after_a_failed_sync_or_write_nothing_is_accepted_any_more(
    tmp_path: Path, disk: Disk, call: str
) -> None:
    spool = Segments(tmp_path)
    disk.fail(call, errno.EIO)
    running = asyncio.create_task(spool.run())
    for number in (1, 2):
        with pytest.raises(StorageBroken):
            await spool.append(record(number))
    with pytest.raises(StorageBroken):
        await running


async def test_a_failed_sync_of_a_large_body_ends_the_spool_too(tmp_path: Path, disk: Disk) -> None:
    spool = Segments(tmp_path)
    running = asyncio.create_task(spool.run())
    disk.fail("fdatasync", errno.EIO)
    with pytest.raises(StorageBroken):
        await append_large(spool, 1, b"x")
    with pytest.raises(StorageBroken):
        await spool.append(record(2))
    with pytest.raises(StorageBroken):
        await running


async def test_a_disk_that_fills_while_a_body_comes_in_refuses_it(tmp_path: Path, disk: Disk) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        disk.tear(5)
        file = spool.stage(queue_id(1))
        with pytest.raises(StorageFull):
            await file.write(b"x" * 100)
        file.discard()
        assert list((tmp_path / "stage").iterdir()) == []


async def test_a_full_disk_at_the_end_of_a_large_message_keeps_nothing(tmp_path: Path, disk: Disk) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        file = spool.stage(queue_id(1))
        await file.write(b"x" * 100)
        disk.tear(5)
        with pytest.raises(StorageFull):
            await spool.append(record(1, file.finish(b"h" * 32)))
    assert names(tmp_path) == []


async def test_waiting_appends_are_made_durable_before_the_end(tmp_path: Path) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        waiting = [asyncio.create_task(spool.append(record(number))) for number in range(1, 20)]
        await asyncio.sleep(0)
    locations = await asyncio.gather(*waiting)
    assert [location for location, _ in scan(tmp_path)] == locations


async def test_one_sync_serves_all_that_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        syncs.append(descriptor)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    spool = Segments(tmp_path)
    # Before `run` everything waits, so that they are one burst.
    waiting = [asyncio.create_task(spool.append(record(number))) for number in range(1, 50)]
    await asyncio.sleep(0)
    async with running(spool):
        await asyncio.gather(*waiting)
    assert len(syncs) == 1
