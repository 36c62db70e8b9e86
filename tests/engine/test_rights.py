"""What an account may send, at intake: refused by rule, counted once, and whole again in time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from postroad.mail.account import AccountPolicies, AccountPolicy, Rate
from postroad.mail.events import Accepted, Refused
from postroad.mail.message import Lane
from postroad.mail.quota import Charge, hour_of
from tests.support.engine import CommittingQueue, build, engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host

ORG = {"mx.example.org": Host()}


def only(**rules: object) -> AccountPolicies:
    """The account of the tests is "user", and sends as a@example.com."""
    return AccountPolicies(tables={"user": AccountPolicy(**rules)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policies", "reply"),
    [
        (only(enabled=False), "550 5.7.13 enabled: account user is disabled"),
        (
            only(allowed_senders=("example.net",)),
            "550 5.7.1 allowed_senders: account user may send as example.net",
        ),
        (
            only(allowed_senders=()),
            "550 5.7.1 allowed_senders: account user may send notifications alone",
        ),
        (
            only(allowed_from=("b@example.com",)),
            "550 5.7.1 allowed_from: account user may write in From b@example.com",
        ),
        (only(max_message_size=10), "552 5.3.4 max_message_size: 10 octets for account user"),
        (only(max_recipients=1), "550 5.5.3 max_recipients: 1 a message for account user"),
        (
            only(max_recipients_per_day=1),
            "550 5.7.1 quota: 1 recipients a day, and this message has 2",
        ),
        (only(max_messages_per_hour=5, allowed_senders=("a@example.com",)), ""),
        (AccountPolicies(tables={"other": AccountPolicy(enabled=False)}), ""),
    ],
)
def test_a_submission_is_refused_by_the_rule_that_is_named(policies: AccountPolicies, reply: str) -> None:
    @virtual
    async def run() -> None:
        async with engine(ORG, accounts=policies) as post:
            said = await post.offer("b@example.org", "c@example.org")
            assert str(said) == reply or (said.code == 250 and not reply)
            assert len(post.events.of(Refused)) == bool(reply)

    run()


@virtual
async def test_the_null_sender_may_always_be_used_but_from_is_looked_at() -> None:
    async with engine(ORG, accounts=only(allowed_senders=("example.net",), allowed_from=("*",))) as post:
        assert (await post.offer("b@example.org", sender="")).code == 250


@virtual
async def test_a_quota_says_what_remains_and_is_whole_again_with_the_hour() -> None:
    async with engine(ORG, accounts=only(max_messages_per_hour=2, max_messages_per_day=3)) as post:
        said = [(await post.offer("b@example.org")).code for _ in range(2)]
        refused = await post.offer("b@example.org")
        assert said == [250, 250]
        assert refused.code == 450
        assert refused.text.startswith("quota: 2 messages an hour, 0 left until ")
        await asyncio.sleep(3600)
        assert (await post.offer("b@example.org")).code == 250
        day = await post.offer("b@example.org")
        assert day.text == "quota: 3 messages a day, 0 left until 00:00 UTC"


@virtual
async def test_two_at_the_same_time_do_not_share_the_last_one() -> None:
    async with engine(ORG, accounts=only(max_messages_per_hour=3)) as post:
        said = await asyncio.gather(*(post.offer("b@example.org") for _ in range(8)))
        assert sorted(reply.code for reply in said) == [250] * 3 + [450] * 5


@virtual
async def test_what_could_not_be_stored_is_not_counted() -> None:
    async with engine(ORG, accounts=only(max_messages_per_hour=1)) as post:
        post.queue.full = True
        assert (await post.offer("b@example.org")).code == 452
        post.queue.full = False
        assert (await post.offer("b@example.org")).code == 250
        assert (await post.offer("b@example.org")).code == 450


@virtual
async def test_what_was_accepted_is_counted_with_it_and_after_a_restart_too() -> None:
    queue = CommittingQueue()
    policies = only(max_recipients_per_day=3)
    async with engine(ORG, accounts=policies, queue=queue) as post:
        await post.submit("b@example.org", "c@example.org")
        hour = hour_of(post.clock.now())
    assert queue.charged == [Charge("user", hour, 2)]
    again = build(ORG, accounts=policies, queue=queue)
    again.rights.load(await queue.charges(again.rights.since()))
    async with again.running():
        assert (await again.offer("b@example.org", "c@example.org")).code == 450
        assert (await again.offer("b@example.org")).code == 250


@virtual
async def test_nothing_is_counted_where_no_quota_is_set() -> None:
    async with engine(ORG, accounts=only(max_rate=Rate(10, 1.0))) as post:
        await post.submit("b@example.org")
        assert post.queue.charged == []


@virtual
async def test_a_rate_fills_evenly() -> None:
    async with engine(ORG, accounts=only(max_rate=Rate(2, 60.0))) as post:
        codes = [(await post.offer("b@example.org")).code for _ in range(3)]
        refused = await post.offer("b@example.org")
        await asyncio.sleep(30)
        codes += [(await post.offer("b@example.org")).code for _ in range(2)]
        assert codes == [250, 250, 450, 250, 450]
        assert refused.enhanced == "4.7.1"
        assert refused.text.startswith("rate: 2 messages in 60 s, 0 left; try again in ")


@virtual
async def test_a_message_goes_in_the_lane_of_its_account() -> None:
    async with engine(ORG, accounts=only(lane=Lane.BULK)) as post:
        id = await post.submit("b@example.org", lane=Lane.TRANSACTIONAL)
        assert post.queue.messages[id].lane is Lane.BULK


@virtual
async def test_a_reload_takes_new_policies_and_keeps_what_was_counted() -> None:
    async with engine(ORG, accounts=only(max_messages_per_hour=1)) as post:
        await post.submit("b@example.org")
        post.rights.reload(only(max_messages_per_hour=2), "example.com")
        assert (await post.offer("b@example.org")).code == 250
        assert (await post.offer("b@example.org")).code == 450
        post.rights.reload(AccountPolicies(), "example.com")
        assert (await post.offer("b@example.org")).code == 250
        assert len(post.events.of(Accepted)) == 3


def test_a_charge_given_back_in_a_later_hour_leaves_that_hour_alone() -> None:
    from postroad.mail.quota import Used

    used = Used(10).plus(Charge("a", 10, 5))
    later = used.at(11)
    assert later == Used(11, 0, 0, 1, 5)
    assert later.without(Charge("a", 10, 5)) == Used(11)
    assert used.at(24 * 5) == Used(24 * 5)
    assert replace(used, hour=10) == used
