"""What every Transport promises, fake and real: the same peers, the same values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from postroad.adapters.smtp import SmtpTransport
from postroad.mail.address import Address
from postroad.mail.commands import Capabilities
from postroad.mail.message import Envelope, EnvelopeRecipient
from postroad.mail.outcome import Fault, Stage, Trouble
from postroad.mail.reply import Reply
from postroad.mail.routing import Endpoint
from postroad.mail.tls import Requirement, TlsLevel
from postroad.ports.transport import ConnectFailed, Session, Transport
from tests.support.memory_spool import MemoryStored
from tests.support.scripted_network import (
    Host,
    ScriptedTransport,
    busy,
    lost_after_dot,
    refuse,
    say,
)
from tests.support.scripted_smtp import ALL_OFFERED as KEYWORDS
from tests.support.scripted_smtp import Peer, Script, ScriptedSmtp, accepting
from tests.support.witnesses import Told

STORED = MemoryStored(b"Subject: hello\r\n\r\n", b"Good morning.\r\n", False)
OPPORTUNISTIC = Requirement(TlsLevel.OPPORTUNISTIC)


@dataclass
class StillClock:
    def now(self) -> float:
        return 0.0


@dataclass
class World:
    """A host by its name, on either transport."""

    transport: Transport
    ports: dict[str, int] = field(default_factory=dict)

    def endpoint(self, host: str) -> Endpoint:
        return Endpoint(host, "127.0.0.1", self.ports.get(host, 1))


def envelope(*to: str) -> Envelope:
    recipients = tuple(EnvelopeRecipient(Address(local, "example.org")) for local in to or ("b",))
    return Envelope(Address("a", "example.com"), recipients)


async def lost(peer: Peer) -> None:
    await peer.greet(*KEYWORDS)
    await peer.play("C: MAIL\nC: RCPT\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 Go on\nC: .")


async def closing(peer: Peer) -> None:
    await peer.greet(*KEYWORDS)
    await peer.take_mail()


async def too_busy(peer: Peer) -> None:
    peer.say("421 4.3.2 Too many connections")
    await peer.closed()


GREYLIST = "450 4.2.0 Greylisted"
REAL: dict[str, Script] = {
    "usual": accepting(*KEYWORDS),
    "choosy": accepting(*KEYWORDS, replies={"RCPT TO:<c@": "550 5.1.1 No such user here"}),
    "grey": accepting(*KEYWORDS, replies={"RCPT": GREYLIST}),
    "picky": accepting(*KEYWORDS, replies={".": "554 5.7.1 Spam"}),
    "busy": too_busy,
    "lost": lost,
    "closing": closing,
    "small": accepting("PIPELINING", "SIZE 10"),
}
SCRIPTED: dict[str, Host] = {
    "usual": Host(tls=None),
    "choosy": Host(refuse("c@example.org"), tls=None),
    "grey": Host(say(Stage.RCPT, GREYLIST), tls=None),
    "picky": Host(say(Stage.DOT, "554 5.7.1 Spam"), tls=None),
    "busy": Host(busy(0)),
    "lost": Host(lost_after_dot(None), tls=None),
    "closing": Host(closes_after=1, tls=None),
    "small": Host(capabilities=Capabilities(pipelining=True, size=10, size_offered=True), tls=None),
}


@pytest.fixture(params=["scripted", "real"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "scripted":
        yield World(ScriptedTransport(StillClock(), SCRIPTED))
        return
    async with AsyncExitStack() as stack:
        ports = {}
        for host, script in REAL.items():
            server = await stack.enter_async_context(ScriptedSmtp(script))
            ports[host] = server.port
        yield World(SmtpTransport("client.example.com"), ports)


def test_both_worlds_have_the_same_hosts() -> None:
    assert REAL.keys() == SCRIPTED.keys()


async def test_an_accepted_message_has_a_reply_of_every_stage(world: World) -> None:
    async with world.transport.connect(world.endpoint("usual"), OPPORTUNISTIC, None) as session:
        for _ in range(2):
            result = await session.send(envelope("b", "c"), STORED, 33, False, Told())
            replies = [result.mail, *result.rcpts, result.data, result.dot]
            assert [reply and reply.code for reply in replies] == [250, 250, 250, 354, 250]
            assert result.trouble is None
            assert session.usable
        assert session.endpoint == world.endpoint("usual")
        assert session.capabilities.pipelining
        assert session.tls is None


async def test_each_recipient_has_its_own_reply(world: World) -> None:
    async with world.transport.connect(world.endpoint("choosy"), OPPORTUNISTIC, None) as session:
        result = await session.send(envelope("b", "c", "d"), STORED, 33, False, Told())
    assert [reply and str(reply) for reply in result.rcpts] == [
        "250 2.0.0 Ok",
        "550 5.1.1 No such user here",
        "250 2.0.0 Ok",
    ]
    assert result.dot is not None


async def test_when_every_recipient_is_refused_nothing_is_delivered_and_the_session_goes_on(
    world: World,
) -> None:
    async with world.transport.connect(world.endpoint("grey"), OPPORTUNISTIC, None) as session:
        for _ in range(2):
            result = await session.send(envelope(), STORED, 33, False, Told())
            assert result.rcpts == (Reply(450, ("Greylisted",), "4.2.0"),)
            assert (result.dot, result.trouble) == (None, None)
            assert session.usable


async def test_the_reply_to_the_final_dot_may_refuse(world: World) -> None:
    async with world.transport.connect(world.endpoint("picky"), OPPORTUNISTIC, None) as session:
        result = await session.send(envelope(), STORED, 33, False, Told())
        assert result.dot == Reply(554, ("Spam",), "5.7.1")
        assert session.usable


async def test_a_connection_lost_after_the_dot_is_told_as_such(world: World) -> None:
    async with world.transport.connect(world.endpoint("lost"), OPPORTUNISTIC, None) as session:
        result = await session.send(envelope(), STORED, 33, False, Told())
        assert isinstance(result.trouble, Trouble)
        assert (result.trouble.stage, result.trouble.fault) == (Stage.DOT, Fault.LOST)
        assert result.trouble.dot_sent
        assert result.dot is None
        assert not session.usable


async def test_a_session_that_the_host_closes_is_noticed_and_not_usable(world: World) -> None:
    async with world.transport.connect(world.endpoint("closing"), OPPORTUNISTIC, None) as session:
        assert (await session.send(envelope(), STORED, 33, False, Told())).dot is not None
        await session.wait_closed()
        assert not session.usable
        result = await session.send(envelope(), STORED, 33, False, Told())
        assert result.trouble is not None
        assert (result.trouble.stage, result.trouble.fault) == (Stage.MAIL, Fault.LOST)


async def test_a_message_too_large_for_the_host_is_not_sent(world: World) -> None:
    async with world.transport.connect(world.endpoint("small"), OPPORTUNISTIC, None) as session:
        result = await session.send(envelope("b", "c"), STORED, 33, False, Told())
        assert result.trouble is not None
        assert (result.mail, result.rcpts) == (None, (None, None))
        assert (result.trouble.stage, result.trouble.fault) == (Stage.MAIL, Fault.SIZE)
        assert session.usable


@pytest.mark.parametrize(
    ("host", "tls", "stage", "what"),
    [
        ("busy", TlsLevel.NONE, Stage.GREETING, "421 4.3.2 Too many connections"),
        ("nobody", TlsLevel.NONE, Stage.CONNECT, Fault.REFUSED),
        ("usual", TlsLevel.ENCRYPTED, Stage.STARTTLS, Fault.TLS_MISSING),
        ("usual", TlsLevel.VERIFIED, Stage.STARTTLS, Fault.TLS_MISSING),
    ],
)
async def test_where_no_session_can_be_had_the_stage_and_the_reply_or_fault_are_told(
    world: World, host: str, tls: TlsLevel, stage: Stage, what: str | Fault
) -> None:
    with pytest.raises(ConnectFailed) as failed:
        async with world.transport.connect(world.endpoint(host), Requirement(tls), None):
            pass
    assert failed.value.stage is stage
    found = failed.value.what
    assert (str(found) if isinstance(found, Reply) else found.fault) == what


async def test_what_is_raised_inside_the_block_passes_and_the_session_ends(world: World) -> None:
    kept: list[Session] = []

    async def broken() -> None:
        async with world.transport.connect(world.endpoint("usual"), OPPORTUNISTIC, None) as session:
            kept.append(session)
            raise KeyError

    with pytest.raises(KeyError):
        await broken()
    await kept[0].wait_closed()
    assert not kept[0].usable


@pytest.mark.parametrize(
    ("host", "to", "told"),
    [
        ("usual", "bcd", ["leaves", ("taken",)]),
        ("choosy", "bcd", ["leaves", ("taken", 1)]),
        ("choosy", "c", []),
        ("grey", "b", []),
        ("picky", "b", ["leaves"]),
        ("lost", "b", ["leaves"]),
        ("small", "b", []),
    ],
)
async def test_the_witness_hears_of_the_end_before_it_leaves_and_of_who_is_delivered(
    world: World, host: str, to: str, told: list[object]
) -> None:
    witness = Told()
    async with world.transport.connect(world.endpoint(host), OPPORTUNISTIC, None) as session:
        await session.send(envelope(*to), STORED, 33, False, witness)
    assert witness.words == told
