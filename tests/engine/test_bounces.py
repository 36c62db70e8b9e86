from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from postroad.mail.backoff import RetryPolicy
from postroad.mail.commands import Capabilities
from postroad.mail.events import DoubleBounce, StorageTrouble
from postroad.mail.headers import split
from postroad.mail.lifecycle import State
from postroad.mail.message import Content, Lane, Notify
from postroad.mail.outcome import Stage
from tests.support import dsn_reading
from tests.support.build import HOUR, NOW
from tests.support.dsn_reading import Read
from tests.support.engine import Engine, engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, down, greylist, refuse, say

DAY = 24 * HOUR
FOUR_FIFTY = say(Stage.RCPT, "450 4.2.0 Try again later")


def read(post: Engine, number: int = 0) -> Read:
    """A notification that arrived at the sender."""
    head, body = split(post.arrived("a@example.com")[number].content)
    return dsn_reading.read(Content(head, body, False, False))


def hosts(*rules: object) -> dict[str, Host]:
    """One that does as told, and the sender's own."""
    return {"mx.example.org": Host(rules), "mx.example.com": Host()}  # type: ignore[arg-type]


@virtual
async def test_five_days_of_450_end_in_one_warning_and_one_failure() -> None:
    async with engine(hosts(FOUR_FIFTY)) as post:
        id = await post.submit("b@example.org")
        await post.gone(within=6 * DAY)
        tries = [tried for tried in post.attempts() if tried.attempt.delivery.message.id == id]
        assert 33 <= len(tries) <= 37
        assert [notice.kind for notice in post.notices(id)] == ["delayed", "failed"]
        assert len(post.arrived("a@example.com")) == 2
        (group,) = read(post, 1).groups
        assert (group["Action"], group["Status"]) == ("failed", "4.4.7")
        assert "Try again later" in read(post, 1).text


@virtual
async def test_the_delay_is_told_of_once_after_four_hours() -> None:
    async with engine(hosts(FOUR_FIFTY)) as post:
        id = await post.submit("b@example.org", "c@example.org")
        await asyncio.sleep(4 * HOUR - 60)
        assert post.notices() == []
        await asyncio.sleep(120)
        assert [notice.kind for notice in post.notices()] == ["delayed"]
        await asyncio.sleep(2 * DAY)
        assert len(post.notices()) == 1
        assert [group["Action"] for group in read(post).groups] == ["delayed", "delayed"]
        assert {row.warned for row in post.rows(id)} == {True}
        await post.operate("delete", id)


@virtual
async def test_what_arrives_after_all_is_not_told_again() -> None:
    async with engine(hosts(say(Stage.RCPT, "450 4.2.0 Later", until=NOW + 5 * HOUR))) as post:
        id = await post.submit("b@example.org")
        await post.gone(id, within=DAY)
        assert [notice.kind for notice in post.notices()] == ["delayed"]


@virtual
async def test_one_delivered_one_greylisted_one_refused_and_the_refusal_is_told_at_once() -> None:
    rules = (refuse("no@example.org"), refuse_once("grey@example.org"))
    async with engine(hosts(*rules)) as post:
        id = await post.submit("yes@example.org", "grey@example.org", "no@example.org")
        await post.until(lambda: bool(post.arrived("a@example.com")))
        assert [row.state for row in post.rows(id)] == [State.DELIVERED, State.WAITING, State.FAILED]
        await post.gone(within=400)
        assert Counter(str(one.recipient) for one in post.arrived()) == {
            "yes@example.org": 1,
            "grey@example.org": 1,
            "a@example.com": 1,
        }
        (group,) = read(post).groups
        assert (group["Final-Recipient"], group["Status"]) == ("rfc822; no@example.org", "5.1.1")


def refuse_once(recipient: str) -> object:
    grey = greylist(300)
    return type(grey)(
        grey.stage, lambda moment: grey.decide(moment) if str(moment.recipient) == recipient else None
    )


@virtual
async def test_failures_of_one_attempt_are_told_of_together() -> None:
    async with engine(hosts(say(Stage.RCPT, "550 5.1.1 No such user"))) as post:
        await post.submit("a@example.org", "b@example.org", "c@example.org")
        await post.gone()
        assert len(post.notices()) == 1
        assert len(read(post).groups) == 3


@virtual
async def test_failures_of_two_sites_in_the_same_moment_are_one_or_two_notices_with_each_name_once() -> None:
    everyone = {
        "mx.one.example": Host(say(Stage.RCPT, "550 5.1.1 No")),
        "mx.two.example": Host(say(Stage.RCPT, "550 5.1.1 No")),
        "mx.example.com": Host(),
    }
    async with engine(everyone) as post:
        await post.submit("a@one.example", "b@two.example")
        await post.gone()
        named = [
            group["Final-Recipient"] for n in range(len(post.notices())) for group in read(post, n).groups
        ]
        assert sorted(named) == ["rfc822; a@one.example", "rfc822; b@two.example"]


@pytest.mark.parametrize(
    ("notify", "told"),
    [(None, 1), (Notify.NEVER, 0), (Notify.FAILURE, 1), (Notify.DELAY, 0), (Notify.SUCCESS, 0)],
)
def test_a_failure_is_told_to_whom_it_concerns(notify: Notify | None, told: int) -> None:
    @virtual
    async def check() -> None:
        async with engine(hosts(say(Stage.RCPT, "550 5.1.1 No"))) as post:
            await post.submit("b@example.org", notify=notify)
            await post.gone()
            assert len(post.arrived("a@example.com")) == told
            assert len(post.notices()) == told

    check()


@virtual
async def test_who_wants_no_word_of_a_delay_gets_none() -> None:
    async with engine(hosts(FOUR_FIFTY)) as post:
        id = await post.submit("b@example.org", notify=Notify.FAILURE)
        await asyncio.sleep(5 * HOUR)
        assert post.notices() == []
        await post.operate("delete", id)


@pytest.mark.parametrize(("lane", "told"), [(Lane.NORMAL, 1), (Lane.BULK, 0), (Lane.TRANSACTIONAL, 0)])
def test_only_ordinary_mail_is_warned_about(lane: Lane, told: int) -> None:
    @virtual
    async def check() -> None:
        async with engine(hosts(FOUR_FIFTY)) as post:
            id = await post.submit("b@example.org", lane=lane)
            await asyncio.sleep(5 * HOUR)
            assert len(post.notices()) == told
            await post.operate("delete", id)

    check()


@virtual
async def test_a_failed_notification_is_logged_and_nobody_is_told() -> None:
    async with engine(hosts(say(Stage.RCPT, "550 5.1.1 No"))) as post:
        id = await post.submit("b@example.org", sender="")
        await post.gone()
        (event,) = post.events.of(DoubleBounce)
        assert event.id == id
        assert "b@example.org" in event.text
        assert post.notices() == []


@virtual
async def test_a_notice_that_cannot_be_delivered_makes_no_other() -> None:
    nobody = say(Stage.RCPT, "550 5.1.1 No")
    async with engine({"mx.example.org": Host(nobody), "mx.example.com": Host(nobody)}) as post:
        await post.submit("b@example.org")
        await post.gone()
        (notice,) = post.notices()
        assert [event.id for event in post.events.of(DoubleBounce)] == [notice.dsn]


@pytest.mark.parametrize(("dsn", "told"), [(True, []), (False, ["relayed"])])
def test_success_is_told_by_us_where_the_peer_does_not(dsn: bool, told: list[str]) -> None:
    @virtual
    async def check() -> None:
        peer = Host(capabilities=Capabilities(dsn=dsn))
        async with engine({"mx.example.org": peer, "mx.example.com": Host()}) as post:
            await post.submit("b@example.org", "c@example.org", notify=Notify.SUCCESS)
            await post.gone()
            assert [notice.kind for notice in post.notices()] == told
            if told:
                assert [group["Action"] for group in read(post).groups] == ["relayed", "relayed"]

    check()


@virtual
async def test_a_message_expires_in_time_though_its_site_is_paused() -> None:
    retry = RetryPolicy(expire_after=2 * HOUR, warn_after=4 * HOUR)
    async with engine(hosts(down()), retry=retry) as post:
        start = post.clock.now()
        for n in range(10):
            await post.submit(f"b{n}@example.org")
        await post.until(lambda: len(post.arrived("a@example.com")) == 10, within=3 * HOUR)
        assert 2 * HOUR <= post.clock.now() - start <= 2 * HOUR + 60
        assert "refused" in read(post).text


@virtual
async def test_a_full_disk_delays_the_bounce_and_leaves_nothing_behind() -> None:
    async with engine(hosts(say(Stage.RCPT, "550 5.1.1 No"))) as post:
        await asyncio.sleep(1)
        await post.submit("b@example.org")
        await post.until(lambda: bool(post.attempts()))
        post.queue.full = True
        await asyncio.sleep(120)
        assert [event.operation for event in post.events.of(StorageTrouble)].count("settle") > 5
        assert len(post.spool.records) == 1
        post.queue.full = False
        await post.gone(within=60)
        assert len(post.arrived("a@example.com")) == 1


@virtual
async def test_a_full_disk_delays_the_warning_and_leaves_nothing_behind() -> None:
    async with engine(hosts(FOUR_FIFTY)) as post:
        id = await post.submit("b@example.org")
        await asyncio.sleep(4 * HOUR - 60)
        post.queue.full = True
        await asyncio.sleep(HOUR)
        assert len(post.spool.records) == 1
        post.queue.full = False
        await post.until(lambda: bool(post.arrived("a@example.com")), within=60)
        assert len(post.arrived("a@example.com")) == 1
        await post.operate("delete", id)


@virtual
async def test_a_bug_in_one_warning_stops_no_other() -> None:
    async with engine(hosts(FOUR_FIFTY)) as post:
        await post.submit("bad@example.org")
        await post.submit("b@example.org")
        await asyncio.sleep(4 * HOUR - 60)
        post.spool.poisoned.add("bad@example.org")
        await post.until(lambda: len(post.arrived("a@example.com")) == 1, within=200)
        assert [bug.where for bug in post.bugs()] == ["warning"]
        await post.operate("delete")


@virtual
async def test_a_message_that_cannot_be_read_is_returned_without_its_words() -> None:
    retry = RetryPolicy(expire_after=HOUR, warn_after=2 * HOUR)
    async with engine(hosts(), retry=retry) as post:
        await post.submit("x@example.org")
        await post.gone()
        post.spool.damaged.add("b@example.org")
        id = await post.submit("b@example.org")
        await post.gone(within=2 * HOUR)
        assert [notice.id for notice in post.notices()] == [id]
        assert len(read(post).groups) == 1
