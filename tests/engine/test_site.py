"""One site: how many connections, what a pause costs, what is tried where and when."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from postroad.mail.backoff import RetryPolicy
from postroad.mail.commands import Capabilities
from postroad.mail.events import HopDeferred, SitePaused, SiteResumed
from postroad.mail.lifecycle import State
from postroad.mail.message import Lane
from postroad.mail.outcome import Fault, Kind, Stage
from postroad.mail.routing import Route, TlsWish
from postroad.mail.throttle import Limits
from tests.support.build import HOUR, NOW
from tests.support.engine import Engine, engine
from tests.support.loop import virtual
from tests.support.scripted_network import (
    Host,
    Rule,
    busy,
    down,
    fail,
    greylist,
    lost_after_dot,
    reply,
    say,
    slow,
)


async def submit_many(post: Engine, count: int, domain: str = "example.org") -> list[str]:
    return [await post.submit(f"b{n}@{domain}") for n in range(count)]


# --- how many connections ---------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 5, 10])
def test_there_are_never_more_connections_to_a_site_than_allowed(most: int) -> None:
    @virtual
    async def check() -> None:
        host = Host(slow(Stage.DOT, 0.5))
        async with engine({"mx.example.org": host}, limits=Limits(connections=most)) as post:
            await submit_many(post, 200)
            await post.gone(within=300)
            assert post.transport.most_open["mx.example.org"] == most

    check()


@virtual
async def test_the_daemon_has_never_more_connections_than_allowed_in_all() -> None:
    hosts = {f"mx.site{n}.example": Host(slow(Stage.DOT, 5)) for n in range(20)}
    async with engine(hosts, max_connections=7) as post:
        most = 0
        for n in range(20):
            await post.submit(f"b@site{n}.example")
        while post.queue.messages:
            most = max(most, sum(post.transport.open.values()))
            await asyncio.sleep(0.1)
        assert most == 7


@virtual
async def test_a_connection_is_used_again() -> None:
    async with engine({"mx.example.org": Host()}) as post:
        for n in range(20):
            await post.submit(f"b{n}@example.org")
            await asyncio.sleep(1)
        await post.gone()
        assert len(post.transport.connections) == 1


@virtual
async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with engine({"mx.example.org": Host()}, limits=Limits(idle_timeout=7)) as post:
        await post.submit("b@example.org")
        await post.gone()
        await asyncio.sleep(20)
        (connection,) = post.transport.connections
        assert connection.closed is not None
        assert connection.closed - post.arrived()[0].at == pytest.approx(7, abs=0.1)


@pytest.mark.parametrize(
    ("limits", "offered", "connections"),
    [
        (Limits(connections=1, messages_per_connection=10), Capabilities(), 5),
        (Limits(connections=1), Capabilities(mail_max=25), 2),
        (Limits(connections=1, connection_lifetime=20), Capabilities(), 3),
    ],
    ids=["by our limit", "by the peer's limit", "by age"],
)
def test_a_connection_wears_out(limits: Limits, offered: Capabilities, connections: int) -> None:
    @virtual
    async def check() -> None:
        host = Host(slow(Stage.DOT, 1), capabilities=offered)
        async with engine({"mx.example.org": host}, limits=limits) as post:
            await submit_many(post, 50)
            await post.gone(within=100)
            assert len(post.transport.connections) == connections

    check()


@virtual
async def test_a_server_that_allows_five_is_soon_sent_no_more_than_five() -> None:
    host = Host((busy(5), slow(Stage.DOT, 0.2)))
    async with engine({"mx.example.org": host}, limits=Limits(connections=20)) as post:
        await submit_many(post, 1000)
        await post.gone(within=600)
        refused = [c for c in post.transport.connections if not c.established]
        assert len(refused) <= 20
        assert post.attempts(Kind.DEFERRED) == []


@virtual
async def test_a_message_behind_a_stuck_transaction_gets_a_connection_of_its_own() -> None:
    async with engine({"mx.example.org": Host(slow(Stage.DOT, 600))}) as post:
        await post.submit("a@example.org")
        await asyncio.sleep(1)
        post.transport.hosts["mx.example.org"] = Host()
        start = post.clock.now()
        id = await post.submit("b@example.org")
        await post.gone(id)
        assert post.clock.now() - start < 2
        await post.gone(within=700)


@virtual
async def test_a_door_that_opens_slowly_is_not_knocked_at_twice_for_one_message() -> None:
    async with engine({"mx.example.org": Host(slow(Stage.CONNECT, 25))}) as post:
        await post.submit("b@example.org")
        await post.gone(within=60)
        assert len(post.transport.connections) == 1


# --- a site in trouble ------------------------------------------------------------------


@virtual
async def test_a_dead_site_costs_a_window_at_first_and_then_one_probe_a_pause() -> None:
    async with engine({"mx.example.org": Host(down(until=NOW + 2 * HOUR))}) as post:
        ids = await submit_many(post, 2000)
        await asyncio.sleep(50)
        # The initial window is two.
        assert len(post.transport.connections) <= 3
        assert len(post.attempts()) == 1
        await asyncio.sleep(2 * HOUR - 100)
        pauses = len(post.events.of(SitePaused))
        assert len(post.transport.connections) <= 2 + pauses
        assert len(post.attempts()) == pauses
        rows = [post.rows(id)[0] for id in ids]
        assert all(row.state is State.WAITING and row.last is not None for row in rows)
        # Whoever went with the probe had an attempt; nobody else.
        assert sum(row.attempts for row in rows) == pauses
        await post.gone(within=2000)
        assert len(post.arrived()) == 2000
        last_try = max(c.opened for c in post.transport.connections if not c.established)
        back = min(c.opened for c in post.transport.established)
        assert back - last_try <= 1800 * 1.1 + 1
        assert max(one.at for one in post.arrived()) - back < 60
        assert len(post.events.of(SiteResumed)) == 1


@virtual
async def test_a_site_is_said_to_be_paused_once_a_pause() -> None:
    host = Host((fail(Stage.MAIL, Fault.LOST, until=NOW + 100), slow(Stage.MAIL, 1)))
    async with engine({"mx.example.org": host}, limits=Limits(initial_window=10)) as post:
        await submit_many(post, 100)
        await post.gone(within=HOUR)
        paused = post.events.at(SitePaused)
        assert all(later - earlier > 50 for earlier, later in pairwise(paused))
        assert len({event.until for event in post.events.of(SitePaused)}) == len(paused)


@virtual
async def test_new_mail_for_a_dead_site_opens_nothing_and_asks_nobody() -> None:
    async with engine({"mx.example.org": Host(down())}, ttl=86400.0) as post:
        await post.submit("b@example.org")
        await post.until(lambda: bool(post.sites.paused()))
        tried, asked = len(post.transport.connections), len(post.resolver.asked)
        await submit_many(post, 100)
        assert len(post.transport.connections) == tried
        assert len(post.resolver.asked) == asked


@virtual
async def test_a_dead_site_holds_up_no_other() -> None:
    hosts = {"mx.dead.example": Host(fail(Stage.CONNECT, Fault.TIMEOUT)), "mx.well.example": Host()}
    async with engine(hosts) as post:
        await submit_many(post, 500, "dead.example")
        start = post.clock.now()
        id = await post.submit("b@well.example")
        await post.gone(id)
        assert post.clock.now() - start < 1


@virtual
async def test_a_probe_that_proves_nothing_is_followed_by_another() -> None:
    """The probe's message cannot be read; the site's other mail must not wait for ever."""
    async with engine({"mx.example.org": Host(down(until=NOW + 30))}) as post:
        first = await post.submit("a@example.org")
        await post.until(lambda: bool(post.sites.paused()))
        await submit_many(post, 3)
        post.spool.damaged.add("a@example.org")
        await post.until(lambda: len(post.arrived()) == 3, within=600)
        await post.operate("delete", first)


@virtual
async def test_hops_put_off_with_their_site_are_told_why() -> None:
    async with engine({"mx.example.org": Host(down(until=NOW + 100))}) as post:
        await submit_many(post, 400)
        await post.until(lambda: bool(post.events.of(HopDeferred)))
        deferral = post.events.of(HopDeferred)[0]
        assert deferral.hop == "example.org"
        assert "refused" in deferral.text
        await post.gone(within=HOUR)


@virtual
async def test_greylisting_and_refusals_are_no_trouble_of_the_site() -> None:
    hosts = {"mx.example.org": Host((say(Stage.RCPT, "550 5.1.1 No such user", times=50), greylist(300)))}
    async with engine(hosts) as post:
        await submit_many(post, 100)
        await asyncio.sleep(100)
        assert post.events.of(SitePaused) == []


# --- sites and hops ---------------------------------------------------------------------


@virtual
async def test_domains_with_the_same_mx_hosts_share_their_connections() -> None:
    zone = {
        "one.example": {"MX": [(10, "mx.host.example")]},
        "two.example": {"MX": [(20, "MX.Host.Example.")]},
        "mx.host.example": {"A": ["192.0.2.1"]},
        "MX.Host.Example.": {"A": ["192.0.2.1"]},
    }
    async with engine({"mx.host.example": Host()}, zone) as post:
        await post.submit("b@one.example")
        await post.gone()
        await post.submit("b@two.example")
        await post.gone()
        (connection,) = post.transport.connections
        assert len(connection.transactions) == 2


@virtual
async def test_hops_of_one_site_take_turns() -> None:
    zone = {
        "big.example": {"MX": [(10, "mx.host.example")]},
        "small.example": {"MX": [(10, "mx.host.example")]},
        "mx.host.example": {"A": ["192.0.2.1"]},
    }
    host = Host((down(until=NOW + 10), slow(Stage.DOT, 0.1)))
    async with engine({"mx.host.example": host}, zone, limits=Limits(connections=1)) as post:
        await submit_many(post, 1000, "big.example")
        await submit_many(post, 10, "small.example")
        await post.gone(within=HOUR)
        order = [one.recipient.domain for one in post.arrived()]
        assert order.index("small.example") < 200


# --- connections that end ---------------------------------------------------------------


@virtual
async def test_a_reused_connection_found_dead_costs_no_attempt_and_no_time() -> None:
    async with engine({"mx.example.org": Host(say(Stage.MAIL, "421 4.4.2 Idle too long", times=0))}) as post:
        await post.submit("b@example.org")
        await post.gone()
        post.transport.hosts["mx.example.org"].rules = goodbye_to_used_connections()
        start = post.clock.now()
        id = await post.submit("c@example.org")
        await post.gone(id)
        assert post.clock.now() - start < 1
        assert len(post.transport.connections) == 2
        assert [tried.attempt.delivery.recipients[0].attempts for tried in post.attempts()] == [1, 1]
        assert post.attempts(Kind.DEFERRED) == []


@virtual
async def test_a_dead_connection_is_replaced_at_once_though_another_idles() -> None:
    async with engine({"mx.example.org": Host(slow(Stage.DOT, 0.5))}) as post:
        await submit_many(post, 6)
        await post.gone()
        assert len(post.transport.connections) >= 2
        post.transport.hosts["mx.example.org"].rules = goodbye_to_used_connections()
        start = post.clock.now()
        id = await post.submit("c@example.org")
        await post.gone(id)
        assert post.clock.now() - start < 1


def goodbye_to_used_connections() -> Rule:
    said = reply("421 4.4.2 Idle too long")
    return Rule(Stage.MAIL, lambda moment: said if moment.connection.transactions else None)


@virtual
async def test_a_connection_the_peer_closes_while_idle_is_not_used_again() -> None:
    async with engine({"mx.example.org": Host(idle_limit=2)}) as post:
        for n in range(3):
            await post.submit(f"b{n}@example.org")
            await asyncio.sleep(3)
        assert len(post.arrived()) == 3
        assert [len(c.transactions) for c in post.transport.connections] == [1, 1, 1]


@virtual
async def test_a_connection_lost_after_the_dot_is_tried_again_only_after_a_quarter_of_an_hour() -> None:
    async with engine({"mx.example.org": Host(lost_after_dot(1))}) as post:
        await post.submit("b@example.org")
        await post.gone(within=1200)
        first, second = post.attempts()
        assert first.attempt.outcomes[0].reason == "ambiguous"
        assert second.attempt.started - first.attempt.finished >= 900


# --- TLS --------------------------------------------------------------------------------


@virtual
async def test_where_tls_is_broken_mail_goes_without_it_after_five_minutes_and_not_before() -> None:
    async with engine({"mx.example.org": Host(tls="broken")}) as post:
        start = post.clock.now()
        await post.submit("b@example.org")
        await post.gone(within=900)
        plain = [c for c in post.transport.connections if c.plaintext]
        assert plain[0].opened - start >= 300
        assert [c.plaintext for c in post.transport.established] == [True]


@virtual
async def test_where_tls_is_required_mail_never_goes_without_it() -> None:
    route = Route("strict", ("example.org",), tls=TlsWish.REQUIRED)
    hosts = {"mx.example.org": Host(tls="broken"), "mx.example.com": Host()}
    async with engine(hosts, routes=(route,)) as post:
        await post.submit("b@example.org")
        await post.gone(within=6 * 86400)
        assert not any(c.plaintext for c in post.transport.connections)
        assert post.arrived("b@example.org") == []
        assert [notice.kind for notice in post.notices()] == ["delayed", "failed"]


# --- lanes ------------------------------------------------------------------------------


@virtual
async def test_urgent_mail_waits_for_one_transaction_behind_a_heap_of_bulk() -> None:
    host = Host(slow(Stage.DOT, 1))
    async with engine({"mx.example.org": host}, limits=Limits(connections=1)) as post:
        await submit_bulk(post, 500)
        await asyncio.sleep(3)
        start = post.clock.now()
        id = await post.submit("urgent@example.org", lane=Lane.TRANSACTIONAL)
        await post.gone(id)
        assert post.clock.now() - start < 2.1
        await post.gone(within=1000)


async def submit_bulk(post: Engine, count: int) -> None:
    for n in range(count):
        await post.submit(f"b{n}@example.org", lane=Lane.BULK)


@pytest.mark.parametrize(("most", "taken"), [(1, 1), (2, 1), (5, 4)])
def test_bulk_mail_alone_leaves_the_last_connection_of_a_site_to_others(most: int, taken: int) -> None:
    @virtual
    async def check() -> None:
        host = Host(slow(Stage.DOT, 1))
        async with engine({"mx.example.org": host}, limits=Limits(connections=most)) as post:
            await submit_bulk(post, 100)
            await asyncio.sleep(15)
            assert post.transport.most_open["mx.example.org"] == taken
            start = post.clock.now()
            id = await post.submit("b@example.org")
            await post.gone(id)
            assert post.clock.now() - start < 3.1
            assert post.transport.most_open["mx.example.org"] == most
            await post.gone(within=200)

    check()


@virtual
async def test_the_last_try_is_not_put_off_by_a_pause_beyond_the_end_of_the_message() -> None:
    retry = RetryPolicy(expire_after=1000, warn_after=900)
    hosts = {"mx.example.org": Host(down()), "mx.example.com": Host()}
    async with engine(hosts, retry=retry) as post:
        start = post.clock.now()
        await submit_many(post, 20)
        await post.gone(within=1100)
        assert len([n for n in post.notices() if n.kind == "failed"]) == 20
        assert post.clock.now() - start < 1000 + 60 + 10
