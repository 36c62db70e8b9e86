from __future__ import annotations

from collections import Counter

import pytest

from postroad.engine.delivery import envelope_of
from postroad.mail.commands import Capabilities
from postroad.mail.message import Body, Notify, Ret
from postroad.mail.outcome import Kind, Stage
from postroad.mail.throttle import Limits
from tests.support.build import address, delivery, message, recipient
from tests.support.engine import Engine, engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, Moment, Rule, Said, reply

MANY = tuple(f"b{n}@example.org" for n in range(250))


async def warm(post: Engine) -> None:
    """One message went before: the site is known and a connection waits."""
    await post.submit("first@example.org")
    await post.gone()


def recipients(post: Engine) -> Counter[str]:
    """How often each of many got the message."""
    return Counter(str(one.recipient) for one in post.arrived() if one.recipient.local != "first")


def test_the_envelope_is_as_it_was_submitted() -> None:
    owner = message(ret=Ret.HDRS, envid="x", smtputf8=True, body=Body.EIGHT_BIT)
    rows = (recipient("b@example.org", notify=Notify.SUCCESS, orcpt="rfc822;b@example.org"),)
    envelope = envelope_of(delivery(owner, *rows), rows)
    assert (envelope.sender, envelope.ret, envelope.envid, envelope.smtputf8, envelope.body) == (
        address("a@example.com"),
        Ret.HDRS,
        "x",
        True,
        Body.EIGHT_BIT,
    )
    (to,) = envelope.recipients
    assert (to.notify, to.orcpt) == (Notify.SUCCESS, "rfc822;b@example.org")


@pytest.mark.parametrize(
    ("offered", "ours", "transactions"),
    [(0, 100, 3), (20, 100, 13), (1000, 50, 5)],
    ids=["our own limit", "RCPTMAX", "a peer that takes more than we give"],
)
def test_more_recipients_than_fit_go_in_further_transactions_on_the_same_connection(
    offered: int, ours: int, transactions: int
) -> None:
    @virtual
    async def check() -> None:
        host = Host(capabilities=Capabilities(rcpt_max=offered))
        limits = Limits(recipients_per_transaction=ours)
        async with engine({"mx.example.org": host}, limits=limits) as post:
            await warm(post)
            await post.submit(*MANY)
            await post.gone()
            (connection,) = post.transport.connections
            assert len(connection.transactions) == 1 + transactions
            assert recipients(post) == Counter(MANY)

    check()


def at_most(count: int, text: str = "452 4.5.3 Too many recipients") -> Rule:
    """A receiver that takes so many recipients a transaction and says so only then."""
    said = reply(text)

    def decide(moment: Moment) -> Said | None:
        assert moment.envelope is not None
        addresses = [to.address for to in moment.envelope.recipients]
        assert moment.recipient is not None
        return said if addresses.index(moment.recipient) >= count else None

    return Rule(Stage.RCPT, decide)


@pytest.mark.parametrize("text", ["452 4.5.3 Too many recipients", "452 Too many recipients", "552 Too many"])
def test_recipients_that_were_too_many_go_at_once_and_cost_no_attempt(text: str) -> None:
    @virtual
    async def check() -> None:
        async with engine({"mx.example.org": Host(at_most(40, text))}) as post:
            await warm(post)
            start = post.clock.now()
            await post.submit(*MANY)
            await post.gone()
            assert post.clock.now() - start < 1
            assert len(post.transport.connections) == 1
            assert recipients(post) == Counter(MANY)
            assert post.attempts(Kind.DEFERRED) == []

    check()


@virtual
async def test_a_peer_that_takes_one_transaction_a_connection_gets_the_rest_over_others() -> None:
    host = Host(at_most(100), closes_after=1)
    async with engine({"mx.example.org": host}) as post:
        start = post.clock.now()
        await post.submit(*MANY)
        await post.gone()
        assert post.clock.now() - start < 1
        assert recipients(post) == Counter(MANY)
        assert post.attempts(Kind.DEFERRED) == []


@virtual
async def test_a_peer_that_says_goodbye_to_the_second_transaction_gets_the_rest_over_others() -> None:
    goodbye = reply("421 4.3.2 One at a time")
    host = Host(Rule(Stage.MAIL, lambda moment: goodbye if moment.connection.transactions else None))
    async with engine({"mx.example.org": host}) as post:
        start = post.clock.now()
        await post.submit(*MANY)
        await post.gone()
        assert post.clock.now() - start < 1
        assert recipients(post) == Counter(MANY)
        assert post.attempts(Kind.DEFERRED) == []


@virtual
async def test_recipients_of_one_message_at_one_host_share_a_transaction() -> None:
    async with engine({"mx.example.org": Host()}) as post:
        await post.submit("b@example.org", "c@example.org", "d@example.org")
        await post.gone()
        (connection,) = post.transport.connections
        ((envelope, _),) = connection.transactions
        assert len(envelope.recipients) == 3
