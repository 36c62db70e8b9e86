"""How sessions begin with real peers: connecting, greeting, EHLO."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from postroad.adapters.smtp import SmtpTransport
from postroad.adapters.smtp_connect import Offer, offer
from postroad.adapters.smtp_session import Timeouts
from postroad.mail.commands import Capabilities
from postroad.mail.outcome import Fault, Stage, Trouble
from postroad.mail.reply import Reply
from postroad.mail.routing import Endpoint
from postroad.ports.transport import ConnectFailed
from tests.support.connecting import NONE, connected, failure, saying, trouble
from tests.support.scripted_smtp import Peer, ScriptedSmtp, accepting
from tests.support.transacting import SHORT, STORED, envelope
from tests.support.witnesses import Told

# --- connecting and greeting -----------------------------------------------------


async def test_a_port_where_nobody_listens_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(ConnectFailed) as failed:
        async with SmtpTransport("c").connect(Endpoint("mx", "127.0.0.1", port), NONE, None):
            pass
    assert trouble(failed.value) == (Stage.CONNECT, Fault.REFUSED)


async def test_an_address_without_a_way_to_it_is_unreachable() -> None:
    with pytest.raises(ConnectFailed) as failed:
        async with SmtpTransport("c").connect(Endpoint("mx", "255.255.255.255", 25), NONE, None):
            pass
    assert failed.value.stage is Stage.CONNECT
    assert isinstance(failed.value.what, Trouble)
    assert failed.value.what.fault in (Fault.UNREACHABLE, Fault.REFUSED)


@contextmanager
def never_accepting() -> Iterator[Endpoint]:
    """A full backlog answers no SYN."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield Endpoint("mx", *listening.getsockname())


@pytest.mark.parametrize(
    ("timeouts", "hurried"), [(SHORT, False), (Timeouts(hurried=0.2, greeting=0.2), True)]
)
async def test_a_host_that_never_accepts_is_a_timeout(timeouts: Timeouts, hurried: bool) -> None:
    with never_accepting() as endpoint, pytest.raises(ConnectFailed) as failed:
        async with SmtpTransport("c", timeouts=timeouts).connect(endpoint, NONE, None, hurried=hurried):
            pass
    # Where the kernel accepts more than asked for, it is the greeting that does not come.
    assert isinstance(failed.value.what, Trouble)
    assert failed.value.what.fault is Fault.TIMEOUT


async def test_it_connects_from_the_source_address_where_the_family_fits() -> None:
    for source, seen in (("127.0.0.2", "127.0.0.2"), ("::1", "127.0.0.1")):
        async with ScriptedSmtp(accepting()) as server:
            transport = SmtpTransport("c", source_address=source)
            async with transport.connect(Endpoint("mx", "127.0.0.1", server.port), NONE, None):
                assert server.peers[0].address == seen


@pytest.mark.parametrize("line", ["421 4.3.2 Too busy", "450 Later", "554 5.7.1 Go away"])
async def test_a_refusing_greeting_is_told_as_the_reply_it_is(line: str) -> None:
    failed = await failure(saying(line))
    assert failed.stage is Stage.GREETING
    assert isinstance(failed.what, Reply)
    assert str(failed.what) == line


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "354 Go on",
        "799 What",
        "220-a\r\n554 b",
        "220 ready\r\n250 and more",
        "220 ready\r\n250-and",
        "220-" + "a" * 5000,
        "\r\n".join(["220-banner"] * 200),
        "HTTP/1.1 400 Bad Request",
        "220 \x1b[31mready\x07\r\n220 twice",
    ],
)
async def test_a_greeting_that_is_none_or_too_much_is_a_protocol_violation(line: str) -> None:
    assert trouble(await failure(saying(line))) == (Stage.GREETING, Fault.PROTOCOL)


async def test_a_peer_that_closes_without_a_word_is_lost() -> None:
    async def script(peer: Peer) -> None:
        pass

    assert trouble(await failure(script)) == (Stage.GREETING, Fault.LOST)


async def test_a_peer_that_says_nothing_is_a_timeout() -> None:
    short = Timeouts(greeting=0.1)
    assert trouble(await failure(saying(), timeouts=short)) == (Stage.GREETING, Fault.TIMEOUT)


async def test_an_endless_banner_is_cut_off() -> None:
    async def script(peer: Peer) -> None:
        while not peer.gone:
            peer.raw(b"a" * 65536)
            await peer.flush()
            await asyncio.sleep(0)

    assert trouble(await failure(script)) == (Stage.GREETING, Fault.PROTOCOL)


# --- EHLO --------------------------------------------------------------------------


async def test_helo_is_said_where_ehlo_is_not_known() -> None:
    async def script(peer: Peer) -> None:
        await peer.play(
            "S: 220 mx\nC: EHLO client.example.com\nS: 502 What?\nC: HELO client.example.com\nS: 250 mx"
        )
        assert await peer.take_mail() is not None
        await peer.closed()

    async with connected(script) as (session, _):
        assert session.capabilities == Capabilities()
        result = await session.send(envelope(), STORED, 100, False, Told())
        assert result.dot is not None


@pytest.mark.parametrize("line", ["421 4.3.2 Closing", "450 4.7.0 Later", "550 5.7.1 Never", "554 No"])
async def test_a_refused_ehlo_is_told_as_the_reply_it_is_and_quit_follows(line: str) -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.play(f"S: 220 mx\nC: EHLO\nS: {line}")
        heard.append(await peer.closed())

    failed = await failure(script)
    assert failed.stage is Stage.EHLO
    assert str(failed.what) == line
    assert heard == [b"QUIT\r\n"]


OFFERS = [
    (("mx",), Offer(Capabilities())),
    (("mx", "PIPELINING", "8BITMIME"), Offer(Capabilities(pipelining=True, eight_bit=True))),
    (("mx", "pipelining", "smtputf8", "dsn"), Offer(Capabilities(pipelining=True, smtputf8=True, dsn=True))),
    (("mx", "SIZE 1000"), Offer(Capabilities(size=1000, size_offered=True))),
    (("mx", "SIZE"), Offer(Capabilities(size_offered=True))),
    (("mx", "SIZE 0"), Offer(Capabilities(size_offered=True))),
    (("mx", "SIZE -5"), Offer(Capabilities(size_offered=True))),
    (("mx", "SIZE " + "9" * 500), Offer(Capabilities(size_offered=True))),
    (("mx", "SIZE ²"), Offer(Capabilities(size_offered=True))),
    (
        ("mx", "LIMITS RCPTMAX=10 MAILMAX=5 RCPTDOMAINMAX=1"),
        Offer(Capabilities(rcpt_max=10, mail_max=5, rcpt_domain_max=1)),
    ),
    (("mx", "LIMITS RCPTMAX=many MAILMAX"), Offer(Capabilities())),
    (("mx", "STARTTLS", "AUTH PLAIN login"), Offer(Capabilities(), True, ("PLAIN", "LOGIN"))),
    (("PIPELINING",), Offer(Capabilities())),
]


@pytest.mark.parametrize(("lines", "expected"), OFFERS)
def test_what_ehlo_offers_is_read_and_what_it_garbles_is_not(lines: tuple[str, ...], expected: Offer) -> None:
    assert offer(Reply(250, lines)) == expected
