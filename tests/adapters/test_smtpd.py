"""Listeners, limits and the way doors close."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from postroad.adapters.smtpd import Doors
from postroad.adapters.smtpd_auth import Logins
from postroad.adapters.smtpd_listen import BindError
from postroad.adapters.smtpd_tls import TlsError, server_context
from postroad.config.model import Listener, SubmissionConfig, TlsConfig
from postroad.engine.rights import Rights
from postroad.mail.account import AccountPolicies
from postroad.mail.events import Refused, SessionEnded
from tests.support.door import (
    Client,
    EventList,
    FakeAccounts,
    FakeIntake,
    StillClock,
    authority,
    client,
    client_tls,
    house,
    server_tls,
)
from tests.support.memory_spool import MemorySpool

ENVELOPE = b"HELO c\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n"
MESSAGE = b"Subject: s\r\n\r\nhi\r\n.\r\n"


def doors(*listeners: Listener) -> Doors:
    return Doors(
        listeners,
        SubmissionConfig(),
        hostname="mail.example.com",
        tls=server_tls,
        intake=FakeIntake(),
        logins=Logins(FakeAccounts()),
        events=EventList(),
        clock=StillClock(),
        spool=MemorySpool(),
        new_id=lambda now: "000000000001",
        rights=Rights(AccountPolicies(), "example.com", StillClock()),
    )


async def into_data(one: Client) -> None:
    """Up to and including the 354."""
    await one.reply()
    one.send(ENVELOPE)
    assert [(await one.reply())[:3] for _ in range(4)] == ["250", "250", "250", "354"]


async def test_every_listener_is_bound_and_told() -> None:
    several = doors(*(Listener("127.0.0.1", 0, tls) for tls in ("starttls", "implicit", "off")))
    await several.start()
    assert len(set(several.addresses)) == 3
    assert all(address.startswith("127.0.0.1:") for address in several.addresses)
    several.close()
    await several.wait_closed()


@pytest.mark.parametrize("tls", ["off", "implicit"])
async def test_an_address_that_is_taken_is_named_with_the_cause(tls: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BindError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
            await doors(Listener("127.0.0.1", 0), Listener("127.0.0.1", port, tls)).start()


async def test_a_name_that_is_none_is_a_bind_error() -> None:
    with pytest.raises(BindError, match=r"cannot listen on no\.such\.host\.invalid:25"):
        await doors(Listener("no.such.host.invalid", 25)).start()


async def test_a_passed_socket_is_used_for_its_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        port = passed.getsockname()[1]
        one = doors(Listener("127.0.0.1", port, "off"))
        await one.start([("unknown", passed.dup())])
        assert one.addresses == (f"127.0.0.1:{port}",)
        one.close()
        await one.wait_closed()


async def test_too_many_connections_from_one_address_are_turned_away() -> None:
    config = SubmissionConfig(max_connections_per_address=1)
    async with house(tls="off", config=config) as place, client(place) as first, client(place) as second:
        assert (await first.reply()).startswith("220 ")
        assert await second.reply() == "421 4.7.0 Too many connections from your address"
        assert await second.rest() == b""
        assert [event.stage for event in place.events.of(Refused)] == ["connect"]


async def test_too_many_connections_in_all_are_turned_away() -> None:
    config = SubmissionConfig(max_connections=1)
    async with house(tls="off", config=config) as place, client(place) as first, client(place) as second:
        assert (await first.reply()).startswith("220 ")
        assert await second.reply() == "421 4.3.2 Too many connections, try again later"


async def test_a_connection_that_ended_makes_room() -> None:
    config = SubmissionConfig(max_connections=1)
    async with house(tls="off", config=config) as place:
        for _ in range(3):
            async with client(place) as one:
                assert (await one.reply()).startswith("220 ")
                assert (await one.say("QUIT")).startswith("221 ")
                assert await one.rest() == b""


async def test_unfinished_handshakes_count_as_connections() -> None:
    config = SubmissionConfig(max_connections=1)
    async with house(tls="implicit", config=config) as place, client(place):
        async with client(place, tls=True) as second:
            assert await second.reply() == "421 4.3.2 Too many connections, try again later"
            assert await second.rest() == b""


async def test_a_failed_handshake_makes_room() -> None:
    config = SubmissionConfig(max_connections=1)
    async with house(tls="implicit", config=config) as place:
        async with client(place) as one:
            one.send(b"EHLO plain\r\n")
            await one.rest()
        async with client(place, tls=True) as two:
            assert (await two.reply()).startswith("220 ")


async def test_a_failed_starttls_ends_the_session() -> None:
    async with house() as place, client(place) as one:
        await one.reply()
        assert (await one.say("STARTTLS")).startswith("220 ")
        one.send(b"this is no handshake\r\n")
        await one.rest()
        place.doors.close()
        await place.doors.wait_closed()
        assert [event.how for event in place.events.of(SessionEnded)] == ["error"]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_new_certificate_is_used_from_the_next_connection_on(tls: str) -> None:
    contexts = [server_tls()]
    async with house(tls=tls, context=lambda: contexts[-1]) as place:
        newer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority().issue_cert("new.example").configure_cert(newer)
        contexts.append(newer)
        async with client(place) as one:
            if tls == "starttls":
                await one.reply()
                await one.say("STARTTLS")
            await one.writer.start_tls(client_tls(), server_hostname="new.example")
            assert (await one.say("HELO c"))[:3] in ("220", "250")


async def test_implicit_tls_without_a_certificate_closes() -> None:
    async with house(tls="implicit", context=lambda: None) as place, client(place) as one:
        assert await one.rest() == b""


async def test_close_tells_idle_sessions_and_takes_no_new_ones() -> None:
    async with house(tls="off") as place, client(place) as idle:
        await idle.reply()
        place.doors.close()
        assert await idle.reply() == "421 4.3.2 Shutting down, try again later"
        assert await idle.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", place.port)
        assert [event.how for event in place.events.of(SessionEnded)] == ["closed"]


async def test_close_lets_a_message_come_to_its_end() -> None:
    async with house(tls="off", auth="off") as place, client(place) as one:
        await into_data(one)
        place.doors.close()
        assert (await one.say(MESSAGE)).startswith("250 2.0.0 ")
        assert await one.reply() == "421 4.3.2 Shutting down, try again later"
        assert len(place.intake.submissions) == 1


async def test_close_does_not_wait_for_ever_for_a_message() -> None:
    async with house(tls="off", auth="off", drain_seconds=0.01) as place, client(place) as one:
        await into_data(one)
        place.doors.close()
        await place.doors.wait_closed()
        assert await one.reply() == "421 4.3.2 Shutting down, try again later"
        assert place.intake.submissions == []


async def test_close_waits_for_a_commit_whatever_the_limit() -> None:
    gate = asyncio.Event()
    intake = FakeIntake(gate=gate.wait)
    async with house(tls="off", auth="off", drain_seconds=0.0, intake=intake) as place, client(place) as one:
        await into_data(one)
        one.send(MESSAGE)
        await intake.asked.wait()
        place.doors.close()
        closed = asyncio.create_task(place.doors.wait_closed())
        for _ in range(20):
            await asyncio.sleep(0)
        gate.set()
        await closed
        assert len(intake.submissions) == 1


async def test_sessions_are_counted() -> None:
    async with house(tls="off") as place, client(place) as one:
        await one.reply()
        assert place.doors.sessions == 1


@pytest.mark.parametrize("name", ["certificate", "key"])
def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    pair = authority().issue_cert("mail.example.com")
    paths = {"certificate": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    pair.cert_chain_pems[0].write_to_path(paths["certificate"])
    pair.private_key_pem.write_to_path(paths["key"])
    paths[name].write_text("nothing")
    with pytest.raises(TlsError, match=str(paths[name])):
        server_context(TlsConfig(paths["certificate"], paths["key"]))


def test_a_certificate_with_its_key_makes_a_context_of_today(tmp_path: Path) -> None:
    pair = authority().issue_cert("mail.example.com")
    pair.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    context = server_context(TlsConfig(tmp_path / "both.pem"))
    assert context is not None
    assert context.minimum_version.name == "TLSv1_2"


def test_without_a_certificate_there_is_no_tls() -> None:
    assert server_context(TlsConfig()) is None
