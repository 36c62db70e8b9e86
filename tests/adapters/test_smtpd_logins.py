"""Logins at the real door, beside PLAIN and LOGIN of a known password."""

from __future__ import annotations

import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from postroad.adapters import smtpd_guard
from postroad.adapters.smtpd_auth import Logins
from postroad.adapters.smtpd_guard import LoginGuard
from postroad.adapters.smtpd_tls import server_context
from postroad.config.model import SubmissionConfig, TlsConfig
from postroad.mail.events import LoggedIn, LoginFailed
from postroad.mail.login_limits import LoginLimits
from postroad.mail.scram import verifier
from tests.support.door import Client, FakeAccounts, House, authority, client, house
from tests.support.scram_client import ScramClient

KNOWN = {"alice": verifier(b"wonderland", b"salt", 4096)}
STRANGERS = SubmissionConfig(trusted_networks=(), max_auth_failures=100, max_errors=100)


def encoded(message: bytes) -> str:
    return b64encode(message).decode() or "="


def scram_accounts() -> FakeAccounts:
    return FakeAccounts(verifiers=KNOWN)


@asynccontextmanager
async def greeted(place: House) -> AsyncIterator[Client]:
    async with client(place, tls=True) as one:
        await one.reply()
        await one.say("EHLO c")
        yield one


async def by_scram(one: Client, scram: ScramClient, method: str = "SCRAM-SHA-256") -> str:
    """The last reply of the exchange."""
    said = await one.say(f"AUTH {method} {encoded(scram.first())}")
    if not said.startswith("334 "):
        return said
    said = await one.say(encoded(scram.final(b64decode(said[4:]))))
    if said.startswith("334 "):
        assert scram.believes(b64decode(said[4:]))
        said = await one.say("")
    return said


@pytest.mark.parametrize(
    ("scram", "code"),
    [
        (ScramClient("alice", b"wonderland"), "235"),
        (ScramClient("alice", b"Wonderland"), "535"),
        (ScramClient("nobody", b"wonderland"), "535"),
        (ScramClient("alice", b"wonderland", flag="y"), "235"),
        (ScramClient("alice", b"wonderland", binding=("tls-unique", b"x")), "535"),
    ],
)
async def test_scram_lets_in_who_knows_the_password(scram: ScramClient, code: str) -> None:
    async with house(tls="implicit", accounts=scram_accounts()) as place, greeted(place) as one:
        assert (await by_scram(one, scram))[:3] == code
        assert len(place.events.of(LoggedIn)) == (code == "235")


async def test_scram_is_offered_to_no_avail_never() -> None:
    async with house(tls="implicit") as place, client(place, tls=True) as one:
        await one.reply()
        assert "SCRAM" not in await one.say("EHLO c")
        assert (await by_scram(one, ScramClient("alice", b"wonderland")))[:3] == "504"


async def test_an_unknown_name_sees_the_same_salt_each_time() -> None:
    async with house(tls="implicit", accounts=scram_accounts()) as place, greeted(place) as one:
        salts = set()
        for name in ("nobody", "nobody", "else"):
            said = await one.say(f"AUTH SCRAM-SHA-256 {encoded(ScramClient(name, b'').first())}")
            salts.add(b64decode(said[4:]).split(b",")[1])
            assert (await one.say("*"))[:3] == "501"
        assert len(salts) == 2


@asynccontextmanager
async def bound(
    tmp_path: Path, version: ssl.TLSVersion
) -> AsyncIterator[tuple[Client, ssl.SSLObject, str, bytes]]:
    """A client over TLS of this version, its TLS, what it was offered, the server's certificate."""
    pair = authority().issue_cert("localhost")
    pair.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    context = server_context(TlsConfig(tmp_path / "both.pem"))
    wanted = ssl.create_default_context()
    authority().configure_trust(wanted)
    wanted.maximum_version = version
    async with house(tls="starttls", accounts=scram_accounts(), context=lambda: context) as place:
        async with client(place) as one:
            await one.reply()
            await one.say("EHLO c")
            await one.say("STARTTLS")
            await one.writer.start_tls(wanted, server_hostname="localhost")
            offered = await one.say("EHLO c")
            tls = one.writer.get_extra_info("ssl_object")
            yield one, tls, offered, tls.getpeercert(binary_form=True)


async def test_scram_binds_a_channel_of_tls_1_2(tmp_path: Path) -> None:
    import hashlib

    async with bound(tmp_path, ssl.TLSVersion.TLSv1_2) as (one, tls, offered, certificate):
        assert "AUTH PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS" in offered
        unique = tls.get_channel_binding("tls-unique")
        assert unique is not None
        plus = "SCRAM-SHA-256-PLUS"
        for binding, code in (
            (("tls-unique", unique + b"x"), "535"),
            (("tls-exporter", unique), "535"),
            (("tls-server-end-point", hashlib.sha256(certificate).digest()), "235"),
        ):
            scram = ScramClient("alice", b"wonderland", binding=binding)
            assert (await by_scram(one, scram, plus))[:3] == code


async def test_a_client_that_was_kept_from_binding_is_stopped(tmp_path: Path) -> None:
    async with bound(tmp_path, ssl.TLSVersion.TLSv1_2) as (one, tls, _, _):
        assert (await by_scram(one, ScramClient("alice", b"wonderland", flag="y")))[:3] == "535"
        unique = tls.get_channel_binding("tls-unique")
        assert unique is not None
        scram = ScramClient("alice", b"wonderland", binding=("tls-unique", unique))
        assert (await by_scram(one, scram, "SCRAM-SHA-256-PLUS"))[:3] == "235"


async def test_of_tls_1_3_a_channel_is_bound_where_python_can(tmp_path: Path) -> None:
    async with bound(tmp_path, ssl.TLSVersion.TLSv1_3) as (_, _, offered, _):
        assert ("SCRAM-SHA-256-PLUS" in offered) == ("tls-exporter" in ssl.CHANNEL_BINDING_TYPES)


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (["AUTH PLAIN ="], "535 5.7.8"),
        (["AUTH PLAIN", "="], "501 5.5.2"),
        (["AUTH PLAIN", "*"], "501 5.7.0"),
        (["AUTH PLAIN *"], "501 5.7.0"),
        (["AUTH LOGIN", "YWxpY2U=", "*"], "501 5.7.0"),
        (["AUTH LOGIN", "YWxpY2U"], "501 5.5.2"),
        (["AUTH PLAIN", "A" * 12291], "500 5.5.6"),
        (["AUTH login YWxpY2U=", "d29uZGVybGFuZA=="], "235 2.7.0"),
        (["AUTH PLAIN", "AGFsaWNlAHdvbmRlcmxhbmQ="], "235 2.7.0"),
        (["AUTH PLAIN YWxpY2UAYWxpY2UAd29uZGVybGFuZA=="], "235 2.7.0"),
        (["AUTH CRAM-MD5"], "504 5.5.4"),
        (["AUTH EXTERNAL ="], "504 5.5.4"),
        (["AUTH"], "501 5.5.4"),
        (["AUTH PLAIN a b"], "501 5.5.4"),
    ],
)
async def test_an_exchange_follows_rfc_4954(lines: list[str], reply: str) -> None:
    async with house(tls="implicit", auth="optional") as place, greeted(place) as one:
        *asked, last = [await one.say(line) for line in lines]
        assert all(said.startswith("334 ") for said in asked)
        assert last[:9] == reply
        again = "503 5.5.1" if reply.startswith("235") else "235 2.7.0"
        assert (await one.say("AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ="))[:9] == again


WRONG = "AUTH PLAIN AGFsaWNlAHdyb25n"
RIGHT = "AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ="
BOB = "AUTH PLAIN AGJvYgBidWlsZGVy"


def limited(**limits: int) -> Logins:
    accounts = FakeAccounts(secrets={"alice": b"wonderland", "bob": b"builder"})
    return Logins(accounts, limits=LoginLimits(**limits))


async def test_too_many_failures_of_an_address_are_refused_unchecked() -> None:
    async with house(tls="implicit", logins=limited(per_address=2), config=STRANGERS) as place:
        async with greeted(place) as one:
            said = [(await one.say(line))[:9] for line in (WRONG, WRONG, WRONG, BOB)]
        assert said == ["535 5.7.8", "535 5.7.8", "454 4.7.0", "454 4.7.0"]
        assert [event.reason for event in place.events.of(LoginFailed)] == [
            "wrong",
            "wrong",
            "refused",
            "refused",
        ]


async def test_too_many_failures_on_an_account_leave_others_alone() -> None:
    async with house(tls="implicit", logins=limited(per_account=2), config=STRANGERS) as place:
        async with greeted(place) as one:
            said = [(await one.say(line))[:9] for line in (WRONG, WRONG, RIGHT, BOB)]
        assert said == ["535 5.7.8", "535 5.7.8", "454 4.7.0", "235 2.7.0"]


def test_a_guard_forgets_evenly_and_knows_its_friends() -> None:
    guard = LoginGuard(LoginLimits(per_address=4, per_account=2, memory=100.0), lambda address: False)
    for login in ("alice", "alice", "x", "y"):
        guard.failed("192.0.2.1", login, 0.0)
    assert guard.refuses("192.0.2.1", "z", 0.0)
    assert guard.refuses("192.0.2.9", "alice", 0.0)
    assert not guard.refuses("192.0.2.9", "x", 0.0)
    assert not guard.refuses("192.0.2.1", "z", 26.0)
    guard.succeeded("198.51.100.1", "alice", 0.0)
    assert not guard.refuses("198.51.100.1", "alice", 0.0)
    for _ in range(2):
        guard.failed("198.51.100.1", "alice", 0.0)
    assert guard.refuses("198.51.100.1", "alice", 0.0)
    assert not guard.refuses("198.51.100.1", "alice", 51.0)


def test_a_guard_counts_a_network_of_ipv6_as_one_and_trusted_addresses_not() -> None:
    guard = LoginGuard(LoginLimits(per_address=1), lambda address: address == "127.0.0.1")
    assert guard.failed("2001:db8::1", "a", 0.0) == 1
    assert guard.refuses("2001:db8::2", "b", 0.0)
    assert not guard.refuses("2001:db8:0:1::1", "b", 0.0)
    assert guard.failed("127.0.0.1", "c", 0.0) == 0
    assert not guard.refuses("127.0.0.1", "b", 0.0)


def test_a_guard_has_a_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtpd_guard, "ENTRIES", 3)
    guard = LoginGuard(LoginLimits(per_address=1, per_account=1), lambda address: False)
    for n in range(10):
        guard.failed(f"192.0.2.{n}", f"name{n}", 0.0)
    assert [guard.refuses(f"192.0.2.{n}", "", 0.0) for n in (6, 7, 9)] == [False, True, True]


@pytest.mark.parametrize(
    ("known", "response", "code"),
    [
        (True, "=", "235"),
        (True, encoded(b"robot"), "235"),
        (True, encoded(b"alice"), "535"),
        (False, "=", "504"),
    ],
)
async def test_a_client_certificate_is_a_login(tmp_path: Path, known: bool, response: str, code: str) -> None:
    clients = trustme.CA()
    clients.cert_pem.write_to_path(tmp_path / "clients.pem")
    authority().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    context = server_context(TlsConfig(tmp_path / "both.pem", client_ca=tmp_path / "clients.pem"))
    wanted = ssl.create_default_context()
    authority().configure_trust(wanted)
    clients.issue_cert("robot@example.com").configure_cert(wanted)
    logins = Logins(FakeAccounts(), certificates=lambda der, names: "robot" if known else None)
    async with house(tls="starttls", logins=logins, context=lambda: context) as place, client(place) as one:
        await one.reply()
        await one.say("EHLO c")
        await one.say("STARTTLS")
        await one.writer.start_tls(wanted, server_hostname="localhost")
        assert ("EXTERNAL" in await one.say("EHLO c")) == known
        assert (await one.say(f"AUTH EXTERNAL {response}"))[:3] == code


async def test_without_a_certificate_external_is_not_offered() -> None:
    logins = Logins(certificates=lambda der, names: "robot")
    async with house(tls="implicit", logins=logins) as place, client(place, tls=True) as one:
        await one.reply()
        assert "AUTH" not in await one.say("EHLO c")
