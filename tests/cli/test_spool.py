"""The spool held against the index: each planted disagreement is found, a lost index is made anew."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from postroad.adapters.segment_identity import keep_identity
from postroad.adapters.segment_marks import encode_mark, write_marks
from postroad.adapters.segments import Segments
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.adapters.sqlite_reader import SqliteReader
from postroad.cli.main import main
from postroad.mail.handling import scheduled
from postroad.mail.lifecycle import State
from postroad.mail.message import Handling, Message, Recipient, Trace
from postroad.mail.queue_id import parse_id
from postroad.mail.routing import DIRECT, Hop
from postroad.ports.queue import QueueFilter
from tests.support.build import (
    HOUR,
    NOW,
    change,
    content,
    deferred,
    delivered,
    message,
    queue_id,
    recipient,
    record,
)
from tests.support.queued import fill, state_directory
from tests.support.running import running

Captured = pytest.CaptureFixture[str]
LARGE = b"x" * 50_000
SAID = deferred(text="450 4.7.1 not now")


async def run(directory: Path, *arguments: str) -> int:
    return await asyncio.to_thread(main, ["--config", str(directory / "postroad.toml"), "spool", *arguments])


@pytest.fixture
async def state() -> AsyncIterator[Path]:
    """Four messages in one segment, the second to two recipients; a fifth with a body of its own."""
    with state_directory() as directory:
        mails = []
        for number in range(1, 5):
            body = b"%d\r\n" % number * 20
            owner = message(number, size=content(body=body).size)
            mails.append((owner, [recipient(owner, n=n) for n in range(2 if number == 2 else 1)], body))
        await fill(directory, *mails)
        await add_large(directory)
        yield directory


async def add_large(directory: Path) -> None:
    spool, queue = Segments(directory / "spool"), SqliteQueue(directory / "queue.sqlite")
    async with running(spool, queue):
        file = spool.stage(queue_id(5))
        await file.write(LARGE)
        large = record(5, file.finish(b"h" * 32))
        await queue.add(replace(large.message, location=await spool.append(large)), large.recipients)


async def findings(directory: Path, capsys: Captured) -> tuple[int, list[tuple[str, str]]]:
    """The exit code, and (kind, id) of each finding, by kind."""
    status = await run(directory, "check", "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["clean"] is (status == 0)
    return status, sorted((each["kind"], each["id"]) for each in said["findings"])


def change_index(directory: Path, *statements: str) -> None:
    with sqlite3.connect(directory / "queue.sqlite") as connection:
        for each in statements:
            connection.execute(each)
    connection.close()


def place_of(directory: Path, number: int) -> tuple[int, int]:
    """Offset and length in the first segment."""
    connection = sqlite3.connect(directory / "queue.sqlite")
    found = connection.execute(
        "SELECT offset, length FROM message WHERE id = ?", (parse_id(queue_id(number)),)
    ).fetchone()
    connection.close()
    return found[0], found[1]


def other_identity(directory: Path, number: int, run: int) -> None:
    keep_identity(directory / "spool", 7, 3)
    change_index(directory, f"PRAGMA application_id = {number}", f"UPDATE opened SET run = {run}")


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (octet,) = file.read(1)
        file.seek(offset)
        file.write(bytes([octet ^ 1]))


FIRST_SEGMENT = "spool/00000001.seg"
BODY = "spool/00000002.body"
ID = {number: parse_id(queue_id(number)) for number in range(1, 9)}


def damage_record(directory: Path, number: int) -> None:
    offset, length = place_of(directory, number)
    flip(directory / FIRST_SEGMENT, offset + length - 3)


def remove_rows(directory: Path, number: int) -> None:
    change_index(
        directory,
        f"DELETE FROM message WHERE id = {ID[number]}",
        f"DELETE FROM recipient WHERE message = {ID[number]}",
    )


def cut_segment(directory: Path) -> None:
    offset, _ = place_of(directory, 4)
    with (directory / FIRST_SEGMENT).open("r+b") as file:
        file.truncate(offset)


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
    assert await run(state, "check") == 0
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
    await run(state, "check")
    left = {path: path.read_bytes() for path in before}
    assert left == before


async def test_a_finding_says_whose_record_lies_there_and_where_the_right_one_is(
    state: Path, capsys: Captured
) -> None:
    offset, _ = place_of(state, 3)
    change_index(state, f"UPDATE message SET segment = 2, offset = 0 WHERE id = {ID[3]}")
    assert await run(state, "check", "--json") == 65
    (found,) = [
        each for each in json.loads(capsys.readouterr().out)["findings"] if each["kind"] == "wrong-place"
    ]
    assert (found["id"], found["file"]) == (queue_id(3), "00000002.seg")
    assert found["text"] == (
        f"octet 0: there lies {queue_id(5)}; its record lies in 00000001.seg, octet {offset}"
    )


async def test_findings_name_the_file_the_kind_and_the_message(state: Path, capsys: Captured) -> None:
    damage_record(state, 2)
    assert await run(state, "check") == 65
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith(f"00000001.seg: wrong-crc: {queue_id(2)}: octet ")


# --- a new index ---------------------------------------------------------------------


async def waiting(directory: Path) -> dict[str, tuple[Message, list[Recipient]]]:
    """Open recipients by message, read from the index; each message's content was read too."""
    spool, queue = Segments(directory / "spool"), SqliteQueue(directory / "queue.sqlite")
    found: dict[str, tuple[Message, list[Recipient]]] = {}
    async with running(spool, queue):
        for owner, row in await queue.select(QueueFilter(), 100):
            found.setdefault(owner.id, (owner, []))[1].append(row)
            stored = await spool.read(owner.location)
            assert b"".join([chunk async for chunk in stored.chunks()])
    return found


@pytest.mark.parametrize(
    "lose",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no index" * 999),
        lambda path: flip(path, 5),
    ],
)
async def test_a_lost_index_is_made_anew_with_every_message(
    state: Path, capsys: Captured, lose: Callable[[Path], object]
) -> None:
    before = await waiting(state)
    lose(state / "queue.sqlite")
    assert await run(state, "rebuild", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["messages"], said["recipients"], said["damaged"]) == (5, 6, 0)
    after = await waiting(state)
    assert {id: owner for id, (owner, _) in after.items()} == {id: owner for id, (owner, _) in before.items()}
    assert {id: [row.address for row in rows] for id, (_, rows) in after.items()} == {
        id: [row.address for row in rows] for id, (_, rows) in before.items()
    }
    assert await findings(state, capsys) == (0, [])


async def test_what_senders_scheduled_and_required_outlives_the_index() -> None:
    until = time.time() + HOUR
    asked = Handling(requiretls=True, priority=-4, hold_until=until)
    with state_directory() as directory:
        owner = message(1, handling=asked)
        way = Hop(DIRECT, "example.org", requiretls=True)
        row = recipient(owner, hop=way, due=until, last=scheduled(until))
        await fill(directory, (owner, [row], b"hello\r\n"))
        (directory / "queue.sqlite").unlink()
        assert await run(directory, "rebuild") == 0
        ((found, (left,)),) = (await waiting(directory)).values()
        assert found.handling == asked
        assert (left.hop, left.due, left.last) == (way, until, scheduled(until))


async def test_the_old_index_is_kept_aside(state: Path, capsys: Captured) -> None:
    old = (state / "queue.sqlite").read_bytes()
    assert await run(state, "rebuild", "--json") == 0
    aside = Path(json.loads(capsys.readouterr().out)["aside"])
    assert aside.name.startswith("queue.sqlite.damaged-")
    assert aside.read_bytes() == old


async def test_delivered_mail_does_not_come_back(state: Path) -> None:
    spool, queue = Segments(state / "spool"), SqliteQueue(state / "queue.sqlite")
    spool.adopt(await queue.live())
    async with running(spool, queue):
        for owner, row in await queue.select(QueueFilter(), 100):
            if row.message == queue_id(1):
                await queue.change([replace(change(row, delivered()), state=State.CANCELLED)])
                spool.release(owner)
            elif row.message == queue_id(2) and row.n == 0:
                spool.done(owner, [0])
    (state / "queue.sqlite").unlink()
    assert await run(state, "rebuild") == 0
    after = await waiting(state)
    assert sorted(after) == [queue_id(number) for number in (2, 3, 4, 5)]
    assert [row.n for row in after[queue_id(2)][1]] == [1]


async def test_only_what_is_damaged_is_lost(state: Path, capsys: Captured) -> None:
    damage_record(state, 2)
    flip(state / BODY, 1)
    assert await run(state, "rebuild", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["messages"], said["damaged"], said["bodies_lost"]) == (3, 1, 1)
    assert sorted(await waiting(state)) == [queue_id(number) for number in (1, 3, 4)]


async def test_a_damaged_header_hides_no_record_behind_it(state: Path) -> None:
    flip(state / FIRST_SEGMENT, place_of(state, 2)[0])
    assert await run(state, "rebuild") == 0
    assert sorted(await waiting(state)) == [queue_id(number) for number in (1, 3, 4, 5)]


async def test_a_second_copy_is_left_out(state: Path, capsys: Captured) -> None:
    octets = (state / FIRST_SEGMENT).read_bytes()
    (state / "spool/00000007.seg").write_bytes(octets)
    change_index(state, "UPDATE recipient SET state = 1, attempts = 1")
    assert await run(state, "rebuild", "--json") == 0
    assert json.loads(capsys.readouterr().out)["copies"] == 4
    rows = [row for _, rows in (await waiting(state)).values() for row in rows]
    # What was in its first attempt has none behind it.
    assert {(row.state, row.attempts) for row in rows} == {(State.WAITING, 0)}


async def try_in_vain(directory: Path) -> None:
    """The first message was put off twice, the third is held after one attempt, the fourth warned of."""
    queue = SqliteQueue(directory / "queue.sqlite")
    trace = Trace(NOW, NOW + 1, "mx.example.org[192.0.2.1]:25", None, ())
    async with running(queue):
        for number, attempts in ((1, (1, 2)), (3, (1,))):
            found = await queue.find(queue_id(number))
            assert found is not None
            (row,) = found.recipients
            for each in attempts:
                tried = change(
                    row, SAID, attempts=each, at=NOW, trace=trace, first_greylisted=NOW, hints_used=1
                )
                await queue.change([tried])
    change_index(
        directory,
        f"UPDATE recipient SET state = 2 WHERE message = {ID[3]}",
        f"UPDATE recipient SET state = 1, attempts = 3, warned = 1 WHERE message = {ID[4]}",
    )


async def test_attempts_and_holds_outlive_an_index_that_can_be_read(state: Path, capsys: Captured) -> None:
    await try_in_vain(state)
    remove_rows(state, 5)
    assert await run(state, "rebuild", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["old_index_read"], said["tried"], said["held"]) == (True, 3, 1)
    rows = {id: rows[0] for id, (_, rows) in (await waiting(state)).items()}
    first, third, fourth = (rows[queue_id(number)] for number in (1, 3, 4))
    assert (first.state, first.attempts, first.last, first.last_attempt_at) == (State.WAITING, 2, SAID, NOW)
    assert (first.first_greylisted, first.hints_used, first.warned) == (NOW, 1, False)
    assert (third.state, third.attempts) == (State.HELD, 1)
    assert (fourth.state, fourth.attempts, fourth.warned) == (State.WAITING, 2, True)
    assert (rows[queue_id(5)].attempts, rows[queue_id(5)].last) == (0, None)
    async with SqliteReader(state / "queue.sqlite") as index:
        past = await index.attempts(queue_id(1))
    assert [(each.number, each.outcome) for each in past] == [(1, SAID), (2, SAID)]
    assert await findings(state, capsys) == (0, [])


@pytest.mark.parametrize(
    ("spoil", "tried"),
    [
        ("UPDATE recipient SET attempts = -1 WHERE message = {}", 2),
        ("UPDATE recipient SET attempts = 'x' WHERE message = {}", 2),
        ("UPDATE recipient SET last = '{{}}' WHERE message = {}", 2),
        ("UPDATE recipient SET last_attempt_at = 'x' WHERE message = {}", 2),
        ("UPDATE attempt SET what = 'x' WHERE message = {}", 3),
        ("UPDATE attempt SET what = 7 WHERE message = {}", 3),
        ("UPDATE attempt SET message = 77 WHERE message = {}", 3),
        ("DROP TABLE attempt", 3),
    ],
)
async def test_what_makes_no_sense_in_the_old_index_is_left_out(
    state: Path, capsys: Captured, spoil: str, tried: int
) -> None:
    await try_in_vain(state)
    change_index(state, spoil.format(ID[1]))
    assert await run(state, "rebuild", "--json") == 0
    assert json.loads(capsys.readouterr().out)["tried"] == tried
    async with SqliteReader(state / "queue.sqlite") as index:
        assert len(await index.attempts(queue_id(1))) in (0, 2)
    assert await findings(state, capsys) == (0, [])


@pytest.mark.parametrize(
    "lose", [lambda path: path.unlink(), lambda path: path.write_bytes(b"no index" * 999)]
)
async def test_it_is_said_when_the_old_index_tells_nothing(
    state: Path, capsys: Captured, lose: Callable[[Path], object]
) -> None:
    await try_in_vain(state)
    lose(state / "queue.sqlite")
    assert await run(state, "rebuild") == 0
    assert "the old index tells nothing: attempts are counted from zero" in capsys.readouterr().out
    rows = [row for _, rows in (await waiting(state)).values() for row in rows]
    assert {(row.state, row.attempts) for row in rows} == {(State.WAITING, 0)}


async def test_no_new_index_is_made_under_a_daemon(state: Path, capsys: Captured) -> None:
    spool = Segments(state / "spool")
    before = (state / "queue.sqlite").read_bytes()
    async with running(spool):
        assert await run(state, "rebuild") == 75
    assert "is in use by process" in capsys.readouterr().err
    assert (state / "queue.sqlite").read_bytes() == before


async def test_without_a_spool_there_is_nothing_to_do(capsys: Captured) -> None:
    with state_directory() as directory:
        assert await run(directory, "check") == 66
        assert await run(directory, "rebuild") == 66
    assert "no spool" in capsys.readouterr().err
