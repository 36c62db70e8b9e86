"""What senders ask of a message's whole way: a release, a priority, TLS everywhere (RFC 4865, 6710, 8689)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postroad.mail.backoff import HOUR, RetryPolicy
from postroad.mail.events import Accepted, Notified, Tried
from postroad.mail.lifecycle import State
from postroad.mail.message import Handling, Lane, Notify
from postroad.mail.outcome import Kind, Reason, Stage
from postroad.mail.routing import Route, TlsWish
from postroad.mail.throttle import Limits
from postroad.ports.queue import QueueFilter
from tests.support.engine import Engine, engine
from tests.support.loop import virtual
from tests.support.scripted_network import ALL_OFFERED, Host, down, say, slow

REQUIRED = Handling(requiretls=True)
PROMISING = replace(ALL_OFFERED, requiretls=True)
TRUSTING = (Route("trusted", ("*",), tls=TlsWish.VERIFIED),)
WHO = "b@example.org"
MX = "mx.example.org"


# --- FUTURERELEASE -------------------------------------------------------------------


def later(post: Engine, seconds: float = 2 * HOUR) -> Handling:
    return Handling(hold_until=post.clock.now() + seconds)


@virtual
async def test_a_scheduled_message_is_first_tried_at_its_time() -> None:
    async with engine({MX: Host()}) as post:
        await post.submit(WHO)
        await post.gone()
        start = post.clock.now()
        id = await post.submit(WHO, handling=later(post))
        (row,) = post.rows(id)
        assert row.last is not None
        assert (row.state, row.attempts, row.last.reason) == (State.WAITING, 0, Reason.SCHEDULED)
        await post.gone(id, within=3 * HOUR)
        assert start + 2 * HOUR <= post.arrived()[-1].at < start + 2 * HOUR + 5


@virtual
async def test_expiry_and_warning_count_from_the_release() -> None:
    retry = RetryPolicy(expire_after=3 * HOUR, warn_after=HOUR)
    async with engine({MX: Host(down())}, retry=retry) as post:
        start = post.clock.now()
        id = await post.submit(WHO, handling=later(post, 10 * HOUR))
        await post.until(lambda: len(post.notices(id)) == 2, within=20 * HOUR)
        warned, failed = (at - start for at in post.events.at(Notified))
        assert 11 * HOUR <= warned < 11 * HOUR + 60
        assert 13 * HOUR <= failed < 13 * HOUR + 60


@virtual
async def test_a_sweeping_retry_leaves_scheduled_mail_alone_and_a_named_one_does_not() -> None:
    async with engine({MX: Host()}) as post:
        id = await post.submit(WHO, handling=later(post))
        assert await post.control.operate("retry", QueueFilter(domain="example.org"), 0) == []
        assert await post.operate("retry", id) == [(id, WHO)]
        await post.gone(id)
        assert len(post.arrived()) == 1


@virtual
async def test_a_hold_that_is_released_does_not_shorten_the_schedule() -> None:
    async with engine({MX: Host()}) as post:
        start = post.clock.now()
        id = await post.submit(WHO, handling=later(post))
        await post.operate("hold", id)
        await post.operate("release", id)
        await post.gone(id, within=3 * HOUR)
        assert post.arrived()[0].at >= start + 2 * HOUR


# --- REQUIRETLS ----------------------------------------------------------------------


@virtual
async def test_tls_required_goes_by_verified_tls_and_is_passed_on() -> None:
    async with engine({MX: Host(capabilities=PROMISING)}, routes=TRUSTING) as post:
        id = await post.submit(WHO, handling=REQUIRED)
        await post.gone(id)
        (connection,) = post.transport.established
        assert connection.requirement.requiretls
        assert [envelope.handling for envelope, _ in connection.transactions] == [REQUIRED]


@virtual
async def test_it_shares_no_connection_with_other_mail() -> None:
    async with engine({MX: Host(capabilities=PROMISING)}) as post:
        plain = await post.submit(WHO)
        await post.gone(plain)
        # By MX nobody vouches for the host's name.
        required = await post.submit(WHO, handling=REQUIRED)
        await post.gone(required)
        assert [str(one.sender) for one in post.arrived(WHO)] == ["a@example.com"]
        assert statuses(post, required) == ["5.7.10"]


def statuses(post: Engine, id: str) -> list[str]:
    """Of all final outcomes of a message."""
    tried = [event.attempt for event in post.events.of(Tried) if event.attempt.delivery.message.id == id]
    return [
        outcome.status for attempt in tried for outcome in attempt.outcomes if outcome.kind is Kind.FAILED
    ]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (Host(), "5.7.30"),
        (Host(tls=None, capabilities=PROMISING), "5.7.10"),
        (Host(tls="broken", capabilities=PROMISING), "5.7.10"),
        (Host(certificate_valid=False, capabilities=PROMISING), "5.7.10"),
    ],
)
@virtual
async def test_where_tls_cannot_be_had_the_message_comes_back_as_its_header(host: Host, status: str) -> None:
    hosts = {MX: host, "mx.example.com": Host()}
    async with engine(hosts, routes=TRUSTING) as post:
        id = await post.submit(WHO, handling=REQUIRED)
        await post.gone()
        assert statuses(post, id) == [status]
        (notice,) = post.arrived()
        assert notice.sender is None
        assert status.encode() in notice.content
        assert b"text/rfc822-headers" in notice.content


@virtual
async def test_another_host_of_the_domain_may_promise_what_the_first_does_not() -> None:
    zone = {
        "example.org": {"MX": [(10, "one.example.org"), (20, "two.example.org")]},
        "one.example.org": {"A": ["192.0.2.1"]},
        "two.example.org": {"A": ["192.0.2.2"]},
    }
    hosts = {"one.example.org": Host(), "two.example.org": Host(capabilities=PROMISING)}
    async with engine(hosts, zone, routes=TRUSTING) as post:
        id = await post.submit(WHO, handling=REQUIRED)
        await post.gone(id)
        assert [one.endpoint.host for one in post.arrived(WHO)] == ["two.example.org"]


@pytest.mark.parametrize(
    "trouble",
    [down(until=None), say(Stage.GREETING, "421 4.3.2 Busy"), say(Stage.CONNECT, "450 later")],
)
@virtual
async def test_a_host_out_of_reach_may_yet_promise_it(trouble: object) -> None:
    zone = {
        "example.org": {"MX": [(10, "one.example.org"), (20, "two.example.org")]},
        "one.example.org": {"A": ["192.0.2.1"]},
        "two.example.org": {"A": ["192.0.2.2"]},
    }
    hosts = {"one.example.org": Host(trouble, capabilities=PROMISING), "two.example.org": Host()}  # type: ignore[arg-type]
    async with engine(hosts, zone, routes=TRUSTING) as post:
        id = await post.submit(WHO, handling=REQUIRED)
        await post.until(lambda: bool(post.rows(id)[0].last))
        assert post.rows(id)[0].state is State.WAITING
        assert statuses(post, id) == []


@virtual
async def test_a_notification_that_requires_tls_goes_as_it_can() -> None:
    async with engine({"mx.example.com": Host()}) as post:
        id = await post.submit("x@nowhere.example", handling=REQUIRED, notify=Notify.FAILURE)
        await post.gone()
        (notice,) = post.arrived()
        assert (notice.sender, str(notice.recipient)) == (None, "a@example.com")
        assert [told.kind for told in post.notices(id)] == ["failed"]


# --- MT-PRIORITY: the lanes it leads to --------------------------------------------------


@virtual
async def test_a_flood_of_bulk_mail_does_not_hold_up_transactional_mail() -> None:
    slow_host = Host(slow(Stage.DOT, 1.0))
    async with engine({MX: slow_host}, limits=Limits(connections=1, initial_window=1)) as post:
        for number in range(400):
            await post.submit(f"bulk{number}@example.org", sender="bulk@example.com", lane=Lane.BULK)
        await post.until(lambda: len(post.arrived()) >= 3)
        at = post.clock.now()
        await post.submit("urgent@example.org", lane=Lane.TRANSACTIONAL)
        await post.until(lambda: bool(post.arrived("urgent@example.org")), within=10)
        # One transaction is under way, one may be in the lowest lane's turn.
        assert post.arrived("urgent@example.org")[0].at - at <= 3.5


@virtual
async def test_a_flood_of_transactional_mail_leaves_a_share_to_bulk_mail() -> None:
    async with engine(
        {MX: Host(slow(Stage.DOT, 1.0))}, limits=Limits(connections=1, initial_window=1)
    ) as post:
        await post.submit("first@example.org", lane=Lane.TRANSACTIONAL)
        for number in range(200):
            await post.submit(f"urgent{number}@example.org", lane=Lane.TRANSACTIONAL)
        for number in range(5):
            await post.submit(f"bulk{number}@example.org", lane=Lane.BULK)
        await post.until(lambda: len(post.arrived()) >= 100, within=200)
        bulk = [one for one in post.arrived() if str(one.recipient).startswith("bulk")]
        assert 1 <= len(bulk) <= 10


@virtual
async def test_the_priority_stands_in_the_trace_the_log_and_the_notification() -> None:
    refusing = {MX: Host(say(Stage.RCPT, "550 5.1.1 no")), "mx.example.com": Host(down())}
    async with engine(refusing) as post:
        id = await post.submit(WHO, handling=Handling(priority=6), lane=Lane.TRANSACTIONAL)
        (record,) = post.spool.records.values()
        assert b"\r\n\tPRIORITY 6; " in record.content.head.replace(b"\r\n ", b"\r\n\t")
        assert [event.priority for event in post.events.of(Accepted)] == [6]
        await post.until(lambda: bool(post.notices(id)))
        (notice,) = post.queue.messages.values()
        assert (notice.handling, notice.lane) == (Handling(priority=6), Lane.TRANSACTIONAL)
