"""Sessions over TLS with real peers: what each level takes, and every trap."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from postroad.mail.commands import Capabilities
from postroad.mail.outcome import Fault, Stage
from postroad.mail.tls import Requirement
from tests.support.connecting import (
    ENCRYPTED,
    NONE,
    OPPORTUNISTIC,
    VERIFIED,
    connected,
    failure,
    over_tls,
    serving,
    trouble,
)
from tests.support.hand_loop import HandLoop, by_hand
from tests.support.memory_spool import MemoryStored
from tests.support.scripted_smtp import ALL_OFFERED, Authority, Mail, Peer, accepting
from tests.support.transacting import envelope
from tests.support.witnesses import Told


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def ca_file(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.ca.cert_pem.write_to_path(str(path))
    return path


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
                    envelope(), MemoryStored(b"A: b\r\n\r\n", body, False), 1000, False, Told()
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


@by_hand
async def test_a_handshake_that_is_never_answered_is_a_tls_fault() -> None:
    begun = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet("STARTTLS")
        await peer.play("C: STARTTLS\nS: 220 Go ahead")
        await peer.some()
        begun.set()
        await peer.closed()

    failing = asyncio.create_task(failure(script))
    await begun.wait()
    assert trouble(await HandLoop.running().until(failing)) == (Stage.STARTTLS, Fault.TLS)


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
