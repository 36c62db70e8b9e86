"""Whatever receivers do: every recipient ends delivered once, failed and told of once, or still waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.mail.backoff import RetryPolicy
from postroad.mail.events import DoubleBounce
from postroad.mail.headers import split
from postroad.mail.lifecycle import State
from postroad.mail.message import Content
from postroad.mail.outcome import Fault, Stage
from postroad.mail.throttle import Limits
from tests.support import dsn_reading
from tests.support.build import HOUR
from tests.support.engine import Engine, build
from tests.support.loop import virtual
from tests.support.scripted_network import Host, Rule, fail, greylist, say

SITES = ("one", "two", "three")
STAGES = (Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT)
REPLIES = (
    "421 4.3.2 Closing",
    "421 4.7.0 Too many connections",
    "450 4.2.0 Greylisted",
    "450 4.7.1 Greylisted, come back in 00:10:00",
    "451 4.3.0 Trouble",
    "452 4.2.2 Mailbox full",
    "452 4.5.3 Too many recipients",
    "550 5.1.1 No such user",
    "552 Too much",
    "554 5.7.1 Blocked",
)
FAULTS = (Fault.LOST, Fault.TIMEOUT, Fault.REFUSED, Fault.PROTOCOL)
RETRY = RetryPolicy(schedule=(60.0, 300.0), greylist=(60.0, 300.0), expire_after=2 * HOUR, warn_after=HOUR)

times = st.one_of(st.none(), st.integers(1, 6))


def rules() -> st.SearchStrategy[Rule]:
    """Something a receiver says or does, for a while or for ever. A lost reply to the dot is apart."""
    return st.one_of(
        st.builds(
            lambda stage, text, n: say(stage, text, times=n),
            st.sampled_from(STAGES[1:]),
            st.sampled_from(REPLIES),
            times,
        ),
        st.builds(
            lambda stage, fault, n: fail(stage, fault, times=n),
            st.sampled_from(STAGES[:-1]),
            st.sampled_from(FAULTS),
            times,
        ),
        st.builds(greylist, st.sampled_from((60.0, 300.0, 1800.0))),
    )


hosts = st.builds(
    Host,
    st.lists(rules(), max_size=3),
    tls=st.sampled_from(("offered", "broken", None)),
    closes_after=st.sampled_from((None, 1, 3)),
    idle_limit=st.sampled_from((None, 0.5)),
)
mails = st.lists(
    st.lists(st.tuples(st.sampled_from(SITES), st.integers(0, 3)), min_size=1, max_size=5, unique=True),
    min_size=1,
    max_size=8,
)


def told_of(post: Engine) -> Counter[str]:
    """How often the sender heard of the failure of each recipient."""
    heard: Counter[str] = Counter()
    for notice in post.arrived("a@example.com"):
        head, body = split(notice.content)
        for group in dsn_reading.read(Content(head, body, False, False)).groups:
            if group["Action"] == "failed":
                heard[group["Final-Recipient"].removeprefix("rfc822; ")] += 1
    return heard


def to(number: int, site: str, n: int) -> str:
    return f"m{number}.{n}@{site}.example"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.tuples(hosts, hosts, hosts), mails, st.integers(0, 99), st.integers(1, 3), st.booleans())
def test_no_recipient_is_lost_or_served_twice(
    receivers: tuple[Host, Host, Host],
    letters: Sequence[Sequence[tuple[str, int]]],
    seed: int,
    connections: int,
    restarted: bool,
) -> None:
    @virtual
    async def check() -> None:
        world = {f"mx.{site}.example": host for site, host in zip(SITES, receivers, strict=True)}
        world["mx.example.com"] = Host()
        post = build(world, retry=RETRY, seed=seed, limits=Limits(connections=connections))
        submitted = []
        async with post.running():
            for number, letter in enumerate(letters):
                addresses = [to(number, site, n) for site, n in letter]
                submitted += addresses
                await post.submit(*addresses)
            if not restarted:
                await post.gone(within=4 * HOUR)
        waiting = [str(row.address) for row in post.queue.rows.values() if row.state.is_open]
        assert all(row.state is not State.ACTIVE for row in post.queue.rows.values())
        if restarted:
            again = build(world, retry=RETRY, seed=seed + 1, queue=post.queue, spool=post.spool)
            async with again.running():
                await again.gone(within=4 * HOUR)
            post.transport.accepted += again.transport.accepted
            post.events.log += again.events.log
            waiting = []
        delivered = Counter(
            str(one.recipient) for one in post.arrived() if one.recipient.domain != "example.com"
        )
        ends = delivered + told_of(post) + Counter(waiting)
        assert ends == Counter(submitted)
        assert post.bugs() == []
        assert post.events.of(DoubleBounce) == []
        assert post.spool.records == {}
        assert not post.queue.rows

    check()
