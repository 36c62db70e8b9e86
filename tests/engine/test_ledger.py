from __future__ import annotations

import asyncio

import pytest

from postroad.mail.backoff import RetryPolicy
from postroad.mail.events import StorageTrouble, Tried
from postroad.mail.lifecycle import State
from postroad.mail.outcome import Kind, Stage
from postroad.ports.storage import StorageBroken
from tests.support.build import HOUR, NOW
from tests.support.engine import build, engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, greylist, say, slow

ORG = {"mx.example.org": Host(slow(Stage.DOT, 2))}


@virtual
async def test_a_hint_in_the_reply_says_when_to_come_back() -> None:
    text = "450 4.7.1 Greylisted, try again in 00:30:00"
    async with engine({"mx.example.org": Host(greylist(1800, text))}) as post:
        start = post.clock.now()
        await post.submit("b@example.org")
        await post.gone(within=1815)
        assert post.clock.now() - start >= 1800
        assert len(post.transport.established) == 2


@virtual
async def test_a_greylister_of_five_minutes_costs_two_sessions_and_ten_seconds_more() -> None:
    async with engine({"mx.example.org": Host(greylist(300))}) as post:
        start = post.clock.now()
        await post.submit("b@example.org")
        await post.gone(within=310)
        assert post.clock.now() - start >= 300
        assert len(post.transport.established) == 2


@virtual
async def test_the_log_says_when_the_next_try_is() -> None:
    async with engine({"mx.example.org": Host(greylist(300))}) as post:
        id = await post.submit("b@example.org")
        await post.until(lambda: bool(post.attempts()))
        (tried,) = post.events.of(Tried)
        assert tried.next_due == (post.rows(id)[0].due,)
        await post.gone(within=310)
        assert post.events.of(Tried)[1].next_due == (None,)


@virtual
async def test_the_last_attempt_is_told_as_the_end_that_it_is() -> None:
    retry = RetryPolicy(expire_after=HOUR, warn_after=2 * HOUR)
    async with engine({"mx.example.org": Host(say(Stage.RCPT, "450 4.2.0 Later"))}, retry=retry) as post:
        await post.submit("b@example.org", sender="")
        await post.gone(within=2 * HOUR)
        *before, last = post.events.of(Tried)
        assert {tried.attempt.outcomes[0].kind for tried in before} == {Kind.DEFERRED}
        assert (last.attempt.outcomes[0].kind, last.next_due) == (Kind.FAILED, (None,))
        assert last.attempt.outcomes[0].text.startswith("delivery time expired after 1 h; last: host mx")


@virtual
async def test_outcomes_that_a_full_disk_refuses_are_offered_until_it_takes_them() -> None:
    async with engine(ORG) as post:
        await asyncio.sleep(1)
        ids = [await post.submit(f"b{n}@example.org") for n in range(4)]
        await asyncio.sleep(1)
        post.queue.full = True
        await asyncio.sleep(100)
        # They arrived; the queue cannot say so yet.
        assert len(post.arrived()) == 4
        assert len(post.queue.messages) == 4
        assert "record" in [event.operation for event in post.events.of(StorageTrouble)]
        post.queue.full = False
        await post.gone(*ids)
        assert len(post.arrived()) == 4


@virtual
async def test_a_last_offer_is_made_when_the_daemon_stops() -> None:
    post = build(ORG)
    async with post.running():
        await asyncio.sleep(1)
        await post.submit("b@example.org")
        await asyncio.sleep(1.5)
        post.queue.full = True
        await post.until(lambda: bool(post.arrived()))
        await asyncio.sleep(0.1)
        post.queue.full = False
    assert post.queue.messages == {}


@virtual
async def test_a_disk_that_stays_full_does_not_keep_the_daemon_from_stopping() -> None:
    post = build(ORG)
    async with post.running():
        await asyncio.sleep(1)
        id = await post.submit("b@example.org")
        await asyncio.sleep(1.5)
        post.queue.full = True
        await asyncio.sleep(10)
        stopped_at = post.clock.now()
    assert post.clock.now() - stopped_at < 5
    assert post.rows(id)[0].state is State.ACTIVE


@virtual
async def test_broken_storage_ends_everything() -> None:
    post = build(ORG)

    async def run() -> None:
        async with post.running():
            await post.submit("b@example.org")
            await asyncio.sleep(1)
            post.queue.broken = True
            await asyncio.sleep(3600)

    with pytest.raises(BaseExceptionGroup) as caught:
        await run()
    assert caught.value.subgroup(StorageBroken) is not None
    assert post.clock.now() < NOW + 60


@virtual
async def test_recipients_put_back_are_as_if_they_had_not_been_claimed() -> None:
    post = build({"mx.example.org": Host(say(Stage.RCPT, "450 4.2.0 Later"))})
    async with post.running():
        id = await post.submit("b@example.org")
        await post.until(lambda: len(post.attempts()) == 2, within=1000)
        (before,) = post.rows(id)
        (delivery,) = await post.queue.claim(before.hop, before.due, 1, before.due + 300)
        assert delivery.recipients[0].attempts == 3
        post.ledger.put_back([delivery], before.due)
        await asyncio.sleep(1)
        assert post.rows(id) == [before]
