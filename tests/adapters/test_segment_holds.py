"""Notes of what is held: the last one counts, and a torn one is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.adapters.segment_holds import encode_note, read_notes, write_notes
from postroad.adapters.segments import Segments
from postroad.mail.message import Hold
from tests.support.build import NOW, record
from tests.support.running import running

WHY = Hold(None, "under\nreview", NOW)
OTHER = Hold("scan", "looks ödd")


async def test_what_is_held_is_noted_by_the_end_at_the_latest(tmp_path: Path) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        one = record(1)
        location = await spool.append(one)
        lying = replace(one.message, location=location)
        spool.hold(lying, {0: WHY, 1: OTHER})
        spool.hold(lying, {0: None})
    assert read_notes(tmp_path) == {(location.segment, location.offset): {0: None, 1: OTHER}}


async def test_notes_go_with_their_segment(tmp_path: Path) -> None:
    spool = Segments(tmp_path, segment_size=1)
    async with running(spool):
        for number in (1, 2):
            each = record(number)
            lying = replace(each.message, location=await spool.append(each))
            spool.hold(lying, {0: WHY})
            spool.release(lying)
    assert not (tmp_path / "00000001.held").exists()
    assert not (tmp_path / "00000001.seg").exists()


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_torn_note_spoils_no_other(tmp_path: Path, cut: int) -> None:
    whole = encode_note(400, 0, WHY)
    write_notes(tmp_path, {1: whole + encode_note(400, 1, OTHER)[: -cut * 4]})
    write_notes(tmp_path, {1: encode_note(800, 2, None)})
    assert read_notes(tmp_path) == {(1, 400): {0: WHY}, (1, 800): {2: None}}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.binary(max_size=80), st.integers(0, 100).map(lambda n: encode_note(4, 2, WHY)[:n])))
def test_what_is_no_note_is_passed_over(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "00000001.held").write_bytes(octets + encode_note(7, 3, OTHER))
    assert read_notes(tmp_path)[1, 7] == {3: OTHER}
