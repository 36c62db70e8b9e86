"""What every queue does: the one in memory that tests use, and the index."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postroad.mail.address import Address
from postroad.mail.lifecycle import State
from postroad.mail.message import Body, Handling, Hold, Lane, Location, Message, Notify, Ret
from postroad.mail.outcome import Reason
from postroad.mail.routing import Hop
from postroad.ports.queue import Finished, Queue, QueueFilter
from tests.support.build import (
    NOW,
    change,
    deferred,
    delivered,
    failed,
    hop,
    message,
    queue_id,
    recipient,
)
from tests.support.queueing import add, claim_one

# --- what goes in comes out ------------------------------------------------------


async def test_a_message_with_every_field_set_comes_back_as_it_was(queue: Queue) -> None:
    whole = replace(
        message(7),
        account="täst",
        lane=Lane.BULK,
        received_at=NOW + 0.123456789,
        location=Location(2**40, 2**41, 2**31),
        dotted=True,
        body=Body.BINARY,
        smtputf8=True,
        ret=Ret.HDRS,
        envid="QQ+2B314159",
        handling=Handling(requiretls=True, priority=-4, hold_until=NOW + 1.25),
    )
    row = replace(
        recipient(whole),
        address=Address("grün zeug", "[IPv6:2001:db8::1]"),
        hop=Hop("smarthost", "relay.example:2525", requiretls=True),
        state=State.HELD,
        attempts=3,
        notify=Notify.SUCCESS | Notify.DELAY,
        orcpt="rfc822;b+2Bc@example.org",
        first_greylisted=NOW - 0.25,
        hints_used=2,
        warned=True,
        last=deferred(),
        last_attempt_at=NOW - 1 / 3,
        told=True,
        held=Hold("scan", "looks ödd", NOW - 0.5),
    )
    await queue.add(whole, [row])
    assert await queue.find(whole.id) == Finished(whole, (row,))


async def test_the_null_sender_and_absent_parameters_come_back_as_none(queue: Queue) -> None:
    bare = message(sender=None, warn_at=None)
    row = recipient(bare, notify=None)
    await queue.add(bare, [row])
    assert await queue.find(bare.id) == Finished(bare, (row,))


async def test_notify_never_is_not_an_absent_notify(queue: Queue) -> None:
    await queue.add(message(), [recipient(notify=Notify.NEVER)])
    found = await queue.find(queue_id(1))
    assert found is not None
    assert found.recipients[0].notify == Notify.NEVER


async def test_an_id_is_queued_once(queue: Queue) -> None:
    await add(queue, 1)
    with pytest.raises(ValueError):
        await add(queue, 1)


@pytest.mark.parametrize("id", [queue_id(9), "nonsense", ""])
async def test_nothing_is_found_under_an_unknown_id(queue: Queue, id: str) -> None:
    await add(queue, 1)
    assert await queue.find(id) is None


# --- outcomes ----------------------------------------------------------------------


async def test_a_deferral_is_stored_whole_and_the_recipient_waits_again(queue: Queue) -> None:
    await add(queue)
    row = await claim_one(queue)
    deferral = change(row, deferred(), first_greylisted=NOW, hints_used=1, due=NOW + 300)
    assert await queue.record([deferral]) == []
    found = await queue.find(row.message)
    assert found is not None
    assert found.recipients == (
        replace(
            row,
            state=State.WAITING,
            due=NOW + 300,
            last=deferred(),
            last_attempt_at=NOW,
            first_greylisted=NOW,
            hints_used=1,
        ),
    )
    assert await queue.next_due(hop()) == NOW + 300


async def test_the_last_delivery_removes_the_message_in_the_same_step(queue: Queue) -> None:
    await add(queue, 1, "a@example.org", "b@other.example")
    first, second = await claim_one(queue), await claim_one(queue, "other.example")
    assert await queue.record([change(first, delivered())]) == []
    assert await queue.record([change(second, delivered())]) == [Finished(message(), ())]
    assert await queue.find(first.message) is None
    assert (await queue.counts())["messages"] == 0


async def test_a_failure_keeps_the_message_until_it_is_settled(queue: Queue) -> None:
    await add(queue, 1, "a@example.org", "b@other.example")
    first, second = await claim_one(queue), await claim_one(queue, "other.example")
    await queue.record([change(first, failed())])
    (finished,) = await queue.record([change(second, delivered())])
    assert finished.message == message()
    assert [row.state for row in finished.recipients] == [State.FAILED, State.DELIVERED]
    assert finished.recipients[0].last == failed()
    assert await queue.unsettled(10) == [finished]


async def test_a_wish_for_success_dsn_keeps_the_message_until_it_is_settled(queue: Queue) -> None:
    await queue.add(message(), [recipient(notify=Notify.SUCCESS)])
    row = await claim_one(queue)
    (finished,) = await queue.record([change(row, delivered())])
    assert [each.state for each in finished.recipients] == [State.DELIVERED]


async def test_a_message_finished_by_two_records_at_once_is_told_of_once(queue: Queue) -> None:
    await add(queue, 1, "a@example.org", "b@other.example")
    first, second = await claim_one(queue), await claim_one(queue, "other.example")
    answers = [queue.record([change(first, failed())]), queue.record([change(second, failed())])]
    told = [finished for answer in answers for finished in await answer]
    assert [len(each.recipients) for each in told] == [2]


async def test_only_a_claimed_recipient_can_be_recorded(queue: Queue) -> None:
    (row,) = await add(queue)
    assert await queue.record([change(row, delivered())]) == []
    claimed = await claim_one(queue)
    (finished,) = await queue.record([change(claimed, failed())])
    assert await queue.record([change(claimed, delivered())]) == []
    assert await queue.unsettled(10) == [finished]


async def test_what_was_not_tried_waits_again_with_its_history_untouched(queue: Queue) -> None:
    await queue.add(message(), [recipient(last=deferred(), last_attempt_at=NOW - 5, hints_used=1)])
    row = await claim_one(queue)
    await queue.record([change(row, state=State.WAITING, due=NOW, attempts=0)])
    found = await queue.find(row.message)
    assert found is not None
    assert found.recipients == (replace(row, state=State.WAITING, due=NOW, attempts=0),)


# --- settling and warning ------------------------------------------------------------


async def failed_message(queue: Queue, number: int = 1) -> Message:
    await add(queue, number)
    row = await claim_one(queue)
    (finished,) = await queue.record([change(row, failed())])
    return finished.message


async def test_settling_removes_the_message_and_adds_its_dsn(queue: Queue) -> None:
    settled = await failed_message(queue)
    dsn = message(2, sender=None)
    assert await queue.settle(settled.id, [0], [(dsn, [recipient(dsn)])])
    assert await queue.find(settled.id) is None
    assert await queue.find(dsn.id) == Finished(dsn, (recipient(dsn),))
    assert await queue.unsettled(10) == []


async def test_settling_twice_sends_one_dsn(queue: Queue) -> None:
    settled = await failed_message(queue)
    for number in (2, 3):
        dsn = message(number, sender=None)
        removed = await queue.settle(settled.id, [0], [(dsn, [recipient(dsn)])])
        assert removed is (number == 2)
    assert (await queue.counts())["messages"] == 1
    assert await queue.find(queue_id(3)) is None


async def test_a_dsn_that_cannot_be_added_leaves_its_message_unsettled(queue: Queue) -> None:
    settled = await failed_message(queue)
    taken = message(2)
    await queue.add(taken, [recipient(taken)])
    with pytest.raises(ValueError):
        await queue.settle(settled.id, [0], [(taken, [recipient(taken)])])
    (unsettled,) = await queue.unsettled(10)
    assert unsettled.message == settled
    assert not unsettled.recipients[0].told


async def test_a_failure_is_told_of_while_others_wait_and_the_message_stays(queue: Queue) -> None:
    await add(queue, 1, "a@example.org", "b@other.example")
    row = await claim_one(queue)
    (news,) = await queue.record([change(row, failed())])
    assert [each.state for each in news.recipients] == [State.FAILED, State.WAITING]
    dsn = message(2, sender=None)
    assert not await queue.settle(row.message, [0], [(dsn, [recipient(dsn)])])
    found = await queue.find(row.message)
    assert found is not None
    assert [each.told for each in found.recipients] == [True, False]
    other = await claim_one(queue, "other.example")
    assert await queue.record([change(other, delivered())]) == [Finished(message(), ())]


async def test_news_wait_for_the_recipients_in_an_attempt(queue: Queue) -> None:
    await add(queue, 1, "a@example.org", "b@other.example")
    first, second = await claim_one(queue), await claim_one(queue, "other.example")
    assert await queue.record([change(first, failed())]) == []
    (news,) = await queue.record([change(second, deferred())])
    assert [each.state for each in news.recipients] == [State.FAILED, State.WAITING]


async def test_a_message_with_open_recipients_is_not_removed_by_settling(queue: Queue) -> None:
    (row,) = await add(queue)
    assert not await queue.settle(row.message, [], [])
    assert await queue.find(row.message) is not None


async def test_delayed_messages_are_named_with_their_open_recipients_until_warned(queue: Queue) -> None:
    late = message(1, warn_at=NOW)
    rows = [recipient("a@one.example", 0), recipient("b@two.example", 1, state=State.HELD)]
    await queue.add(late, rows)
    await queue.add(message(2, warn_at=NOW + 1), [recipient(message=queue_id(2))])
    await queue.add(message(3, warn_at=None), [recipient(message=queue_id(3))])
    assert await queue.delayed(NOW, 10) == [Finished(late, tuple(rows))]
    dsn = message(4, sender=None, warn_at=None)
    await queue.warned(late.id, [(dsn, [recipient(dsn)])])
    assert await queue.delayed(NOW, 10) == []
    found = await queue.find(late.id)
    assert found is not None
    assert found.message.warn_at is None
    assert all(row.warned for row in found.recipients)
    assert await queue.find(dsn.id) is not None


async def test_a_second_warning_is_not_sent(queue: Queue) -> None:
    await queue.add(message(1, warn_at=NOW), [recipient()])
    for number in (2, 3):
        dsn = message(number, sender=None)
        await queue.warned(queue_id(1), [(dsn, [recipient(dsn)])])
    assert await queue.find(queue_id(3)) is None


# --- operators -----------------------------------------------------------------------


async def test_an_operators_change_leaves_active_recipients_alone(queue: Queue) -> None:
    await add(queue, 1, "a@example.org", "b@other.example")
    active = await claim_one(queue)
    found = await queue.find(active.message)
    assert found is not None
    held = [change(row, state=State.HELD) for row in found.recipients]
    assert await queue.change(held) == []
    after = await queue.find(active.message)
    assert after is not None
    assert [row.state for row in after.recipients] == [State.ACTIVE, State.HELD]


async def test_why_an_operator_holds_one_is_kept_until_it_is_released(queue: Queue) -> None:
    await add(queue, 1, "a@example.org", "b@example.org")
    found = await queue.find(queue_id(1))
    assert found is not None
    first = found.recipients[0]
    why = Hold(None, "under review", NOW)
    await queue.change([replace(change(first, state=State.HELD), held=why)])
    after = await queue.find(queue_id(1))
    assert after is not None
    assert [(row.state, row.held) for row in after.recipients] == [(State.HELD, why), (State.WAITING, None)]
    await queue.change([change(first, state=State.WAITING)])
    released = await queue.find(queue_id(1))
    assert released is not None
    assert [(row.state, row.held) for row in released.recipients] == [(State.WAITING, None)] * 2


async def test_cancelling_every_recipient_removes_the_message(queue: Queue) -> None:
    rows = await add(queue, 1, "a@example.org", "b@other.example")
    cancelled = failed(reason=Reason.CANCELLED)
    answer = await queue.change([change(row, cancelled, state=State.CANCELLED) for row in rows])
    assert answer == [Finished(message(), ())]
    assert await queue.find(queue_id(1)) is None


async def test_counts_are_of_open_recipients_and_of_messages(queue: Queue) -> None:
    await add(queue, 1, "a@example.org", "b@other.example")
    await queue.add(message(2), [recipient(message=queue_id(2), state=State.HELD)])
    await claim_one(queue)
    assert await queue.counts() == {"waiting": 1, "active": 1, "held": 1, "messages": 2}


SELECTIONS: list[tuple[QueueFilter, list[tuple[int, int]]]] = [
    (QueueFilter(), [(1, 0), (1, 1), (2, 0), (3, 0)]),
    (QueueFilter(ids=(queue_id(3), queue_id(1))), [(1, 0), (1, 1), (3, 0)]),
    (QueueFilter(ids=(queue_id(3).lower(), "unknown")), [(3, 0)]),
    (QueueFilter(to="A@one.example"), [(1, 0)]),
    (QueueFilter(to="not an address"), []),
    (QueueFilter(domain="Two.example"), [(1, 1), (2, 0)]),
    (QueueFilter(sender="A@EXAMPLE.com"), [(1, 0), (1, 1), (2, 0)]),
    (QueueFilter(sender="<>"), [(3, 0)]),
    (QueueFilter(state="held"), [(2, 0)]),
    (QueueFilter(state="delivered"), []),
    (QueueFilter(older_than=NOW), [(1, 0), (1, 1)]),
    (QueueFilter(domain="two.example", state="waiting"), [(1, 1)]),
    (QueueFilter(sites=("two.example",)), [(1, 1), (2, 0)]),
    (QueueFilter(sites=("mx:one.example", "three.example")), [(1, 0), (3, 0)]),
    (QueueFilter(sites=("mx",), state="held"), [(2, 0)]),
]


@pytest.mark.parametrize(("filter", "expected"), SELECTIONS)
async def test_a_filter_selects_open_recipients(
    queue: Queue, filter: QueueFilter, expected: list[tuple[int, int]]
) -> None:
    await queue.add(
        message(1, received_at=NOW - 1),
        [recipient("a@one.example", 0), recipient("b@two.example", 1)],
    )
    await queue.add(message(2), [recipient("c@two.example", message=queue_id(2), state=State.HELD)])
    await queue.add(
        message(3, sender=None),
        [
            recipient("d@three.example", 0, message=queue_id(3)),
            recipient("e@three.example", 1, message=queue_id(3), state=State.FAILED),
        ],
    )
    wanted = [(queue_id(number), n) for number, n in expected]
    assert [(row.message, row.n) for _, row in await queue.select(filter, 10)] == wanted


async def test_pages_follow_each_other_without_gap_or_repeat(queue: Queue) -> None:
    for number in (1, 2, 3):
        await add(queue, number, "a@one.example", "b@two.example")
    seen: list[tuple[str, int]] = []
    while page := await queue.select(QueueFilter(), 4, seen[-1] if seen else None):
        assert all(owner.id == row.message for owner, row in page)
        seen += [(row.message, row.n) for _, row in page]
    assert seen == [(queue_id(number), n) for number in (1, 2, 3) for n in (0, 1)]


async def test_pages_of_one_domain_follow_each_other_whatever_the_states(queue: Queue) -> None:
    states = (State.HELD, State.ACTIVE, State.WAITING, State.FAILED, State.ACTIVE, State.HELD)
    for number, state in enumerate(states, start=1):
        owner = message(number)
        at_one = recipient("a@one.example", 0, message=owner.id, state=state)
        await queue.add(owner, [at_one, recipient("b@two.example", 1, message=owner.id)])
    seen: list[tuple[str, int]] = []
    while page := await queue.select(QueueFilter(domain="one.example"), 2, seen[-1] if seen else None):
        seen += [(row.message, row.n) for _, row in page]
    assert seen == [(queue_id(number), 0) for number in (1, 2, 3, 5, 6)]
