"""How sessions come about against real peers: every refusal, every trap, every kind of TLS."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from postroad.adapters.smtp import SmtpTransport
from postroad.adapters.smtp_connect import Offer, offer
from postroad.adapters.smtp_session import Timeouts
from postroad.mail.address import Address
from postroad.mail.commands import Capabilities
from postroad.mail.message import Envelope, EnvelopeRecipient
from postroad.mail.outcome import Fault, Stage, Trouble
from postroad.mail.reply import Reply
from postroad.mail.routing import Endpoint, Route
from postroad.mail.tls import Requirement, TlsLevel
from postroad.ports.transport import ConnectFailed, Session
from tests.support.memory_spool import MemoryStored
from tests.support.scripted_smtp import ALL_OFFERED, Authority, Mail, Peer, Script, ScriptedSmtp, accepting
from tests.support.witnesses import Told

NONE, OPPORTUNISTIC, ENCRYPTED, VERIFIED = map(Requirement, TlsLevel)
SHORT = Timeouts(0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2)
STORED = MemoryStored(b"Subject: hello\r\n\r\n", b"Good morning.\r\n", False)
ENVELOPE = Envelope(None, (EnvelopeRecipient(Address("b", "example.org")),))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def ca_file(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.ca.cert_pem.write_to_path(str(path))
    return path


@asynccontextmanager
async def connected(
    script: Script,
    tls: Requirement = OPPORTUNISTIC,
    route: Route | None = None,
    *,
    plaintext: bool = False,
    ca_file: Path | None = None,
    timeouts: Timeouts | None = None,
    host: str = "mx.example.org",
) -> AsyncIterator[tuple[Session, ScriptedSmtp]]:
    async with ScriptedSmtp(script) as server:
        transport = SmtpTransport("client.example.com", ca_file, timeouts=timeouts)
        endpoint = Endpoint(host, "127.0.0.1", server.port)
        async with transport.connect(endpoint, tls, route, plaintext=plaintext) as session:
            yield session, server


async def failure(script: Script, *args: Requirement | Route, **kwargs: object) -> ConnectFailed:
    """What connecting to this script raises."""
    with pytest.raises(ConnectFailed) as failed:
        async with connected(script, *args, **kwargs):  # type: ignore[arg-type]
            pass
    assert failed.value.stage is getattr(failed.value.what, "stage", failed.value.stage)
    return failed.value


def trouble(failed: ConnectFailed) -> tuple[Stage, Fault]:
    assert isinstance(failed.what, Trouble), failed.what
    assert failed.what.text.isprintable()
    return failed.what.stage, failed.what.fault


def saying(*lines: str) -> Script:
    """Greets with these lines and then listens."""

    async def script(peer: Peer) -> None:
        peer.say(*lines)
        await peer.closed()

    return script


def over_tls(context: ssl.SSLContext, then: Script) -> Script:
    """Offers STARTTLS and follows `then` inside, EHLO first."""

    async def script(peer: Peer) -> None:
        await peer.greet("STARTTLS", "PIPELINING")
        await peer.expect("STARTTLS")
        peer.say("220 Go ahead")
        await peer.start_tls(context)
        await then(peer)

    return script


def serving(*offered: str, into: list[Mail] | None = None) -> Script:
    """EHLO and messages, without a greeting."""

    async def script(peer: Peer) -> None:
        await peer.hello(*offered)
        while (mail := await peer.take_mail()) is not None:
            if into is not None:
                into.append(mail)

    return script


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


async def test_a_host_that_never_accepts_is_a_timeout() -> None:
    # A full backlog answers no SYN.
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        endpoint = Endpoint("mx", *listening.getsockname())
        with pytest.raises(ConnectFailed) as failed:
            async with SmtpTransport("c", timeouts=SHORT).connect(endpoint, NONE, None):
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
    assert trouble(await failure(saying(), timeouts=SHORT)) == (Stage.GREETING, Fault.TIMEOUT)


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
        result = await session.send(ENVELOPE, STORED, 100, False, Told())
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
        Offer(Capabilities(rcpt_max=10, mail_max=5)),
    ),
    (("mx", "LIMITS RCPTMAX=many MAILMAX"), Offer(Capabilities())),
    (("mx", "STARTTLS", "AUTH PLAIN login"), Offer(Capabilities(), True, ("PLAIN", "LOGIN"))),
    (("PIPELINING",), Offer(Capabilities())),
]


@pytest.mark.parametrize(("lines", "expected"), OFFERS)
def test_what_ehlo_offers_is_read_and_what_it_garbles_is_not(lines: tuple[str, ...], expected: Offer) -> None:
    assert offer(Reply(250, lines)) == expected


# --- TLS -----------------------------------------------------------------------------


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("tls", [NONE, OPPORTUNISTIC, ENCRYPTED, VERIFIED], ids=lambda tls: str(tls.level))
def test_mail_goes_over_every_kind_of_session(
    tls: Requirement, runner: Callable[..., None], authority: Authority, ca_file: Path
) -> None:
    mails: list[Mail] = []
    inside = serving(*ALL_OFFERED, into=mails)
    plain = accepting("STARTTLS", *ALL_OFFERED, into=mails)
    script = plain if tls is NONE else over_tls(authority.server("mx.example.org"), inside)

    async def main() -> None:
        async with connected(script, tls, ca_file=ca_file) as (session, _):
            assert (session.tls is not None) == (tls is not NONE)
            assert session.capabilities.dsn
            if session.tls is not None:
                assert session.tls.version == "TLSv1.3"
                assert session.tls.verified == (tls is VERIFIED)
            for body in (b"small\r\n", b"large\r\n" * 100_000):
                result = await session.send(
                    ENVELOPE, MemoryStored(b"A: b\r\n\r\n", body, False), 1000, False, Told()
                )
                assert result.dot is not None
                assert result.dot.code == 250

    runner(main())
    assert [len(mail.content) for mail in mails] == [8 + 7, 8 + 700_000]


async def test_what_was_offered_before_tls_is_forgotten(authority: Authority) -> None:
    async with connected(over_tls(authority.server("mx.example.org"), serving("8BITMIME"))) as (session, _):
        assert session.capabilities == Capabilities(eight_bit=True)


async def test_opportunistic_takes_any_certificate_and_plain_text_where_tls_is_not_offered(
    authority: Authority,
) -> None:
    async with connected(over_tls(authority.server("other.example"), serving())) as (session, _):
        assert session.tls is not None
    async with connected(accepting()) as (session, _):
        assert session.tls is None


async def test_plaintext_skips_an_offered_starttls_only_at_the_opportunistic_level(
    authority: Authority,
) -> None:
    async with connected(accepting("STARTTLS"), plaintext=True) as (session, _):
        assert session.tls is None
    script = over_tls(authority.server("mx.example.org"), serving())
    async with connected(script, ENCRYPTED, plaintext=True) as (session, _):
        assert session.tls is not None


@pytest.mark.parametrize("tls", [ENCRYPTED, VERIFIED], ids=lambda tls: str(tls.level))
async def test_required_tls_that_is_not_offered_ends_with_quit_and_without_mail(tls: Requirement) -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        heard.append(await peer.closed())

    assert trouble(await failure(script, tls)) == (Stage.STARTTLS, Fault.TLS_MISSING)
    assert heard == [b"QUIT\r\n"]


@pytest.mark.parametrize("name", ["other.example", "sub.mx.example.org", "*.mx.example.org"])
async def test_verified_refuses_a_certificate_of_another_name(
    name: str, authority: Authority, ca_file: Path
) -> None:
    failed = await failure(over_tls(authority.server(name), serving()), VERIFIED, ca_file=ca_file)
    assert trouble(failed) == (Stage.STARTTLS, Fault.TLS)
    assert "mx.example.org" in str(failed)


async def test_verified_refuses_a_certificate_of_an_unknown_authority(ca_file: Path) -> None:
    stranger = Authority().server("mx.example.org")
    failed = await failure(over_tls(stranger, serving()), VERIFIED, ca_file=ca_file)
    assert trouble(failed) == (Stage.STARTTLS, Fault.TLS)


async def test_verified_checks_the_address_where_the_host_is_one(authority: Authority, ca_file: Path) -> None:
    script = over_tls(authority.server("127.0.0.1"), serving())
    async with connected(script, VERIFIED, ca_file=ca_file, host="127.0.0.1") as (session, _):
        assert session.tls is not None


@pytest.mark.parametrize("line", ["454 4.7.0 TLS not available", "501 No", "421 4.3.2 Closing"])
@pytest.mark.parametrize("tls", [OPPORTUNISTIC, ENCRYPTED], ids=lambda tls: str(tls.level))
async def test_a_refused_starttls_is_told_as_the_reply_it_is(tls: Requirement, line: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("STARTTLS")
        await peer.play(f"C: STARTTLS\nS: {line}")
        await peer.closed()

    failed = await failure(script, tls)
    assert failed.stage is Stage.STARTTLS
    assert str(failed.what) == line


@pytest.mark.parametrize("injected", ["250 injected\r\n", "250-mx\r\n250 AUTH PLAIN\r\n", "2", "junk\r\n"])
async def test_octets_in_one_packet_with_the_220_to_starttls_abort_the_session(
    injected: str, authority: Authority
) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("STARTTLS")
        await peer.expect("STARTTLS")
        peer.raw(b"220 Go ahead\r\n" + injected.encode())
        assert b"MAIL" not in await peer.closed()

    assert trouble(await failure(script)) == (Stage.STARTTLS, Fault.PROTOCOL)


@pytest.mark.parametrize("answer", [b"this is no handshake at all\r\n", b""])
async def test_a_broken_handshake_is_a_tls_fault(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("STARTTLS")
        await peer.play("C: STARTTLS\nS: 220 Go ahead")
        await peer.some()
        peer.raw(answer)

    assert trouble(await failure(script)) == (Stage.STARTTLS, Fault.TLS)


async def test_a_handshake_that_is_never_answered_is_a_tls_fault() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("STARTTLS")
        await peer.play("C: STARTTLS\nS: 220 Go ahead")
        await peer.closed()

    assert trouble(await failure(script, timeouts=SHORT)) == (Stage.STARTTLS, Fault.TLS)


async def test_a_peer_older_than_tls_1_2_is_not_talked_to() -> None:
    context = Authority().server("mx.example.org")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    assert trouble(await failure(over_tls(context, serving()))) == (Stage.STARTTLS, Fault.TLS)


async def test_two_replies_to_ehlo_are_a_violation_inside_tls_too(authority: Authority) -> None:
    async def inside(peer: Peer) -> None:
        await peer.expect("EHLO")
        peer.say("250 mx", "250 mx")
        await peer.closed()

    script = over_tls(authority.server("mx.example.org"), inside)
    assert trouble(await failure(script)) == (Stage.EHLO, Fault.PROTOCOL)


# --- AUTH ------------------------------------------------------------------------------

ROUTE = Route("relay", username="user", password="secret")
PLAIN = base64.b64encode(b"\0user\0secret").decode()


@pytest.mark.parametrize(
    ("offered", "dialogue"),
    [
        ("AUTH PLAIN LOGIN", f"C: AUTH PLAIN {PLAIN}\nS: 235 Welcome"),
        ("AUTH LOGIN", "C: AUTH LOGIN dXNlcg==\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nS: 235 Welcome"),
        ("AUTH CRAM-MD5", "C: AUTH CRAM-MD5\nS: 334 PDE+\nC: dXNlci\nS: 235 Welcome"),
        ("auth plain", f"C: AUTH PLAIN {PLAIN}\nS: 235 Welcome"),
    ],
)
async def test_the_best_known_mechanism_logs_in(offered: str, dialogue: str, authority: Authority) -> None:
    async def inside(peer: Peer) -> None:
        await peer.hello(offered)
        await peer.play(dialogue)
        await peer.expect("QUIT")

    script = over_tls(authority.server("mx.example.org"), inside)
    async with connected(script, ENCRYPTED, ROUTE) as (session, _):
        assert session.usable


@pytest.mark.parametrize("line", ["535 5.7.8 Wrong", "454 4.7.0 Later", "421 4.3.2 Closing"])
async def test_a_refused_login_is_told_as_the_reply_it_is(line: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("AUTH PLAIN")
        await peer.play(f"C: AUTH PLAIN\nS: {line}")
        assert await peer.closed() == b"QUIT\r\n"

    failed = await failure(script, NONE, ROUTE)
    assert failed.stage is Stage.AUTH
    assert str(failed.what) == line


@pytest.mark.parametrize("dialogue", ["C: AUTH PLAIN\nS: 334 more", "C: AUTH PLAIN\nS: 235-a\nS: 535 b"])
async def test_an_answer_to_auth_that_is_none_is_a_violation(dialogue: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("AUTH PLAIN")
        await peer.play(dialogue)
        await peer.closed()

    assert trouble(await failure(script, NONE, ROUTE)) == (Stage.AUTH, Fault.PROTOCOL)


@pytest.mark.parametrize("offered", ["PIPELINING", "AUTH GSSAPI", "AUTH"])
async def test_without_a_known_mechanism_there_is_no_session(offered: str) -> None:
    failed = await failure(accepting(offered), NONE, ROUTE)
    assert trouble(failed) == (Stage.AUTH, Fault.NO_AUTH)


async def test_a_password_never_goes_in_clear_where_tls_was_wished_for() -> None:
    async with ScriptedSmtp(accepting("AUTH PLAIN")) as server:
        endpoint = Endpoint("mx", "127.0.0.1", server.port)
        with pytest.raises(ConnectFailed) as failed:
            async with SmtpTransport("c").connect(endpoint, OPPORTUNISTIC, ROUTE):
                pass
    assert trouble(failed.value) == (Stage.AUTH, Fault.NO_AUTH)
    assert not any("AUTH" in line for line in server.peers[0].said)


async def test_a_route_without_a_user_does_not_log_in() -> None:
    async with connected(accepting("AUTH PLAIN"), NONE, Route("relay")) as (session, server):
        assert session.usable
        assert [line[:4] for line in server.peers[0].said] == ["EHLO"]
