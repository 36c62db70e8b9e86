"""Segments that a few old messages keep alive: emptied, with every message readable all the while."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from postroad.adapters.segment_holds import read_notes
from postroad.adapters.segment_marks import read_marks
from postroad.adapters.segments import SEGMENT_SIZE, Segments
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.cli.spool_check import check
from postroad.cli.spool_rebuild import rebuild
from postroad.engine.compaction import Compaction
from postroad.mail.events import Event, StorageTrouble
from postroad.mail.lifecycle import State
from postroad.mail.message import Hold, Message
from postroad.ports.queue import QueueFilter
from postroad.ports.storage import StorageFull
from tests.support.build import NOW, change, delivered, failed, queue_id, recipient, record
from tests.support.running import running

SEGMENT = 20_000
BODY = b"x" * 998 + b"\r\n"


class Told:
    """`Events` that are kept."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class Store:
    directory: Path
    spool: Segments
    queue: SqliteQueue
    told: Told
    compaction: Compaction

    async def add(self, number: int, state: State = State.WAITING, recipients: int = 1) -> Message:
        given = record(number, BODY)
        rows = [recipient(given.message, n=n, state=state) for n in range(recipients)]
        location = await self.spool.append(replace(given, recipients=tuple(rows)))
        message = replace(given.message, location=location)
        await self.queue.add(message, rows)
        return message

    async def deliver(self, id: str) -> None:
        """One ACTIVE recipient, all the message has."""
        (finished,) = await self.queue.record(
            [change(recipient(message=id, to="b@example.org"), delivered())]
        )
        self.spool.release(finished.message)

    async def places(self) -> dict[str, Message]:
        """Every message with open recipients, each read."""
        found = {owner.id: owner for owner, _ in await self.queue.select(QueueFilter(), 10_000)}
        for owner in found.values():
            assert (await self.spool.read(owner.location)).body == BODY
        return found

    def octets(self) -> int:
        return sum(path.stat().st_size for path in (self.directory / "spool").glob("0*"))


@asynccontextmanager
async def store(directory: Path, segment: int = SEGMENT) -> AsyncIterator[Store]:
    told = Told()
    spool = Segments(directory / "spool", segment)
    queue = SqliteQueue(directory / "queue.sqlite")
    spool.adopt(await queue.live())
    compaction = Compaction(spool, queue, told, grace=0.0, rate=1e12)
    async with running(spool, queue):
        yield Store(directory, spool, queue, told, compaction)


async def old_and_new(kept: Store, count: int = 300, every: int = 20) -> set[str]:
    """Many messages, most delivered; the ids of the rest."""
    old = set()
    for number in range(1, count + 1):
        if number % every:
            await kept.add(number, State.ACTIVE)
            await kept.deliver(queue_id(number))
        else:
            old.add((await kept.add(number)).id)
    return old


async def test_old_messages_are_copied_forward_and_their_segments_go(tmp_path: Path) -> None:
    async with store(tmp_path) as kept:
        old = await old_and_new(kept)
        before = await kept.places()
        assert await kept.compaction.compact() > 0
        after = await kept.places()
        assert set(after) == set(before) == old
        live = sum(each.location.length for each in after.values())
    # The cleaner has done its work by now.
    assert kept.octets() <= 3 * live + 2 * SEGMENT
    report = check(tmp_path / "queue.sqlite", tmp_path / "spool")
    assert (report.messages, report.findings) == (len(old), [])


async def test_little_waste_is_let_be(tmp_path: Path) -> None:
    async with store(tmp_path) as kept:
        await old_and_new(kept, count=15, every=3)
        before = await kept.places()
        assert await kept.compaction.compact() == 0
        assert await kept.places() == before


async def test_what_somebody_works_on_stays_where_it_is(tmp_path: Path) -> None:
    async with store(tmp_path) as kept:
        await old_and_new(kept)
        active = await kept.add(1001, State.ACTIVE)
        news = await kept.add(1002, State.ACTIVE, recipients=2)
        await kept.queue.record([change(recipient(news, state=State.ACTIVE), failed())])
        found = await kept.queue.movable(active.location.segment)
        assert not {active.id, news.id} & {each.id for each in found}
        to = replace(active.location, segment=99)
        assert await kept.queue.move([(active, to), (news, to)]) == [None, None]


async def test_a_message_that_ends_while_it_is_copied_is_not_moved(tmp_path: Path) -> None:
    async with store(tmp_path) as kept:
        message = await kept.add(1)
        row = recipient(message)
        (finished,) = await kept.queue.change([replace(change(row), state=State.CANCELLED)])
        kept.spool.release(finished.message)
        assert await kept.queue.move([(message, replace(message.location, segment=99))]) == [None]


async def test_an_old_place_can_be_read_until_it_is_let_go(tmp_path: Path) -> None:
    async with store(tmp_path) as kept:
        old = await old_and_new(kept)
        kept.compaction = Compaction(kept.spool, kept.queue, kept.told, grace=3600.0, rate=1e12)
        before = await kept.places()
        compacting = asyncio.create_task(kept.compaction.compact())
        while await kept.places() == before:
            await asyncio.sleep(0.01)
        for each in before.values():
            assert (await kept.spool.read(each.location)).body == BODY
        kept.compaction.close()
        await compacting
    async with store(tmp_path) as again:
        assert set(await again.places()) == old


async def test_what_was_done_of_a_message_is_known_where_it_went(tmp_path: Path) -> None:
    async with store(tmp_path) as kept:
        half = await kept.add(500, State.ACTIVE, recipients=2)
        rows = [recipient(half, n=n, state=State.ACTIVE) for n in (0, 1)]
        await kept.queue.record([change(rows[0], delivered()), change(rows[1], state=State.WAITING)])
        kept.spool.done(half, [0])
        # The rest of its segment is over, so that no other is worth more.
        for number in range(501, 520):
            await kept.add(number, State.ACTIVE)
            await kept.deliver(queue_id(number))
        await old_and_new(kept, every=5)
        assert await kept.compaction.compact() > 0
        moved = (await kept.places())[half.id].location
        assert moved != half.location
    assert read_marks(tmp_path / "spool")[moved.segment, moved.offset] == {0}
    rebuilt = rebuild(tmp_path / "queue.sqlite", tmp_path / "spool", NOW)
    assert (rebuilt.messages, rebuilt.recipients) == (61, 61)


async def test_why_a_message_is_held_is_known_where_it_went(tmp_path: Path) -> None:
    async with store(tmp_path) as kept:
        held = await kept.add(500)
        why = Hold(None, "under review", NOW)
        await kept.queue.change([replace(change(recipient(held), state=State.HELD), held=why)])
        for number in range(501, 520):
            await kept.add(number, State.ACTIVE)
            await kept.deliver(queue_id(number))
        await old_and_new(kept, every=5)
        assert await kept.compaction.compact() > 0
        moved = (await kept.places())[held.id].location
        assert moved != held.location
    assert read_notes(tmp_path / "spool")[moved.segment, moved.offset] == {0: why}


async def test_what_has_moved_and_ended_does_not_come_back_by_its_old_place(tmp_path: Path) -> None:
    """Stopped in the grace that readers of the old place have."""
    async with store(tmp_path) as kept:
        old = await old_and_new(kept)
        kept.compaction = Compaction(kept.spool, kept.queue, kept.told, grace=3600.0, rate=1e12)
        before = await kept.places()
        compacting = asyncio.create_task(kept.compaction.compact())
        while await kept.places() == before:
            await asyncio.sleep(0.01)
        moved = {id: owner for id, owner in (await kept.places()).items() if owner != before[id]}
        for owner in moved.values():
            gone = replace(change(recipient(owner)), state=State.CANCELLED)
            (finished,) = await kept.queue.change([gone])
            kept.spool.release(finished.message)
        kept.compaction.close()
        await compacting
    assert check(tmp_path / "queue.sqlite", tmp_path / "spool").findings == []
    rebuilt = rebuild(tmp_path / "queue.sqlite", tmp_path / "spool", NOW)
    assert (rebuilt.messages, len(moved) > 0) == (len(old) - len(moved), True)


async def test_a_full_disk_stops_compaction_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store(tmp_path) as kept:
        await old_and_new(kept)
        before = await kept.places()
        copy = kept.spool.copy
        left = [7]

        async def failing(location: object, of: str) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise StorageFull("no room")
            return await copy(location, of)  # type: ignore[arg-type]

        monkeypatch.setattr(kept.spool, "copy", failing)
        with pytest.raises(StorageFull):
            await kept.compaction.compact()
        assert set(await kept.places()) == set(before)
        monkeypatch.undo()
        assert await kept.compaction.compact() > 0
        assert set(await kept.places()) == set(before)


async def test_a_damaged_record_stays_and_is_told_of_once(tmp_path: Path) -> None:
    async with store(tmp_path) as kept:
        old = await old_and_new(kept)
        victim = min((await kept.places()).values(), key=lambda each: each.id)
        segment = tmp_path / "spool" / f"{victim.location.segment:08d}.seg"
        with segment.open("r+b") as file:
            file.seek(victim.location.offset + victim.location.length - 9)
            file.write(b"DAMAGED")
        await kept.compaction.compact()
        await kept.compaction.compact()
        assert segment.exists()
        assert [each.operation for each in kept.told.events if isinstance(each, StorageTrouble)] == [
            "compact"
        ]
        found = {owner.id for owner, _ in await kept.queue.select(QueueFilter(), 1000)}
        assert found == old


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_day_with_one_in_a_hundred_long_lived_stays_within_three_times_its_live_octets(
    tmp_path: Path, seed: int
) -> None:
    """Scaled down by 128, the messages' number and the size of segments alike."""
    chance = random.Random(seed)
    live: dict[str, int] = {}
    async with store(tmp_path, SEGMENT_SIZE // 128) as kept:
        for start in range(0, 7_800, 100):
            numbers = range(start + 1, start + 101)
            chosen = chance.randrange(100)
            states = [State.WAITING if n - start == chosen + 1 else State.ACTIVE for n in numbers]
            added = await asyncio.gather(*map(kept.add, numbers, states))
            live[added[chosen].id] = added[chosen].location.length
            await asyncio.gather(*(kept.deliver(m.id) for m in added if m.id not in live))
            if start % 1000 == 0:
                await kept.compaction.compact()
        await kept.compaction.compact()
        assert set(await kept.places()) == set(live)
    ratio = kept.octets() / sum(live.values())
    print(f"{ratio:.2f} octets on disk for each live one")
    assert ratio <= 3
