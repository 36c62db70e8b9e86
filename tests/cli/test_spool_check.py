"""`postroad spool check`: each planted disagreement of index and segments is found."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from postroad.adapters.segment_marks import encode_mark, write_marks
from postroad.cli.spool_check import KINDS
from tests.support.build import (
    queue_id,
)
from tests.support.queued import state_directory
from tests.support.spooled import (
    BODY,
    FIRST_SEGMENT,
    ID,
    Captured,
    change_index,
    cut_segment,
    damage_record,
    findings,
    five_messages,
    flip,
    other_identity,
    place_of,
    remove_rows,
    spool_command,
)


@pytest.fixture
async def state() -> AsyncIterator[Path]:
    async with five_messages() as directory:
        yield directory


PLANTED: list[tuple[Callable[[Path], object], list[tuple[str, int]]]] = [
    (lambda d: remove_rows(d, 3), [("orphan-record", 3)]),
    (cut_segment, [("missing-record", 4)]),
    (lambda d: (d / FIRST_SEGMENT).unlink(), [("missing-record", n) for n in (1, 2, 3, 4)]),
    (lambda d: damage_record(d, 2), [("wrong-crc", 2)]),
    (lambda d: damage_record(d, 4), [("wrong-crc", 4)]),
    (lambda d: flip(d / BODY, 77), [("wrong-crc", 5)]),
    (lambda d: (d / BODY).unlink(), [("wrong-crc", 5)]),
    (lambda d: (d / "spool/00000009.body").write_bytes(b"x"), [("orphan-body", 0)]),
    (
        lambda d: change_index(d, f"UPDATE recipient SET state = 9 WHERE message = {ID[1]}"),
        [("impossible-state", 1), ("impossible-state", 1)],
    ),
    (
        lambda d: change_index(d, f"UPDATE recipient SET told = 1 WHERE message = {ID[1]}"),
        [("impossible-state", 1)],
    ),
    (
        lambda d: change_index(d, f"UPDATE recipient SET attempts = -1 WHERE message = {ID[1]}"),
        [("impossible-state", 1)],
    ),
    (
        lambda d: change_index(d, f"UPDATE recipient SET hop = 99 WHERE message = {ID[1]}"),
        [("impossible-state", 1)],
    ),
    (
        lambda d: change_index(d, f"UPDATE recipient SET state = 3 WHERE message = {ID[1]}"),
        [("impossible-state", 1)],
    ),
    (
        lambda d: change_index(d, f"DELETE FROM recipient WHERE message = {ID[1]}"),
        [("impossible-state", 1)],
    ),
    (
        lambda d: change_index(d, f"DELETE FROM message WHERE id = {ID[1]}"),
        [("impossible-state", 1), ("orphan-record", 1)],
    ),
    (
        lambda d: change_index(d, f"UPDATE message SET offset = 0 WHERE id = {ID[2]}"),
        [("impossible-state", 2), ("wrong-place", 2)],
    ),
    # A record in the wrong segment, two that were taken for each other, another's place.
    (
        lambda d: (d / FIRST_SEGMENT).rename(d / "spool/00000003.seg"),
        [("wrong-place", n) for n in (1, 2, 3, 4)],
    ),
    (
        lambda d: change_index(
            d,
            f"UPDATE message SET offset = {place_of(d, 2)[0]} WHERE id = {ID[1]}",
            f"UPDATE message SET offset = 0 WHERE id = {ID[2]}",
        ),
        [("wrong-place", 1), ("wrong-place", 2)],
    ),
    (
        lambda d: change_index(d, f"UPDATE message SET segment = 2, offset = 7 WHERE id = {ID[1]}"),
        [("wrong-place", 1)],
    ),
    (lambda d: other_identity(d, 8, 3), [("foreign-index", 0)]),
    (lambda d: other_identity(d, 7, 2), [("old-index", 0)]),
    (lambda d: change_index(d, "PRAGMA user_version = 999"), [("later-index", 0)]),
    # What is sound to SQLite, and to nobody else.
    (
        lambda d: change_index(d, f"UPDATE recipient SET local = 'other' WHERE message = {ID[2]} AND n = 1"),
        [("wrong-envelope", 2)],
    ),
    (
        lambda d: change_index(d, f"UPDATE message SET sender_domain = 'example.net' WHERE id = {ID[2]}"),
        [("wrong-envelope", 2)],
    ),
    (
        lambda d: change_index(d, f"DELETE FROM recipient WHERE message = {ID[2]} AND n = 1"),
        [("wrong-envelope", 2)],
    ),
    (
        lambda d: change_index(d, f"UPDATE recipient SET due = 'soon' WHERE message = {ID[1]}"),
        [("impossible-state", 1)],
    ),
    (
        lambda d: change_index(d, f"UPDATE recipient SET last = '{{broken' WHERE message = {ID[1]}"),
        [("impossible-state", 1)],
    ),
    (
        lambda d: change_index(d, f"UPDATE message SET length = -1 WHERE id = {ID[1]}"),
        [("impossible-state", 1), ("wrong-place", 1)],
    ),
    (lambda d: (d / "queue.sqlite").unlink(), [("missing-index", 0)]),
    (lambda d: (d / "queue.sqlite").write_bytes(b"no index" * 999), [("damaged-index", 0)]),
]


@pytest.mark.parametrize(("plant", "found"), PLANTED)
async def test_each_planted_disagreement_is_found(
    state: Path, capsys: Captured, plant: Callable[[Path], object], found: list[tuple[str, int]]
) -> None:
    plant(state)
    expected = sorted((kind, queue_id(number) if number else "") for kind, number in found)
    assert await findings(state, capsys) == (65, expected)


async def test_a_sound_spool_has_no_findings(state: Path, capsys: Captured) -> None:
    assert await findings(state, capsys) == (0, [])
    assert await spool_command(state, "check") == 0
    assert capsys.readouterr().out == "5 messages, 5 records, 0 findings\n"


async def test_what_is_marked_as_done_is_no_orphan(state: Path, capsys: Captured) -> None:
    offset, _ = place_of(state, 3)
    remove_rows(state, 3)
    write_marks(state / "spool", {1: encode_mark(offset)})
    assert await findings(state, capsys) == (0, [])


async def test_a_torn_tail_that_nobody_was_promised_is_no_finding(state: Path, capsys: Captured) -> None:
    with (state / FIRST_SEGMENT).open("ab") as file:
        file.write(b"\x89PRM torn")
    assert await findings(state, capsys) == (0, [])


async def test_the_check_changes_nothing(state: Path) -> None:
    flip(state / BODY, 1)
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    await spool_command(state, "check")
    left = {path: path.read_bytes() for path in before}
    assert left == before


async def test_a_finding_says_whose_record_lies_there_and_where_the_right_one_is(
    state: Path, capsys: Captured
) -> None:
    offset, _ = place_of(state, 3)
    change_index(state, f"UPDATE message SET segment = 2, offset = 0 WHERE id = {ID[3]}")
    assert await spool_command(state, "check", "--json") == 65
    (found,) = [
        each for each in json.loads(capsys.readouterr().out)["findings"] if each["kind"] == "wrong-place"
    ]
    assert (found["id"], found["file"]) == (queue_id(3), "00000002.seg")
    assert found["text"] == (
        f"octet 0: there lies {queue_id(5)}; its record lies in 00000001.seg, octet {offset}"
    )


async def test_findings_name_the_file_the_kind_and_the_message(state: Path, capsys: Captured) -> None:
    damage_record(state, 2)
    assert await spool_command(state, "check") == 65
    found, counted, meaning = capsys.readouterr().out.splitlines()
    assert found.startswith(f"00000001.seg: wrong-crc: {queue_id(2)}: octet ")
    assert counted == "5 messages, 4 records, 1 finding"
    assert meaning == f"wrong-crc: {KINDS['wrong-crc'].text}; {KINDS['wrong-crc'].cure}"


async def test_what_the_maildrop_could_not_hand_in_is_shown_and_is_no_fault_of_the_queue(
    state: Path, capsys: Captured
) -> None:
    (state / "maildrop").mkdir()
    name = f"refused.2.{'0' * 32}"
    (state / "maildrop" / name).write_text("no message\n")
    assert await spool_command(state, "check") == 0
    _, found, cure = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        rf"{state}/maildrop/{name}: refused: uid {os.getuid()}, 11B, \d+s ago: the request is not JSON", found
    )
    assert 'rename it without "refused."' in cure
    assert await spool_command(state, "check", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)["refused"]
    assert (told["file"], told["uid"], told["why"]) == (name, os.getuid(), "the request is not JSON")


async def test_without_a_spool_there_is_nothing_to_do(capsys: Captured) -> None:
    with state_directory() as directory:
        assert await spool_command(directory, "check") == 66
        assert await spool_command(directory, "rebuild") == 66
    assert "no spool" in capsys.readouterr().err


async def test_a_number_that_is_no_queue_id_is_a_finding(state: Path, capsys: Captured) -> None:
    change_index(state, f"UPDATE message SET id = {2**62} WHERE id = {ID[1]}")
    assert await spool_command(state, "check", "--json") == 65
    found = json.loads(capsys.readouterr().out)["findings"]
    assert ("impossible-state", str(2**62)) in [(each["kind"], each["id"]) for each in found]
