"""Slots of all sites together: bounded, in order, and not held by who has nothing to do."""

from __future__ import annotations

import asyncio

import pytest

from postroad.engine.slots import Slots
from postroad.mail.message import Lane


async def take(
    slots: Slots, log: list[str], name: str, leave: asyncio.Event, lane: Lane = Lane.NORMAL
) -> None:
    async with slots.one(lane):
        log.append(name)
        await leave.wait()
        log.append(f"{name} left")


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_than_the_bound_are_in_and_the_others_follow_in_order() -> None:
    slots, log, leave = Slots(1), list[str](), [asyncio.Event() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        for name, event in zip("abc", leave, strict=True):
            group.create_task(take(slots, log, name, event))
        await settle()
        assert log == ["a"]
        leave[0].set()
        await settle()
        assert log == ["a", "a left", "b"]
        leave[1].set()
        leave[2].set()
    assert log == ["a", "a left", "b", "b left", "c", "c left"]


async def test_who_idles_longest_is_sent_away_when_a_slot_is_wanted() -> None:
    slots, loop = Slots(2), asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    async with slots.one(Lane.NORMAL), slots.one(Lane.NORMAL):
        slots.idles(first)
        slots.idles(second)
        wanting = asyncio.ensure_future(take(slots, [], "x", asyncio.Event()))
        await settle()
        assert first.cancelled()
        assert not second.done()
        wanting.cancel()
        await settle()


async def test_who_begins_to_idle_while_a_slot_is_wanted_is_sent_away_at_once() -> None:
    slots, loop = Slots(1), asyncio.get_running_loop()
    async with slots.one(Lane.NORMAL):
        wanting = asyncio.ensure_future(take(slots, [], "x", asyncio.Event()))
        await settle()
        idle = loop.create_future()
        slots.idles(idle)
        assert idle.cancelled()
        wanting.cancel()
        await settle()


async def test_who_works_again_is_not_sent_away() -> None:
    slots, loop = Slots(1), asyncio.get_running_loop()
    async with slots.one(Lane.NORMAL):
        busy = loop.create_future()
        slots.idles(busy)
        slots.works(busy)
        wanting = asyncio.ensure_future(take(slots, [], "x", asyncio.Event()))
        await settle()
        assert not busy.done()
        wanting.cancel()
        await settle()


async def test_one_who_gives_up_waiting_loses_no_slot() -> None:
    slots, log, leave = Slots(1), list[str](), asyncio.Event()
    async with slots.one(Lane.NORMAL):
        impatient = asyncio.ensure_future(take(slots, log, "x", leave))
        await settle()
        impatient.cancel()
        await settle()
    leave.set()
    await take(slots, log, "y", leave)
    assert log == ["y", "y left"]


async def test_who_has_urgent_mail_goes_first() -> None:
    slots, log, leave = Slots(1), list[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        async with slots.one(Lane.NORMAL):
            for lane in reversed(Lane):
                group.create_task(take(slots, log, lane.name, leave, lane))
            await settle()
        leave.set()
    assert [name for name in log if "left" not in name] == ["TRANSACTIONAL", "NORMAL", "BULK"]


@pytest.mark.parametrize(("most", "bulk"), [(1, 1), (5, 4), (10, 8)])
async def test_bulk_mail_never_has_the_last_fifth(most: int, bulk: int) -> None:
    slots, log, leave = Slots(most), list[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(most + 5):
            group.create_task(take(slots, log, "bulk", leave, Lane.BULK))
        await settle()
        assert len(log) == bulk
        assert slots.full is (most == bulk)
        for _ in range(most + 5):
            group.create_task(take(slots, log, "other", leave))
        await settle()
        assert len(log) == most
        leave.set()
    assert log.count("bulk") == log.count("other") == most + 5
    assert not slots.full
