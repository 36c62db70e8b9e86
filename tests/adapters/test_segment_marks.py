"""Marks of what is done: written behind the mail's back, believed only when whole."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.adapters.segment_marks import (
    SIZE,
    WHOLE,
    MarkWriter,
    encode_mark,
    is_done,
    read_marks,
    write_marks,
)
from postroad.adapters.segments import Segments
from postroad.demo.process import HANGS_AFTER
from postroad.mail.message import Location
from tests.support.build import record
from tests.support.running import running

FIRST, SECOND = 400, 4096


async def test_what_was_released_is_marked_by_the_end_at_the_latest(tmp_path: Path) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        first, second = record(1), record(2)
        location = await spool.append(first)
        other = await spool.append(second)
        spool.release(replace(first.message, location=location))
        spool.done(replace(second.message, location=other), [3, 5])
    assert read_marks(tmp_path) == {
        (location.segment, location.offset): {WHOLE},
        (other.segment, other.offset): {3, 5},
    }


async def test_marks_are_written_while_the_spool_is_in_use(tmp_path: Path) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        first = record(1)
        spool.release(replace(first.message, location=await spool.append(first)))
        async with asyncio.timeout(HANGS_AFTER):
            while not read_marks(tmp_path):
                await asyncio.sleep(0.05)


async def test_marks_go_with_their_segment(tmp_path: Path) -> None:
    spool = Segments(tmp_path, segment_size=1)
    async with running(spool):
        for number in (1, 2):
            each = record(number)
            spool.release(replace(each.message, location=await spool.append(each)))
    assert sorted(path.name for path in tmp_path.glob("0*")) == ["00000002.done", "00000002.seg"]


async def test_no_sync_is_spent_on_a_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_marks(tmp_path, {1: encode_mark(FIRST)})
    monkeypatch.setattr("os.fdatasync", pytest.fail)
    monkeypatch.setattr("os.fsync", pytest.fail)
    write_marks(tmp_path, {1: encode_mark(SECOND)})
    assert set(read_marks(tmp_path)) == {(1, FIRST), (1, SECOND)}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(cut=st.integers(0, 3 * SIZE), place=st.integers(0, 3 * SIZE - 1), flip=st.integers(0, 255))
def test_a_torn_or_changed_mark_is_none_and_hides_no_other(
    tmp_path: Path, cut: int, place: int, flip: int
) -> None:
    whole = b"".join(encode_mark(FIRST, n) for n in range(3))
    torn = bytearray(whole[:cut])
    if place < cut:
        torn[place] ^= flip
    (tmp_path / "00000001.done").write_bytes(torn)
    write_marks(tmp_path, {1: encode_mark(SECOND)})
    sound = {n for n in range(3) if torn[n * SIZE : (n + 1) * SIZE] == whole[n * SIZE : (n + 1) * SIZE]}
    assert read_marks(tmp_path) == {(1, SECOND): {WHOLE}} | ({(1, FIRST): sound} if sound else {})


@pytest.mark.parametrize(
    ("marks", "recipients", "done"),
    [
        ({}, [0], False),
        ({(1, FIRST): {WHOLE}}, [0, 1], True),
        ({(1, FIRST): {0}}, [0, 1], False),
        ({(1, FIRST): {0, 1}}, [0, 1], True),
        ({(1, SECOND): {WHOLE}}, [0], False),
    ],
)
def test_a_message_is_done_with_its_last_recipient(
    marks: dict[tuple[int, int], set[int]], recipients: list[int], done: bool
) -> None:
    assert is_done(marks, Location(1, FIRST, 400), recipients) is done


async def test_a_disk_that_takes_no_mark_takes_no_message_with_it(tmp_path: Path) -> None:
    (tmp_path / "00000001.done").mkdir()
    write_marks(tmp_path, {1: encode_mark(FIRST)})
    spool = Segments(tmp_path / "spool")
    async with running(spool):
        location = await spool.append(record(1))
        assert (await spool.read(location)).body


def test_a_mark_that_found_no_room_is_written_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "00000001.done").mkdir()
    writer = MarkWriter(tmp_path)
    writer.write({1: encode_mark(FIRST), 2: encode_mark(FIRST)})
    writer.write({3: encode_mark(FIRST)})
    (tmp_path / "00000001.done").rmdir()
    writer.write({1: encode_mark(SECOND, 7)})
    writer.write({})
    assert read_marks(tmp_path) == {
        (1, FIRST): {WHOLE},
        (1, SECOND): {7},
        (2, FIRST): {WHOLE},
        (3, FIRST): {WHOLE},
    }
    assert {path.stat().st_size // SIZE for path in tmp_path.iterdir()} == {1, 2}


async def test_what_a_crash_left_unmarked_is_marked_by_the_next_start(tmp_path: Path) -> None:
    """Three records of one segment: one waits, the others were settled, or never promised."""
    spool = Segments(tmp_path)
    task = asyncio.create_task(spool.run())
    waits, *_ = await asyncio.gather(*(spool.append(record(number)) for number in (1, 2, 3)))
    task.cancel()
    await asyncio.wait({task})
    again = Segments(tmp_path)
    assert again.crashed
    again.adopt({1: (1, waits.length)})
    async with running(again):
        assert again.wasteful() == [1]
        await again.mark_strangers([1], {(1, waits.offset)})
    assert sorted(read_marks(tmp_path)) == [(1, waits.length), (1, 2 * waits.length)]
    third = Segments(tmp_path)
    assert not third.crashed
    async with running(third):
        pass
