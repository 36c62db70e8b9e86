"""Slots of all sites together: bounded, in order, and not held by who has nothing to do."""

from __future__ import annotations

import asyncio

from postroad.engine.slots import Slots


async def take(slots: Slots, log: list[str], name: str, leave: asyncio.Event) -> None:
    async with slots:
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
    async with slots, slots:
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
    async with slots:
        wanting = asyncio.ensure_future(take(slots, [], "x", asyncio.Event()))
        await settle()
        idle = loop.create_future()
        slots.idles(idle)
        assert idle.cancelled()
        wanting.cancel()
        await settle()


async def test_who_works_again_is_not_sent_away() -> None:
    slots, loop = Slots(1), asyncio.get_running_loop()
    async with slots:
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
    async with slots:
        impatient = asyncio.ensure_future(take(slots, log, "x", leave))
        await settle()
        impatient.cancel()
        await settle()
    leave.set()
    await take(slots, log, "y", leave)
    assert log == ["y", "y left"]
