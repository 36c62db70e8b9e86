from __future__ import annotations

import asyncio

import pytest

from postroad.mail.commands import Capabilities
from postroad.mail.outcome import Fault, Kind, Reason, Stage
from postroad.mail.reply import Reply
from postroad.mail.routing import Route
from postroad.mail.throttle import Limits
from tests.support.engine import engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, Moment, Rule, fail, greylist, say, slow

ORG = {"mx.example.org": Host()}


@virtual
async def test_a_message_that_cannot_be_read_waits_and_the_others_go_on() -> None:
    async with engine(ORG) as post:
        post.spool.damaged.add("bad@example.org")
        bad = await post.submit("bad@example.org")
        good = [await post.submit(f"b{n}@example.org") for n in range(20)]
        await post.gone(*good)
        (row,) = post.rows(bad)
        assert row.last is not None
        assert row.last.status == "4.3.0"
        assert "cannot read" in row.last.text
        assert post.bugs() == []
        post.spool.damaged.clear()
        await post.gone(within=400)


@virtual
async def test_a_poisonous_message_is_put_off_and_the_others_go_on() -> None:
    async with engine(ORG) as post:
        post.spool.poisoned.add("bad@example.org")
        bad = await post.submit("bad@example.org")
        good = [await post.submit(f"b{n}@example.org") for n in range(20)]
        await post.gone(*good)
        (row,) = post.rows(bad)
        assert row.last is not None
        assert (row.last.reason, row.last.text) == (
            Reason.INTERNAL,
            "internal error: ZeroDivisionError",
        )
        (bug,) = post.bugs()
        assert "Traceback" in bug.trace
        post.spool.poisoned.clear()
        await post.gone(within=400)
        assert len(post.arrived()) == 21


@virtual
async def test_a_session_in_which_a_bug_happened_is_not_used_again() -> None:
    async with engine({"mx.example.org": Host(Rule(Stage.DATA, bug_for_bad))}) as post:
        await post.submit("a@example.org")
        await post.gone()
        bad = await post.submit("bad@example.org")
        await post.until(lambda: bool(post.bugs()))
        await post.submit("c@example.org")
        await post.until(lambda: len(post.arrived()) == 2)
        assert [len(c.transactions) for c in post.transport.connections] == [1, 1]
        await post.operate("delete", bad)


def bug_for_bad(moment: Moment) -> Reply | None:
    assert moment.envelope is not None
    if moment.envelope.recipients[0].address.local == "bad":
        raise KeyError("bad")
    return None


@virtual
async def test_a_bug_on_the_way_to_a_site_is_trouble_of_that_site_alone() -> None:
    hosts = {"mx.bad.example": Host(Rule(Stage.EHLO, bug)), "mx.well.example": Host()}
    async with engine(hosts) as post:
        id = await post.submit("b@bad.example")
        await post.submit("b@well.example")
        await post.until(lambda: bool(post.arrived()) and bool(post.sites.paused()))
        assert {bug.where for bug in post.bugs()} == {"connection"}
        hosts["mx.bad.example"].rules = ()
        await post.gone(id, within=600)


def bug(moment: Moment) -> Reply | None:
    raise KeyError("bug")


@virtual
async def test_an_outcome_is_durable_before_the_delivery_after_the_next_begins() -> None:
    async with engine(ORG, limits=Limits(connections=1)) as post:
        post.queue.commit = 10  # type: ignore[attr-defined]
        for n in range(6):
            await asyncio.gather(post.submit(f"b{n}@example.org"))
        await post.gone(within=200)
        arrived = [one.at for one in post.arrived()]
        assert all(later - earlier >= 9 for earlier, later in zip(arrived[2:], arrived[4:], strict=False))


@virtual
async def test_the_log_counts_the_uses_of_a_connection_and_the_first_bears_its_cost() -> None:
    async with engine(ORG, connect_delay=2.0) as post:
        for n in range(3):
            await post.submit(f"b{n}@example.org")
            await post.gone()
        attempts = [tried.attempt for tried in post.attempts()]
        assert [attempt.uses for attempt in attempts] == [1, 2, 3]
        assert [round(attempt.connected, 3) for attempt in attempts] == [2.0, 0.0, 0.0]


@virtual
async def test_a_session_lost_in_the_middle_defers_what_it_carried() -> None:
    async with engine({"mx.example.org": Host(fail(Stage.DATA, Fault.LOST, times=1))}) as post:
        await post.submit("b@example.org")
        await post.gone(within=400)
        first, second = post.attempts()
        assert first.attempt.outcomes[0].status == "4.4.2"
        assert second.attempt.outcomes[0].kind is Kind.DELIVERED


@virtual
async def test_stopping_lets_the_transaction_end_and_gives_the_rest_back_uncounted() -> None:
    host = Host(slow(Stage.DOT, 10))
    async with engine({"mx.example.org": host}, limits=Limits(connections=2)) as post:
        for n in range(50):
            await post.submit(f"b{n}@example.org")
        await asyncio.sleep(15)
        stopped_at = post.clock.now()
    assert post.clock.now() - stopped_at < 11
    rows = list(post.queue.rows.values())
    assert len(rows) + len(post.arrived()) == 50
    assert {row.state.name for row in rows} == {"WAITING"}
    assert {row.attempts for row in rows} == {0}
    assert all(c.closed is not None for c in post.transport.connections)


@virtual
async def test_stopping_does_not_wait_for_idle_connections() -> None:
    async with engine(ORG, limits=Limits(idle_timeout=60)) as post:
        await post.submit("b@example.org")
        await post.gone()
        stopped_at = post.clock.now()
    assert post.clock.now() - stopped_at < 0.1


@virtual
async def test_stopping_does_not_wait_for_doors_that_do_not_open() -> None:
    async with engine({"mx.example.org": Host(slow(Stage.CONNECT, 25))}) as post:
        id = await post.submit("b@example.org")
        await asyncio.sleep(5)
        assert sum(post.transport.open.values()) == 1
        stopped_at = post.clock.now()
    assert post.clock.now() - stopped_at < 0.1
    (row,) = post.rows(id)
    assert (row.state.name, row.attempts) == ("WAITING", 0)
    assert sum(post.transport.open.values()) == 0


@virtual
async def test_stopping_gives_up_what_takes_longer_than_half_a_minute() -> None:
    async with engine({"mx.example.org": Host(slow(Stage.DOT, 600))}) as post:
        await post.submit("b@example.org")
        await asyncio.sleep(5)
        stopped_at = post.clock.now()
    assert post.clock.now() - stopped_at < 31


@virtual
async def test_stopping_leaves_greylisted_mail_to_its_time() -> None:
    async with engine({"mx.example.org": Host(greylist(300))}) as post:
        id = await post.submit("b@example.org")
        await post.until(lambda: bool(post.attempts()))
        (before,) = post.rows(id)
    assert post.rows(id) == [before]


@virtual
async def test_a_session_that_was_told_to_leave_is_not_used_again() -> None:
    host = Host(say(Stage.RCPT, "421 4.7.0 Go away", times=1))
    async with engine({"mx.example.org": host}) as post:
        for n in range(3):
            await post.submit(f"b{n}@example.org")
        await post.gone(within=600)
        assert len(post.transport.established) >= 2
        assert len(post.arrived()) == 3


@pytest.mark.parametrize(
    ("said", "connections"),
    [("550 5.7.1 Blocked for spam", 2), ("552 5.3.4 Too big", 1), ("451 4.3.0 Later", 1)],
)
def test_where_a_sender_is_unwelcome_nothing_more_is_tried_on_that_connection(
    said: str, connections: int
) -> None:
    @virtual
    async def check() -> None:
        async with engine({"mx.example.org": Host(say(Stage.MAIL, said, times=1))}) as post:
            await post.submit("a@example.org", sender="")
            await post.until(lambda: bool(post.attempts()))
            id = await post.submit("b@example.org")
            await post.gone(id)
            assert len(post.transport.connections) == connections
            await post.operate("delete")

    check()


@pytest.mark.parametrize(("most", "connections"), [(1, 4), (2, 2), (3, 2), (0, 1)])
def test_a_peer_hears_of_no_more_domains_in_a_session_than_it_takes(most: int, connections: int) -> None:
    @virtual
    async def check() -> None:
        relay = Route("relay", ("*",), relay=("mx.example.org", 25))
        host = Host(capabilities=Capabilities(pipelining=True, rcpt_domain_max=most))
        async with engine({"mx.example.org": host}, routes=(relay,), limits=Limits(connections=1)) as post:
            to = [f"b{n}@{domain}.example" for n in range(3) for domain in ("one", "two", "three", "four")]
            start = post.clock.now()
            await post.submit(*to)
            await post.gone()
            assert sorted(str(one.recipient) for one in post.arrived()) == sorted(to)
            assert post.clock.now() - start < 2
            assert len(post.transport.connections) == connections
            for connection in post.transport.connections:
                heard = {to.address.domain for asked, _ in connection.transactions for to in asked.recipients}
                assert len(heard) <= (most or 4)
            assert post.attempts(Kind.DEFERRED) == []

    check()
