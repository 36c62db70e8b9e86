"""What trouble at each stage means: for the message, the site, and the other hosts of the domain."""

from __future__ import annotations

import asyncio

import pytest

from postroad.mail.backoff import HOUR, RetryPolicy
from postroad.mail.events import SitePaused, Tried
from postroad.mail.lifecycle import State
from postroad.mail.outcome import Fault, Kind, Stage
from tests.support.engine import engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, Rule, down, fail, say
from tests.support.zones import TWO_MX

MX1, MX2 = "mx1.example.org", "mx2.example.org"
AT_ONCE, CUT_OFF, GREYLISTED, ORDINARY = (0, 1), (60, 300), (305, 310), (270, 331)


@pytest.mark.parametrize(
    ("trouble", "host", "wait"),
    [
        (down(until=None), MX2, AT_ONCE),
        (fail(Stage.CONNECT, Fault.TIMEOUT), MX2, AT_ONCE),
        (fail(Stage.CONNECT, Fault.LOST), MX2, AT_ONCE),
        (fail(Stage.GREETING, Fault.LOST), MX2, AT_ONCE),
        (fail(Stage.GREETING, Fault.PROTOCOL), MX2, AT_ONCE),
        (say(Stage.GREETING, "421 4.3.2 Closing"), MX2, AT_ONCE),
        (say(Stage.GREETING, "450 4.3.2 Later"), MX2, AT_ONCE),
        (say(Stage.GREETING, "554 5.7.1 Go away"), MX2, AT_ONCE),
        (say(Stage.EHLO, "421 4.3.2 Closing"), MX2, AT_ONCE),
        (say(Stage.EHLO, "550 5.7.1 Never"), MX2, AT_ONCE),
        (say(Stage.MAIL, "421 4.3.2 Closing", times=1), MX1, CUT_OFF),
        (say(Stage.RCPT, "421 4.3.2 Closing", times=1), MX1, CUT_OFF),
        (say(Stage.DATA, "421 4.3.2 Closing", times=1), MX1, CUT_OFF),
        (say(Stage.DOT, "421 4.3.2 Closing", times=1), MX1, CUT_OFF),
        (fail(Stage.MAIL, Fault.LOST, times=1), MX1, CUT_OFF),
        (fail(Stage.RCPT, Fault.TIMEOUT, times=1), MX1, CUT_OFF),
        (fail(Stage.DATA, Fault.LOST, times=1), MX1, CUT_OFF),
        (fail(Stage.DATA, Fault.PROTOCOL, times=1), MX1, CUT_OFF),
        (say(Stage.MAIL, "451 4.3.0 Database trouble", times=1), MX1, ORDINARY),
        (say(Stage.RCPT, "450 4.2.0 Greylisted", times=1), MX1, GREYLISTED),
        (say(Stage.RCPT, "451 4.3.0 Database trouble", times=1), MX1, ORDINARY),
        (say(Stage.DATA, "451 4.3.0 Database trouble", times=1), MX1, ORDINARY),
        (say(Stage.DOT, "451 4.3.0 Database trouble", times=1), MX1, ORDINARY),
        (fail(Stage.DOT, Fault.LOST, times=1), MX1, (900, 991)),
        (fail(Stage.DOT, Fault.TIMEOUT, times=1), MX1, (900, 991)),
    ],
)
def test_where_a_message_goes_after_trouble_and_how_soon(
    trouble: Rule, host: str, wait: tuple[float, float]
) -> None:
    @virtual
    async def check() -> None:
        async with engine({MX1: Host(trouble), MX2: Host()}, TWO_MX) as post:
            start = post.clock.now()
            await post.submit("b@example.org")
            await post.gone(within=1200)
            (arrived,) = post.arrived()
            assert arrived.endpoint.host == host
            assert wait[0] <= arrived.at - start <= wait[1]
            assert len(post.attempts(Kind.DEFERRED)) == (wait is not AT_ONCE)

    check()


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA])
@pytest.mark.parametrize("fault", [Fault.LOST, Fault.TIMEOUT, Fault.PROTOCOL])
def test_where_sessions_always_break_off_the_next_host_is_tried(stage: Stage, fault: Fault) -> None:
    @virtual
    async def check() -> None:
        async with engine({MX1: Host(fail(stage, fault)), MX2: Host()}, TWO_MX) as post:
            await post.submit("b@example.org")
            await post.gone(within=15 * 60)
            assert [one.endpoint.host for one in post.arrived()] == [MX2]
            assert len(post.attempts(Kind.DEFERRED)) == 2

    check()


@virtual
async def test_a_session_that_breaks_off_now_and_then_sends_nobody_elsewhere() -> None:
    flaky = [0]

    def every_third(moment: object) -> Fault | None:
        flaky[0] += 1
        return Fault.LOST if flaky[0] % 3 == 0 else None

    async with engine({MX1: Host(Rule(Stage.DATA, every_third)), MX2: Host()}, TWO_MX) as post:
        for n in range(30):
            await post.submit(f"b{n}@example.org")
            await post.gone(within=HOUR)
        assert {one.endpoint.host for one in post.arrived()} == {MX1}


@pytest.mark.parametrize(
    ("trouble", "paused"),
    [
        (say(Stage.MAIL, "421 4.3.2 Closing"), True),
        (fail(Stage.DATA, Fault.LOST), True),
        (say(Stage.GREETING, "554 5.7.1 Go away"), True),
        (say(Stage.MAIL, "451 4.3.0 Trouble"), False),
        (say(Stage.RCPT, "450 4.2.0 Greylisted"), False),
        (say(Stage.RCPT, "452 4.2.2 Mailbox full"), False),
        (say(Stage.RCPT, "550 5.1.1 No such user"), False),
        (say(Stage.DOT, "554 5.7.1 Spam"), False),
        (say(Stage.DOT, "451 4.3.0 Trouble"), False),
    ],
)
def test_only_trouble_of_the_host_pauses_the_site(trouble: Rule, paused: bool) -> None:
    @virtual
    async def check() -> None:
        retry = RetryPolicy(expire_after=HOUR, warn_after=2 * HOUR)
        async with engine({"mx.example.org": Host(trouble)}, retry=retry) as post:
            for n in range(20):
                await post.submit(f"b{n}@example.org", sender="")
            await post.gone(within=2 * HOUR)
            assert bool(post.events.of(SitePaused)) is paused
            assert post.arrived() == []

    check()


@virtual
async def test_mail_for_hosts_that_refuse_to_talk_to_us_comes_back_after_four_hours() -> None:
    hosts = {"mx.example.org": Host(say(Stage.GREETING, "554 5.7.1 Blocked")), "mx.example.com": Host()}
    async with engine(hosts) as post:
        start = post.clock.now()
        early = [await post.submit(f"b{n}@example.org") for n in range(250)]
        await asyncio.sleep(2 * HOUR)
        late = await post.submit("late@example.org")
        await post.gone(*early, within=6 * HOUR)
        assert 4 * HOUR <= post.clock.now() - start < 4 * HOUR + 1900 * 1.1
        failures = [tried.attempt.outcomes[0] for tried in post.events.of(Tried)]
        assert {outcome.status for outcome in failures if outcome.kind is Kind.FAILED} == {"5.7.1"}
        (row,) = post.rows(late)
        assert (row.state, row.attempts) == (State.WAITING, 0)
        await post.gone(late, within=3 * HOUR)
