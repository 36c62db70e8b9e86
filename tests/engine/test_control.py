from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from postroad.mail.events import Operated
from postroad.mail.lifecycle import State
from postroad.mail.message import Hold
from postroad.mail.outcome import Stage
from postroad.ports.control import ImpossibleOperation
from postroad.ports.queue import QueueFilter
from tests.support.build import HOUR
from tests.support.engine import engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, down, greylist, slow

HOSTS = {"mx.example.org": Host(greylist(300)), "mx.example.com": Host()}


@virtual
async def test_retry_tries_now_whatever_the_schedule_says() -> None:
    async with engine(HOSTS) as post:
        id = await post.submit("b@example.org", sender="retry@example.com")
        await post.until(lambda: len(post.attempts()) == 1)
        assert await post.operate("retry", id) == [(id, "b@example.org")]
        await post.until(lambda: len(post.attempts()) == 2)
        await post.operate("delete", id)


@pytest.mark.parametrize("ttl", [60.0, 86400.0], ids=["plan forgotten", "plan at hand"])
def test_retry_probes_a_paused_site_at_once(ttl: float) -> None:
    @virtual
    async def check() -> None:
        async with engine({"mx.example.org": Host(down())}, ttl=ttl) as post:
            id = await post.submit("b@example.org")
            await asyncio.sleep(2 * HOUR)
            ((_, until, _),) = post.sites.paused()
            assert until - post.clock.now() > 60
            post.transport.hosts["mx.example.org"] = Host()
            await post.operate("retry", id)
            await post.gone(id, within=1)

    check()


@virtual
async def test_retry_asks_again_for_a_name_that_was_not_found() -> None:
    async with engine(HOSTS) as post:
        post.resolver.failing.add("example.com")
        id = await post.submit("b@example.com")
        await asyncio.sleep(HOUR)
        post.resolver.failing.clear()
        await post.operate("retry", id)
        await post.gone(id, within=1)


@virtual
async def test_what_is_held_waits_until_it_is_released() -> None:
    async with engine(HOSTS) as post:
        id = await post.submit("b@example.org", sender="hold@example.com")
        await post.until(lambda: len(post.attempts()) == 1)
        assert await post.operate("hold", id) == [(id, "b@example.org")]
        await asyncio.sleep(24 * HOUR)
        (row,) = post.rows(id)
        assert (row.state, row.attempts) == (State.HELD, 1)
        assert await post.operate("retry", id) == []
        assert await post.operate("hold", id) == []
        assert await post.operate("release", id) == [(id, "b@example.org")]
        await post.gone(id, within=1)
        assert len(post.arrived("b@example.org")) == 1


@virtual
async def test_why_something_is_held_is_kept_in_the_index_and_beside_the_record() -> None:
    async with engine(HOSTS) as post:
        id = await post.submit("b@example.org", sender="hold@example.com")
        await post.until(lambda: len(post.attempts()) == 1)
        await post.operate("hold", id, reason="under review")
        (row,) = post.rows(id)
        assert row.held is not None
        assert replace(row.held, at=None) == Hold(None, "under review")
        assert post.spool.held == {id: {0: row.held}}
        assert [event.reason for event in post.events.of(Operated)] == ["under review"]
        await post.operate("release", id, reason="of no meaning")
        assert post.rows(id)[0].held is None
        assert post.spool.held == {id: {0: None}}
        await post.until(lambda: len(post.attempts()) == 2)
        await post.operate("delete", id)


@virtual
async def test_who_was_dropped_of_a_message_that_goes_on_is_marked_as_done() -> None:
    async with engine(HOSTS) as post:
        id = await post.submit("b@example.org", "c@example.org", sender="delete@example.com")
        await post.until(lambda: len(post.attempts()) == 1)
        await post.control.operate("delete", QueueFilter(to="c@example.org"), 0)
        assert post.spool.finished == {id: {1}}


@virtual
async def test_what_is_deleted_is_gone_without_a_word() -> None:
    async with engine(HOSTS) as post:
        id = await post.submit("b@example.org", "c@example.org", sender="delete@example.com")
        await post.until(lambda: len(post.attempts()) == 1)
        assert len(await post.operate("delete", id)) == 2
        assert post.removed() == [id]
        assert post.spool.records == {}
        await asyncio.sleep(HOUR)
        assert post.arrived() == []
        assert post.notices() == []


@virtual
async def test_what_is_bounced_goes_back_to_its_sender() -> None:
    async with engine(HOSTS) as post:
        id = await post.submit("b@example.org", sender="bounce@example.com")
        await post.until(lambda: len(post.attempts()) == 1)
        await post.operate("bounce", id)
        await post.gone(within=5)
        (notice,) = post.arrived("bounce@example.com")
        assert b"returned by the operator" in notice.content


@pytest.mark.parametrize("verb", ["retry", "hold", "release", "delete", "bounce"])
def test_a_recipient_in_an_attempt_is_left_alone(verb: str) -> None:
    @virtual
    async def check() -> None:
        async with engine({"mx.example.org": Host(slow(Stage.DOT, 30))}) as post:
            id = await post.submit("b@example.org")
            await asyncio.sleep(10)
            (before,) = post.rows(id)
            assert before.state is State.ACTIVE
            assert await post.operate(verb, id) == []
            assert post.rows(id) == [before]
            await post.gone(within=60)
            assert len(post.arrived()) == 1
            assert post.notices() == []

    check()


@virtual
async def test_an_unknown_verb_is_refused() -> None:
    async with engine(HOSTS) as post:
        with pytest.raises(ImpossibleOperation):
            await post.operate("frobnicate")


@virtual
async def test_a_filter_says_whom_it_concerns_and_the_log_who_asked() -> None:
    async with engine(HOSTS) as post:
        one = await post.submit("b@example.org", "c@example.org", sender="filter@example.com")
        two = await post.submit("b@example.org", sender="other@example.com")
        await post.until(lambda: len(post.attempts()) == 2)
        done = await post.control.operate("delete", QueueFilter(to="b@example.org"), 1000)
        assert sorted(done) == sorted([(one, "b@example.org"), (two, "b@example.org")])
        (event,) = post.events.of(Operated)
        assert (event.verb, event.count, event.uid, set(event.ids)) == ("delete", 2, 1000, {one, two})
        assert [row.state for row in post.rows(one)] == [State.CANCELLED, State.WAITING]
        await post.operate("delete")


@virtual
async def test_a_site_is_known_by_its_mx_host_too() -> None:
    async with engine({"mx.example.org": Host(down()), "mx.example.com": Host(greylist(300))}) as post:
        one, two = await post.submit("b@example.org"), await post.submit("b@example.com")
        await asyncio.sleep(10)
        done = await post.control.operate("delete", QueueFilter(sites=("MX.example.org",)), 0)
        assert done == [(one, "b@example.org")]
        assert await post.control.operate("delete", QueueFilter(sites=("example.com",)), 0) == [
            (two, "b@example.com")
        ]


@virtual
async def test_a_whole_queue_is_changed_page_by_page() -> None:
    async with engine({"mx.example.org": Host(down())}) as post:
        for n in range(1200):
            await post.submit(f"b{n}@example.org")
        await asyncio.sleep(10)
        assert len(await post.operate("delete")) == 1200
        assert post.queue.messages == {}


@virtual
async def test_status_says_what_waits_and_which_sites_are_paused() -> None:
    async with engine({"mx.example.org": Host(down()), "mx.example.com": Host(slow(Stage.DOT, 5))}) as post:
        id = await post.submit("b@example.org")
        await post.submit("b@example.com")
        await asyncio.sleep(2)
        status = await post.control.status()
        assert {key: status[key] for key in ("running", "waiting", "active", "held", "messages")} == {
            "running": True,
            "waiting": 1,
            "active": 1,
            "held": 0,
            "messages": 2,
        }
        assert status["connections"] == 1
        paused = status["paused"]
        assert isinstance(paused, list)
        assert [each["site"] for each in paused] == ["mx.example.org"]
        assert "refused" in paused[0]["reason"]
        await asyncio.sleep(10)
        await post.operate("delete", id)
