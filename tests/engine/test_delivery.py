from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from postroad.engine.delivery import died_idle
from postroad.mail.commands import Capabilities
from postroad.mail.outcome import Fault, Kind, Stage, Trouble
from postroad.mail.reply import Reply
from postroad.mail.throttle import Limits
from postroad.mail.transaction import Transaction
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


def goodbye_to_the_second() -> Host:
    said = reply("421 4.3.2 One at a time")
    return Host(Rule(Stage.MAIL, lambda moment: said if moment.connection.transactions else None))


@pytest.mark.parametrize(
    "host",
    [lambda: Host(at_most(100), closes_after=1), goodbye_to_the_second],
    ids=["it closes", "it says goodbye"],
)
def test_a_peer_that_takes_one_transaction_a_connection_gets_the_rest_over_others(
    host: Callable[[], Host],
) -> None:
    @virtual
    async def check() -> None:
        async with engine({"mx.example.org": host()}) as post:
            start = post.clock.now()
            await post.submit(*MANY)
            await post.gone()
            assert post.clock.now() - start < 1
            assert recipients(post) == Counter(MANY)
            assert post.attempts(Kind.DEFERRED) == []

    check()


@virtual
async def test_recipients_of_one_message_at_one_host_share_a_transaction() -> None:
    async with engine({"mx.example.org": Host()}) as post:
        await post.submit("b@example.org", "c@example.org", "d@example.org")
        await post.gone()
        (connection,) = post.transport.connections
        ((envelope, _),) = connection.transactions
        assert len(envelope.recipients) == 3


@pytest.mark.parametrize(
    ("offered", "body", "status"),
    [
        (Capabilities(size=1000, size_offered=True), b"x" * 900, "5.3.4"),
        (Capabilities(), b"Gr\xc3\xbc\xc3\x9fe", "5.6.3"),
    ],
    ids=["too large", "no 8BITMIME"],
)
def test_what_a_peer_cannot_take_fails_without_a_word_on_the_connection_there_is(
    offered: Capabilities, body: bytes, status: str
) -> None:
    @virtual
    async def check() -> None:
        async with engine({"mx.example.org": Host(capabilities=offered)}) as post:
            await warm(post)
            await post.submit("b@example.org", sender="", body=body + b"\r\n")
            await post.gone()
            await warm(post)
            assert [tried.attempt.outcomes[0].status for tried in post.attempts(Kind.FAILED)] == [status]
            (connection,) = post.transport.connections
            assert len(connection.transactions) == 2

    check()


OK = Reply(250, ("Ok",))


@pytest.mark.parametrize(
    ("transaction", "died"),
    [
        (Transaction(Reply(421, ("Timeout",)), (None,)), True),
        (Transaction(None, (None,), trouble=Trouble(Stage.MAIL, Fault.LOST, "closed")), True),
        (Transaction(None, (None,), trouble=Trouble(Stage.MAIL, Fault.SIZE, "too large")), False),
        (Transaction(Reply(450, ("No",)), (None,)), False),
        (Transaction(None, (None,), trouble=Trouble(Stage.DATA, Fault.LOST, "closed")), False),
        (Transaction(OK, (OK,), dot=OK), False),
    ],
)
def test_a_goodbye_to_mail_is_how_an_idle_session_ends(transaction: Transaction, died: bool) -> None:
    assert died_idle(transaction) is died
