"""A door behind a balancer that speaks the PROXY protocol."""

from __future__ import annotations

import asyncio
import os
import struct
from ipaddress import ip_network

import pytest

from postroad.config.model import Listener, SubmissionConfig
from postroad.mail.events import LoggedIn, Refused
from postroad.mail.proxy import SIGNATURE
from tests.support.door import client, client_tls, house, send

HERE = ip_network("127.0.0.1/32")
ELSEWHERE = ip_network("192.0.2.0/24")
TCP4 = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 587\r\n"
NEAR = b"PROXY TCP4 127.0.0.9 198.51.100.1 40000 587\r\n"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


def balanced(tls: str = "off", auth: str = "off", **words: object) -> Listener:
    return Listener("127.0.0.1", 0, tls, auth, proxy=(HERE,), **words)  # type: ignore[arg-type]


async def test_the_client_is_the_one_that_the_balancer_names() -> None:
    async with house(listener=balanced()) as place, client(place) as one:
        one.send(TCP4 + b"EHLO c\r\n")
        assert (await one.reply()).startswith("220 ")
        await one.reply()
        assert await one.say("MAIL FROM:<a@x.example>") == "550 5.7.1 Relaying denied"
        (refused,) = place.events.of(Refused)
        assert (refused.peer.address, refused.peer.port) == ("192.0.2.7", 40000)


@pytest.mark.parametrize("header", [NEAR, LOCAL, b"PROXY UNKNOWN\r\n"], ids=["named", "local", "unknown"])
async def test_trust_goes_by_the_address_that_counts(header: bytes) -> None:
    async with house(listener=balanced()) as place, client(place) as one:
        one.send(header)
        await one.reply()
        await one.say("EHLO c")
        assert (await send(one))[-1].startswith("250 ")
        address = "127.0.0.9" if header is NEAR else "127.0.0.1"
        assert place.intake.submissions[0].account == f"net:{address}"
        assert place.intake.submissions[0].peer.address == address


async def test_a_client_without_an_address_is_trusted_by_nobody() -> None:
    async with house(listener=balanced()) as place, client(place) as one:
        one.send(SIGNATURE + b"\x21\x31" + struct.pack(">H", 216) + bytes(216) + b"EHLO c\r\n")
        await one.reply()
        await one.reply()
        assert await one.say("MAIL FROM:<a@x.example>") == "550 5.7.1 Relaying denied"


async def test_a_header_may_come_in_pieces() -> None:
    async with house(listener=balanced()) as place, client(place) as one:
        for piece in (TCP4[:3], TCP4[3:20], TCP4[20:] + b"NO", b"OP\r\n"):
            one.send(piece)
            await asyncio.sleep(0.01)
        assert (await one.reply()).startswith("220 ")
        assert await one.reply() == "250 2.0.0 OK"


async def test_nothing_is_said_before_the_header() -> None:
    async with house(listener=balanced()) as place, client(place) as one:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.reader.read(1), 0.05)
        one.send(TCP4)
        assert (await one.reply()).startswith("220 ")


async def test_a_header_comes_before_the_handshake_of_implicit_tls() -> None:
    async with house(listener=balanced("implicit", "required")) as place, client(place) as one:
        one.send(TCP4)
        await one.writer.start_tls(client_tls(), server_hostname="localhost")
        assert (await one.reply()).startswith("220 ")
        await one.say("EHLO c")
        assert (await one.say("AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=")).startswith("235 ")
        assert place.events.of(LoggedIn)[0].peer.address == "192.0.2.7"


async def test_header_and_handshake_may_come_in_one_go() -> None:
    async with house(listener=balanced("implicit", "required")) as place, client(place) as one:
        raw = one.writer.get_extra_info("socket")
        os.write(raw.fileno(), TCP4)
        await one.writer.start_tls(client_tls(), server_hostname="localhost")
        assert (await one.reply()).startswith("220 ")


async def test_a_client_that_is_no_named_balancer_is_refused() -> None:
    listener = Listener("127.0.0.1", 0, "off", "off", proxy=(ELSEWHERE,))
    async with house(listener=listener) as place, client(place) as one:
        one.send(NEAR)
        assert await one.reply() == "421 4.7.0 Only balancers that are named here may connect"
        assert await one.rest() == b""
        assert [event.peer.address for event in place.events.of(Refused)] == ["127.0.0.1"]
        assert place.doors.sessions == 0


async def test_a_client_that_is_no_named_balancer_gets_no_handshake() -> None:
    listener = Listener("127.0.0.1", 0, "implicit", "required", proxy=(ELSEWHERE,))
    async with house(listener=listener) as place, client(place) as one:
        assert await one.rest() == b""


@pytest.mark.parametrize(
    ("octets", "why"),
    [(b"EHLO c\r\n", "no PROXY header"), (b"PROXY TCP4 x y 1 2\r\n", "an address is not of TCP4")],
)
async def test_a_balancer_that_begins_otherwise_is_told_so(octets: bytes, why: str) -> None:
    async with house(listener=balanced()) as place, client(place) as one:
        one.send(octets)
        assert await one.reply() == f"421 4.7.0 A PROXY header was expected: {why}"
        assert await one.rest() == b""
        assert place.doors.sessions == 0


async def test_half_a_header_is_none() -> None:
    async with house(listener=balanced()) as place, client(place) as one:
        one.send(TCP4[:10])
        one.half_close()
        assert await one.reply() == "421 4.7.0 A PROXY header was expected: closed in the middle of it"


async def test_a_look_whether_the_door_is_there_is_no_event() -> None:
    async with house(listener=balanced()) as place:
        async with client(place) as one:
            one.half_close()
            assert await one.rest() == b""
        assert place.events.seen == []


async def test_a_header_has_its_time() -> None:
    async with house(listener=balanced(proxy_timeout=0.05)) as place, client(place) as one:
        one.send(TCP4[:10])
        assert await one.reply() == "421 4.4.2 Timed out"
        assert await one.rest() == b""
        assert place.doors.sessions == 0


async def test_limits_are_those_of_the_client_and_not_of_its_balancer() -> None:
    config = SubmissionConfig(max_connections_per_address=1)
    async with house(listener=balanced(), config=config) as place:
        async with client(place) as one, client(place) as two, client(place) as three:
            for single, header in ((one, TCP4), (two, NEAR), (three, TCP4)):
                single.send(header)
            assert {(await single.reply())[:3] for single in (one, two, three)} == {"220", "421"}
            assert place.doors.sessions == 2


async def test_connections_that_wait_for_their_header_count_among_all() -> None:
    config = SubmissionConfig(max_connections=1)
    async with house(listener=balanced(), config=config) as place:
        async with client(place) as one, client(place) as two:
            assert await two.reply() == "421 4.3.2 Too many connections, try again later"
            one.send(TCP4)
            assert (await one.reply()).startswith("220 ")


async def test_closing_breaks_off_who_sends_no_header() -> None:
    async with house(listener=balanced()) as place, client(place) as one:
        one.send(TCP4[:5])
        await asyncio.sleep(0.01)
        place.doors.close()
        await place.doors.wait_closed()
        assert await one.rest() == b""


async def test_neighbours_in_a_64_share_a_limit() -> None:
    config = SubmissionConfig(max_connections_per_address=1)
    async with house(listener=balanced(), config=config) as place:
        async with client(place) as one, client(place) as two, client(place) as three:
            one.send(b"PROXY TCP6 2001:db8::1 2001:db8::9 1 2\r\n")
            assert (await one.reply()).startswith("220 ")
            two.send(b"PROXY TCP6 2001:db8::2 2001:db8::9 1 2\r\n")
            assert (await two.reply()).startswith("421 4.7.0 ")
            three.send(b"PROXY TCP6 2001:db8:0:1::1 2001:db8::9 1 2\r\n")
            assert (await three.reply()).startswith("220 ")
