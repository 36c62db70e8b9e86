"""`postroad spool rebuild`: a lost index is made anew, from the segments and what the old one still tells."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from postroad.adapters.segments import Segments
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.adapters.sqlite_reader import SqliteReader
from postroad.mail.handling import scheduled
from postroad.mail.lifecycle import State
from postroad.mail.message import Handling, Hold, Message, Recipient, Trace
from postroad.mail.outcome import Reason
from postroad.mail.routing import DIRECT, Hop
from postroad.ports.queue import QueueFilter
from tests.support.build import (
    HOUR,
    NOW,
    change,
    deferred,
    delivered,
    message,
    queue_id,
    recipient,
)
from tests.support.queued import fill, state_directory
from tests.support.running import running
from tests.support.spooled import (
    BODY,
    FIRST_SEGMENT,
    ID,
    Captured,
    change_index,
    damage_record,
    findings,
    five_messages,
    flip,
    place_of,
    remove_rows,
    spool_command,
)

SAID = deferred(text="450 4.7.1 not now")


@pytest.fixture
async def state() -> AsyncIterator[Path]:
    async with five_messages() as directory:
        yield directory


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
    assert await spool_command(state, "rebuild", "--json") == 0
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
        assert await spool_command(directory, "rebuild") == 0
        ((found, (left,)),) = (await waiting(directory)).values()
        assert found.handling == asked
        assert (left.hop, left.due, left.last) == (way, until, scheduled(until))


async def test_the_old_index_is_kept_aside(state: Path, capsys: Captured) -> None:
    old = (state / "queue.sqlite").read_bytes()
    assert await spool_command(state, "rebuild", "--json") == 0
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
    assert await spool_command(state, "rebuild") == 0
    after = await waiting(state)
    assert sorted(after) == [queue_id(number) for number in (2, 3, 4, 5)]
    assert [row.n for row in after[queue_id(2)][1]] == [1]


async def test_only_what_is_damaged_is_lost(state: Path, capsys: Captured) -> None:
    damage_record(state, 2)
    flip(state / BODY, 1)
    assert await spool_command(state, "rebuild", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["messages"], said["damaged"], said["bodies_lost"]) == (3, 1, 1)
    assert said["lost"] == [queue_id(2), queue_id(5)]
    assert sorted(await waiting(state)) == [queue_id(number) for number in (1, 3, 4)]


async def test_what_lay_in_a_segment_that_is_gone_is_named(state: Path, capsys: Captured) -> None:
    (state / FIRST_SEGMENT).unlink()
    assert await spool_command(state, "rebuild") == 0
    assert ", ".join(queue_id(number) for number in (1, 2, 3, 4)) in capsys.readouterr().out


async def test_a_damaged_header_hides_no_record_behind_it(state: Path) -> None:
    flip(state / FIRST_SEGMENT, place_of(state, 2)[0])
    assert await spool_command(state, "rebuild") == 0
    assert sorted(await waiting(state)) == [queue_id(number) for number in (1, 3, 4, 5)]


async def test_a_second_copy_is_left_out(state: Path, capsys: Captured) -> None:
    octets = (state / FIRST_SEGMENT).read_bytes()
    (state / "spool/00000007.seg").write_bytes(octets)
    change_index(state, "UPDATE recipient SET state = 1, attempts = 1")
    assert await spool_command(state, "rebuild", "--json") == 0
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
    assert await spool_command(state, "rebuild", "--json") == 0
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


async def hold_two(directory: Path) -> tuple[Hold, Hold]:
    """A policy held the sixth and seventh message on their way in; an operator holds the first, and
    released the seventh."""
    by_policy = Hold("scan", "looks odd", NOW)
    mails = []
    for number in (6, 7):
        owner = message(number)
        mails.append((owner, [recipient(owner, state=State.HELD, held=by_policy)], b"odd\r\n"))
    await fill(directory, *mails)
    by_hand = Hold(None, "under review", NOW)
    spool, queue = Segments(directory / "spool"), SqliteQueue(directory / "queue.sqlite")
    spool.adopt(await queue.live())
    async with running(spool, queue):
        for number, held in ((1, by_hand), (7, None)):
            found = await queue.find(queue_id(number))
            assert found is not None
            state = State.WAITING if held is None else State.HELD
            await queue.change([replace(change(found.recipients[0], state=state), held=held)])
            spool.hold(found.message, {0: held})
    return by_policy, by_hand


def forget_holds(directory: Path) -> None:
    """An index as it was before it knew why something is held."""
    change_index(directory, "ALTER TABLE recipient DROP COLUMN held", "PRAGMA user_version = 5")


def forget_notes(directory: Path) -> None:
    for path in (directory / "spool").glob("*.held"):
        path.unlink()


@pytest.mark.parametrize(
    "lose", [lambda d: (d / "queue.sqlite").unlink(), forget_notes, forget_holds, lambda d: None]
)
async def test_who_is_held_and_why_outlives_the_index_or_the_notes(
    state: Path, lose: Callable[[Path], object]
) -> None:
    by_policy, by_hand = await hold_two(state)
    lose(state)
    assert await spool_command(state, "rebuild") == 0
    rows = {id: rows[0] for id, (_, rows) in (await waiting(state)).items()}
    held = {id: row.held for id, row in rows.items() if row.state is State.HELD}
    assert held == {queue_id(1): by_hand, queue_id(6): by_policy}
    assert rows[queue_id(7)].state is State.WAITING


async def test_a_record_from_before_holds_had_reasons_says_them_all_the_same() -> None:
    with state_directory() as directory:
        owner = message(1)
        said = deferred(reason=Reason.POLICY, text="held by policy scan: looks: odd")
        await fill(directory, (owner, [recipient(owner, state=State.HELD, last=said)], b"odd\r\n"))
        (directory / "queue.sqlite").unlink()
        assert await spool_command(directory, "rebuild") == 0
        ((_, (row,)),) = (await waiting(directory)).values()
    assert (row.state, row.held, row.last) == (State.HELD, Hold("scan", "looks: odd"), None)


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
    assert await spool_command(state, "rebuild", "--json") == 0
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
    assert await spool_command(state, "rebuild") == 0
    assert "the old index tells nothing: attempts are counted from zero" in capsys.readouterr().out
    rows = [row for _, rows in (await waiting(state)).values() for row in rows]
    assert {(row.state, row.attempts) for row in rows} == {(State.WAITING, 0)}


async def test_no_new_index_is_made_under_a_daemon(state: Path, capsys: Captured) -> None:
    spool = Segments(state / "spool")
    before = (state / "queue.sqlite").read_bytes()
    async with running(spool):
        assert await spool_command(state, "rebuild") == 75
    assert "is in use by process" in capsys.readouterr().err
    assert (state / "queue.sqlite").read_bytes() == before
