"""Hops, claims and what a restart makes of them, in every queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from postroad.mail.lifecycle import State
from postroad.mail.message import Recipient
from postroad.ports.queue import HopDue, Queue
from tests.support.build import NOW, change, deferred, hop, message, queue_id, recipient
from tests.support.queueing import LATER, add, claim_one


async def test_hops_are_those_with_waiting_recipients_and_their_earliest_due_time(queue: Queue) -> None:
    await add(queue, 1, "a@one.example", "b@two.example", due=NOW + 5)
    await add(queue, 2, "c@one.example", due=NOW + 3, lane=2)
    owner = message(3)
    await queue.add(
        owner,
        [
            recipient("d@three.example", 0, message=owner.id, state=State.ACTIVE),
            recipient("e@four.example", 1, message=owner.id, state=State.HELD),
        ],
    )
    assert sorted(await queue.hops(), key=lambda each: each.hop.name) == [
        HopDue(hop("one.example"), NOW + 3),
        HopDue(hop("two.example"), NOW + 5),
    ]
    assert await queue.next_due(hop("one.example")) == NOW + 3
    assert await queue.next_due(hop("three.example")) is None
    assert await queue.next_due(hop("unheard.example")) is None


async def test_a_claim_counts_the_attempt_and_sets_the_pessimistic_due_time(queue: Queue) -> None:
    (row,) = await add(queue)
    (delivery,) = await queue.claim(hop(), NOW, 10, LATER)
    assert delivery.message == message()
    assert delivery.recipients == (replace(row, state=State.ACTIVE, attempts=1, due=LATER),)
    assert delivery.hop == hop()


async def test_what_is_claimed_is_not_claimed_again(queue: Queue) -> None:
    await add(queue)
    assert len(await queue.claim(hop(), NOW, 10, LATER)) == 1
    assert await queue.claim(hop(), NOW, 10, LATER) == []


async def test_what_is_not_due_or_of_another_hop_is_not_claimed(queue: Queue) -> None:
    await add(queue, 1, "a@one.example", due=NOW + 1)
    await add(queue, 2, "a@two.example")
    assert await queue.claim(hop("one.example"), NOW, 10, LATER) == []


async def test_the_lane_comes_before_the_due_time(queue: Queue) -> None:
    await add(queue, 1, lane=2, due=NOW - 9)
    await add(queue, 2, lane=1, due=NOW - 1)
    await add(queue, 3, lane=1, due=NOW - 5)
    await add(queue, 4, lane=0, due=NOW)
    claimed = await queue.claim(hop(), NOW, 3, LATER)
    assert [each.message.id for each in claimed] == [queue_id(4), queue_id(3), queue_id(2)]


async def test_recipients_of_one_message_make_one_delivery_and_the_limit_counts_recipients(
    queue: Queue,
) -> None:
    await add(queue, 1, "a@example.org", "b@example.org", "c@other.example", "d@example.org")
    (delivery,) = await queue.claim(hop(), NOW, 2, LATER)
    assert [row.n for row in delivery.recipients] == [0, 1]
    (rest,) = await queue.claim(hop(), NOW, 2, LATER)
    assert [row.n for row in rest.recipients] == [3]


async def test_claim_all_takes_what_is_not_due_and_counts_no_attempt(queue: Queue) -> None:
    (row,) = await add(queue, due=LATER)
    (delivery,) = await queue.claim_all(hop(), 10)
    assert delivery.recipients == (replace(row, state=State.ACTIVE),)


async def test_expired_recipients_are_claimed_of_every_hop(queue: Queue) -> None:
    old = message(1, expires_at=NOW)
    rows = [
        recipient("a@one.example", 0, message=old.id, due=LATER),
        recipient("b@two.example", 1, message=old.id, state=State.ACTIVE),
        recipient("c@three.example", 2, message=old.id),
    ]
    await queue.add(old, rows)
    await add(queue, 2)
    claimed = await queue.expired(NOW, 10)
    assert [each.hop.name for each in claimed] == ["one.example", "three.example"]
    assert all(row.state is State.ACTIVE for each in claimed for row in each.recipients)
    assert await queue.expired(NOW, 10) == []


async def deferred_once(queue: Queue, row: Recipient) -> None:
    await queue.record([change(row, deferred(), due=LATER)])


async def held_once(queue: Queue, row: Recipient) -> None:
    await queue.record([change(row, state=State.HELD, due=LATER)])
    await queue.change([change(row, state=State.WAITING, due=LATER)])


async def cut_off(queue: Queue, _: Recipient) -> None:
    await queue.restart(NOW, 60)


@pytest.mark.parametrize("waits", [deferred_once, held_once, cut_off])
async def test_what_was_in_its_first_attempt_expires_and_is_warned_of_once_it_waits(
    queue: Queue, waits: Callable[[Queue, Recipient], Awaitable[None]]
) -> None:
    row = recipient(state=State.ACTIVE, attempts=1)
    await queue.add(message(expires_at=NOW + 5, warn_at=NOW + 3), [row])
    await waits(queue, row)
    assert [each.message.id for each in await queue.delayed(NOW + 3, 10)] == [row.message]
    assert [each.message.id for each in await queue.expired(NOW + 5, 10)] == [row.message]


async def test_a_restart_voids_claims(queue: Queue) -> None:
    await add(queue, 1, "a@example.org", "b@other.example")
    await claim_one(queue)
    found = await queue.restart(NOW, 60)
    assert (found.messages, found.recipients, found.heard) == (1, 2, 0)
    assert (await queue.counts())["active"] == 0


async def test_of_a_process_that_nobody_knows_every_claim_is_ambiguous(queue: Queue) -> None:
    rows = await add(queue, 1, "a@example.org", "b@other.example")
    await claim_one(queue)
    assert (await queue.restart(NOW, 60)).ambiguous == {rows[0].message: (rows[0].address,)}


async def test_what_may_come_twice_can_be_asked_before_claims_are_void(queue: Queue) -> None:
    await add(queue, 1, "a@example.org", "b@other.example")
    await claim_one(queue)
    asked = [await queue.cut_off(), await queue.cut_off()]
    assert (await queue.counts())["active"] == 1
    found = await queue.restart(NOW, 60)
    assert asked == [found.ambiguous] * 2 != [{}] * 2
    assert await queue.cut_off() == {}


async def test_what_may_have_left_is_ambiguous_and_other_claims_are_merely_void(queue: Queue) -> None:
    await queue.restart(NOW, 60)
    owner = message()
    rows = [recipient(f"b{n}@example.org", n, state=State.ACTIVE, attempts=1) for n in range(5)]
    await queue.add(owner, rows)
    one, other = queue.witness(), queue.witness()
    one.about(owner.id, [0])
    one.leaves()
    one.about(owner.id, [1, 2])
    one.leaves()
    other.about(owner.id, [3])
    other.leaves()
    other.about(owner.id, [4])
    other.close()
    found = await queue.restart(NOW, 60)
    assert (found.messages, found.recipients, found.heard) == (1, 5, 0)
    assert found.ambiguous == {owner.id: tuple(row.address for row in rows[1:4])}


@pytest.mark.parametrize(
    ("attempts", "foreseen", "due", "counted"),
    [
        (0, LATER, NOW + 5, 0),
        (1, LATER, NOW + 5, 1),
        (3, LATER, NOW + 5, 3),
        (4, LATER, NOW + 65, 3),
        (9, LATER, NOW + 65, 8),
        (4, NOW + 20, NOW + 20, 3),
    ],
)
async def test_after_a_restart_three_attempts_that_were_cut_off_are_due_at_once_later_ones_soon(
    queue: Queue, attempts: int, foreseen: float, due: float, counted: int
) -> None:
    row = recipient(state=State.ACTIVE, attempts=attempts, due=foreseen)
    await queue.add(message(), [row])
    await queue.restart(NOW + 5, 60)
    found = await queue.find(row.message)
    assert found is not None
    assert found.recipients == (replace(row, state=State.WAITING, due=due, attempts=counted),)


async def test_a_message_that_kills_every_daemon_is_tried_once_in_each_wait(queue: Queue) -> None:
    await add(queue)
    tried = []
    now = NOW
    while now < NOW + 300:
        if await queue.claim(hop(), now, 1, LATER):
            tried.append(now - NOW)
        now += 10
        await queue.restart(now, 60)
    assert tried == [0, 10, 20, 30, 100, 170, 240]


async def test_a_deferred_hop_waits_without_an_attempt_being_counted(queue: Queue) -> None:
    rows = await add(queue, 1, "a@example.org", "b@other.example")
    await add(queue, 2, due=NOW + 1)
    assert await queue.defer_hop(hop(), deferred(), LATER, NOW) == 1
    found = await queue.find(queue_id(1))
    assert found is not None
    assert found.recipients == (replace(rows[0], due=LATER, last=deferred()), rows[1])
    assert await queue.next_due(hop()) == NOW + 1
