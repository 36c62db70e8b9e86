from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from postroad.engine.recovery import recover
from postroad.mail.events import Ambiguous, Recovered
from postroad.mail.lifecycle import State
from postroad.mail.message import Recipient
from postroad.mail.outcome import Kind, Stage
from postroad.ports.spool import Record
from tests.support.build import NOW, content, failed, message, recipient
from tests.support.engine import Engine, build
from tests.support.loop import virtual
from tests.support.scripted_network import Host, slow

HOSTS = {"mx.example.org": Host(), "mx.example.com": Host()}


async def left_behind(post: Engine, *rows: Recipient, number: int = 1) -> str:
    """A message as a crash left it."""
    octets = content()
    owner = message(number)
    location = await post.spool.append(Record(owner, rows, octets))
    await post.queue.add(replace(owner, location=location), rows)
    return owner.id


@virtual
async def test_claims_are_void_and_counted_as_ambiguous() -> None:
    post = build(HOSTS)
    one = await left_behind(post, recipient(state=State.ACTIVE, attempts=1, due=NOW + 300))
    async with post.running():
        await post.gone(one, within=2)
    (event,) = post.events.of(Recovered)
    assert (event.messages, event.recipients, event.ambiguous, event.unsettled) == (1, 1, 1, 0)
    assert len(post.arrived("b@example.org")) == 1


@virtual
async def test_who_may_get_it_twice_is_told_while_the_next_start_still_knows_it() -> None:
    """Killed in between, that start names them again."""
    post = build(HOSTS)
    one = await left_behind(post, recipient(state=State.ACTIVE, attempts=1, due=NOW + 300))

    async def killed() -> None:
        raise KeyboardInterrupt

    for times in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            await recover(post.queue, post.bounces, post.clock, post.events, 60.0, killed)
        assert [(event.id, event.to) for event in post.events.of(Ambiguous)] == [
            (one, ("b@example.org",))
        ] * times
    assert [row.state for row in post.rows(one)] == [State.ACTIVE]


@virtual
async def test_what_was_finished_and_not_settled_is_settled_once() -> None:
    post = build(HOSTS)
    rows = [
        recipient(f"b{n}@example.org", n=n, state=State.FAILED, attempts=1, last=failed()) for n in (0, 1)
    ]
    id = await left_behind(post, *rows)
    async with post.running():
        await post.gone(within=10)
    assert [event.unsettled for event in post.events.of(Recovered)] == [1]
    assert [notice.id for notice in post.notices()] == [id]
    assert len(post.arrived("a@example.com")) == 1


@virtual
async def test_news_of_a_message_that_goes_on_is_told_and_the_message_goes_on() -> None:
    post = build(HOSTS)
    await left_behind(
        post,
        recipient("b@example.org", n=0, state=State.FAILED, attempts=1, last=failed()),
        recipient("c@example.org", n=1, due=NOW + 100, attempts=1),
    )
    async with post.running():
        await post.until(lambda: bool(post.arrived("a@example.com")))
        assert post.arrived("c@example.org") == []
        await post.gone(within=200)
    assert len(post.notices()) == 1
    assert len(post.arrived("c@example.org")) == 1


@virtual
async def test_a_message_that_cannot_be_settled_keeps_nobody_from_starting() -> None:
    post = build(HOSTS)
    post.spool.poisoned.add("bad@example.org")
    bad = recipient("bad@example.org", state=State.FAILED, attempts=1, last=failed())
    await left_behind(post, bad, number=1)
    well = message(2)
    await left_behind(post, recipient(well, state=State.FAILED, attempts=1, last=failed()), number=2)
    async with post.running():
        assert [bug.where for bug in post.bugs()] == ["bounce", "bounce"]
        await post.until(lambda: len(post.arrived("a@example.com")) == 1)
        post.spool.poisoned.clear()
    assert post.rows(message(1).id) == [bad]
    again = build(HOSTS, queue=post.queue, spool=post.spool)
    async with again.running():
        await again.gone(within=10)
    assert len(again.arrived("a@example.com")) == 1


@virtual
async def test_more_than_a_slice_is_settled_before_anything_moves() -> None:
    post = build(HOSTS)
    for n in range(250):
        row = recipient(message(n), state=State.FAILED, attempts=1, last=failed())
        await left_behind(post, row, number=n)
    async with post.running():
        assert post.events.of(Recovered)[0].unsettled == 250
        await post.gone(within=60)
    assert len(post.arrived("a@example.com")) == 250


@virtual
async def test_a_crash_loses_nothing_and_repeats_no_more_than_it_counted() -> None:
    hosts = {f"mx.site{n}.example": Host(slow(Stage.DOT, 0.7)) for n in range(4)}
    post = build(hosts)

    async def until_killed() -> None:
        async with post.running():
            for n in range(200):
                await post.submit(f"b{n}@site{n % 4}.example")
            await asyncio.sleep(3600)

    running = asyncio.create_task(until_killed())
    await asyncio.sleep(3.3)
    running.cancel()
    await asyncio.wait((running,))
    before = Counter(str(one.recipient) for one in post.arrived())
    assert 0 < len(before) < 200
    again = build(hosts, queue=post.queue, spool=post.spool)
    async with again.running():
        await again.gone(within=600)
    after = Counter(str(one.recipient) for one in again.arrived())
    assert set(before) | set(after) == {f"b{n}@site{n % 4}.example" for n in range(200)}
    twice = [to for to, times in (before + after).items() if times > 1]
    assert len(twice) <= again.events.of(Recovered)[0].ambiguous


@virtual
async def test_an_empty_queue_is_nothing_to_tell() -> None:
    post = build(HOSTS)
    async with post.running():
        await asyncio.sleep(1)
    assert post.events.of(Recovered) == []
    assert post.attempts(Kind.DELIVERED) == []
