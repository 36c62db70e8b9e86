"""The other doors: behind a balancer, for a named host, on Unix sockets, in LMTP, passed by systemd, IPv6."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from ipaddress import ip_network
from pathlib import Path

import pytest

from postroad.adapters.smtpd_listen import BindError, SocketMismatch
from postroad.config.model import Listener, SubmissionConfig
from postroad.mail.account import AccountPolicies, AccountPolicy
from postroad.mail.events import InternalError, LoggedIn, Refused, SessionEnded
from postroad.mail.proxy import SIGNATURE
from tests.support.door import Client, FakeIntake, House, client, client_tls, house

HERE = ip_network("127.0.0.1/32")
ELSEWHERE = ip_network("192.0.2.0/24")
TCP4 = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 587\r\n"
NEAR = b"PROXY TCP4 127.0.0.9 198.51.100.1 40000 587\r\n"
MAIL = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n"
MESSAGE = b"Subject: s\r\n\r\nhi\r\n.\r\n"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


def balanced(tls: str = "off", auth: str = "off", **words: object) -> Listener:
    return Listener("127.0.0.1", 0, tls, auth, proxy=(HERE,), **words)  # type: ignore[arg-type]


def relayed(**words: object) -> Listener:
    return Listener("127.0.0.1", 0, "off", "off", xclient=(HERE,), **words)  # type: ignore[arg-type]


async def send(one: Client) -> list[str]:
    """A whole message after the greeting; the replies to MAIL, RCPT, DATA and the dot."""
    one.send(MAIL)
    said = [await one.reply() for _ in range(3)]
    return said if not said[2].startswith("354") else [*said, await one.say(MESSAGE)]


# --- PROXY ---


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


# --- XCLIENT ---


async def greeted(place: House, one: Client) -> str:
    await one.reply()
    return await one.say("EHLO relay")


async def test_xclient_is_offered_to_named_hosts_alone() -> None:
    async with house(listener=relayed()) as place, client(place) as one:
        words = (await greeted(place, one)).split("\n")
        assert "250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT" in words
    stranger = Listener("127.0.0.1", 0, "off", "off", xclient=(ELSEWHERE,))
    for listener in (stranger, Listener("127.0.0.1", 0, "off", "off")):
        async with house(listener=listener) as place, client(place) as one:
            assert "XCLIENT" not in await greeted(place, one)
            assert await one.say("XCLIENT ADDR=127.0.0.9") == "502 5.5.1 Not offered"


async def test_a_named_host_says_for_whom_it_speaks_and_the_session_begins_again() -> None:
    async with house(listener=relayed()) as place, client(place) as one:
        await greeted(place, one)
        assert (await one.say("XCLIENT ADDR=192.0.2.7 PORT=40000 NAME=c.example")).startswith("220 ")
        assert await one.say("MAIL FROM:<a@x.example>") == "503 5.5.1 Send EHLO first"
        await one.say("EHLO c.example")
        assert await one.say("MAIL FROM:<a@x.example>") == "550 5.7.1 Relaying denied"
        peer = place.events.of(Refused)[-1].peer
        assert (peer.address, peer.port, peer.helo) == ("192.0.2.7", 40000, "c.example")


async def test_who_may_say_xclient_is_not_changed_by_it() -> None:
    async with house(listener=relayed()) as place, client(place) as one:
        await greeted(place, one)
        await one.say("XCLIENT ADDR=192.0.2.7")
        assert "XCLIENT" in await one.say("EHLO c")
        assert (await one.say("XCLIENT ADDR=127.0.0.9 PROTO=SMTP")).startswith("220 ")
        await one.say("HELO c")
        assert (await send(one))[-1].startswith("250 ")
        assert place.intake.submissions[0].account == "net:127.0.0.9"


async def test_a_login_comes_along_and_goes_with_the_next_client() -> None:
    async with house(listener=relayed()) as place, client(place) as one:
        await greeted(place, one)
        await one.say("XCLIENT LOGIN=alice ADDR=192.0.2.7 PROTO=ESMTP HELO=c.example")
        await one.say("HELO c.example")
        assert (await send(one))[-1].startswith("250 ")
        await one.say("XCLIENT LOGIN=[UNAVAILABLE]")
        await one.say("EHLO c")
        assert await one.say("MAIL FROM:<a@x.example>") == "550 5.7.1 Relaying denied"
        (queued,) = place.intake.submissions
        assert (queued.account, queued.peer.method, queued.peer.protocol) == ("alice", "XCLIENT", "ESMTP")


async def test_a_login_that_comes_along_is_one_that_may_send() -> None:
    policies = AccountPolicies(tables={"alice": AccountPolicy(enabled=False)})
    for given, name, reply in (
        (AccountPolicies(), "mallory", "535 5.7.8 LOGIN names no account that is known here"),
        (policies, "alice", "550 5.7.13 LOGIN names an account that is disabled"),
    ):
        async with house(listener=relayed(), policies=given) as place, client(place) as one:
            await greeted(place, one)
            assert await one.say(f"XCLIENT LOGIN={name} ADDR=192.0.2.7") == reply
            assert (await send(one))[-1].startswith("250 ")
            assert place.intake.submissions[0].account == "net:127.0.0.1"


async def test_a_login_that_comes_along_is_one_of_the_connections_of_its_account() -> None:
    policies = AccountPolicies(AccountPolicy(max_connections=1))
    async with house(listener=relayed(), policies=policies) as place:
        async with client(place) as one, client(place) as two:
            for single in (one, two):
                await greeted(place, single)
            assert (await one.say("XCLIENT LOGIN=alice")).startswith("220 ")
            said = await two.say("XCLIENT LOGIN=alice")
            assert said == "421 4.7.0 Too many connections of your account"


async def test_the_name_that_a_named_host_says_goes_with_the_message_until_the_next_client() -> None:
    async with house(listener=relayed()) as place, client(place) as one:
        await greeted(place, one)
        await one.say("XCLIENT NAME=c.example ADDR=127.0.0.9")
        await one.say("EHLO c")
        assert (await send(one))[-1].startswith("250 ")
        await one.say("XCLIENT ADDR=127.0.0.8")
        await one.say("EHLO d")
        assert (await send(one))[-1].startswith("250 ")
        assert [made.peer.name for made in place.intake.submissions] == ["c.example", ""]


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("XCLIENT", "501 5.5.4 Syntax: XCLIENT attribute=value...: no attribute"),
        ("XCLIENT ADDR=here", "501 5.5.4 Syntax: XCLIENT attribute=value...: ADDR is no IP address"),
        ("XCLIENT HELO=a+0Ab", "501 5.5.4 Syntax: XCLIENT attribute=value...: HELO is empty*"),
        ("XCLIENT " + "HELO=x " * 300, "500 5.5.2 Line too long"),
    ],
)
async def test_a_wrong_xclient_changes_nothing(command: str, reply: str) -> None:
    async with house(listener=relayed()) as place, client(place) as one:
        await greeted(place, one)
        said = await one.say(command)
        assert said == reply or (reply.endswith("*") and said.startswith(reply[:-1]))
        assert (await send(one))[-1].startswith("250 ")


async def test_xclient_has_no_place_in_a_transaction() -> None:
    async with house(listener=relayed()) as place, client(place) as one:
        await greeted(place, one)
        await one.say("MAIL FROM:<a@x.example>")
        assert await one.say("XCLIENT ADDR=192.0.2.7") == "503 5.5.1 Not during a mail transaction"


async def test_the_limits_of_the_client_hold_behind_xclient() -> None:
    config = SubmissionConfig(max_connections_per_address=2)
    async with house(listener=relayed(), config=config) as place:
        async with client(place) as one, client(place) as two:
            for single in (one, two):
                await greeted(place, single)
                assert (await single.say("XCLIENT ADDR=192.0.2.7")).startswith("220 ")
            async with client(place) as three:
                await greeted(place, three)
                said = await three.say("XCLIENT ADDR=192.0.2.7")
                assert said == "421 4.7.0 Too many connections from your address"
                assert await three.rest() == b""
        place.doors.close()
        await place.doors.wait_closed()
        assert len(place.events.of(SessionEnded)) == 3


# --- Unix sockets and LMTP ---


def local(path: Path, protocol: str = "smtp", **words: object) -> Listener:
    return Listener(path=path / "smtp.sock", tls="off", auth="off", protocol=protocol, **words)  # type: ignore[arg-type]


async def test_a_unix_socket_knows_its_client_by_uid(tmp_path: Path) -> None:
    config = SubmissionConfig(trusted_networks=())
    async with house(listener=local(tmp_path, mode=0o640), config=config) as place, client(place) as one:
        assert place.doors.addresses == (f"unix:{tmp_path}/smtp.sock",)
        assert (tmp_path / "smtp.sock").stat().st_mode & 0o777 == 0o640
        assert (await one.reply()).startswith("220 ")
        await one.say("EHLO c")
        assert (await send(one))[-1].startswith("250 ")
        (queued,) = place.intake.submissions
        assert (queued.account, queued.peer.address) == (f"uid:{os.getuid()}", f"userid {os.getuid()}")
        place.doors.close()
        assert not (tmp_path / "smtp.sock").exists()


async def test_limits_hold_on_a_unix_socket(tmp_path: Path) -> None:
    config = SubmissionConfig(max_connections_per_address=1)
    async with house(listener=local(tmp_path), config=config) as place, client(place) as one:
        await one.reply()
        async with client(place) as two:
            assert await two.reply() == "421 4.7.0 Too many connections from your address"


async def test_a_socket_left_behind_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "smtp.sock"))
    async with house(listener=local(tmp_path)):
        with pytest.raises(BindError, match="another daemon listens"):
            async with house(listener=local(tmp_path)):
                pass
        assert (tmp_path / "smtp.sock").exists()


async def test_lmtp_answers_for_each_recipient(tmp_path: Path) -> None:
    async with house(listener=local(tmp_path, "lmtp")) as place, client(place) as one:
        assert await one.reply() == "220 mail.example.com LMTP Postroad"
        assert await one.say("EHLO c") == "500 5.5.1 Unknown command"
        assert await one.say("MAIL FROM:<a@x.example>") == "503 5.5.1 Send LHLO first"
        words = await one.say("LHLO c")
        assert all(word in words for word in ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"))
        await one.say("MAIL FROM:<a@x.example>")
        for address in ("b@y.example", "no address", "c@y.example"):
            await one.say(f"RCPT TO:<{address}>")
        await one.say("DATA")
        one.send(MESSAGE + b"NOOP\r\n")
        said = [await one.reply() for _ in range(3)]
        assert said == [*["250 2.0.0 Queued as 000000000001"] * 2, "250 2.0.0 OK"]
        assert place.intake.submissions[0].peer.protocol == "LMTP"


async def test_lmtp_answers_for_each_recipient_where_the_message_is_refused(tmp_path: Path) -> None:
    intake = FakeIntake(error=RuntimeError("a bug of the test"))
    async with house(listener=local(tmp_path, "lmtp"), intake=intake) as place, client(place) as one:
        await one.reply()
        await one.say("LHLO c")
        one.send(b"MAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<c@y.example>\r\nDATA\r\n")
        assert [(await one.reply())[:3] for _ in range(4)] == ["250", "250", "250", "354"]
        one.send(MESSAGE)
        assert [(await one.reply())[:3] for _ in range(2)] == ["451", "451"]
        one.send(
            b"MAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<c@y.example>\r\n"
            b"DATA\r\nA: b\0\r\n.\r\nNOOP\r\n"
        )
        assert [(await one.reply())[:3] for _ in range(7)] == [
            "250",
            "250",
            "250",
            "354",
            "554",
            "554",
            "250",
        ]
        assert len(place.events.of(InternalError)) == 1


async def test_lmtp_answers_for_each_recipient_after_the_last_chunk(tmp_path: Path) -> None:
    async with house(listener=local(tmp_path, "lmtp")) as place, client(place) as one:
        await one.reply()
        await one.say("LHLO c")
        one.send(b"MAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<c@y.example>\r\nBDAT 6\r\nA: b\r\n")
        assert [(await one.reply())[:3] for _ in range(4)] == ["250"] * 4
        one.send(b"BDAT 4 LAST\r\n\r\nx\nNOOP\r\n")
        assert len([await one.reply() for _ in range(3)]) == 3


async def test_lmtp_without_a_recipient_has_nothing_to_answer_for(tmp_path: Path) -> None:
    async with house(listener=local(tmp_path, "lmtp")) as place, client(place) as one:
        await one.reply()
        await one.say("LHLO c")
        await one.say("MAIL FROM:<a@x.example>")
        await one.say("RCPT TO:<no address>")
        assert await one.say("DATA") == "503 5.5.1 No valid recipients"


# --- systemd ---


async def test_a_listener_takes_the_sockets_passed_under_its_name(tmp_path: Path) -> None:
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "passed.sock"))
    sockets = [
        socket.create_server(("127.0.0.1", 0)),
        socket.create_server(("::1", 0), family=socket.AF_INET6),
    ]
    listener = Listener(passed="mail", tls="off", auth="off")
    async with house(listener=listener, passed=[("mail", sock) for sock in (*sockets, unix)]) as place:
        ports = [sock.getsockname()[1] for sock in sockets]
        wanted = (f"127.0.0.1:{ports[0]}", f"[::1]:{ports[1]}", f"unix:{tmp_path}/passed.sock")
        assert place.doors.addresses == wanted
        for address in wanted:
            place.doors.addresses = (address,)
            async with client(place) as one:
                assert (await one.reply()).startswith("220 ")
                await one.say("EHLO c")
                assert (await send(one))[-1].startswith("250 ")
        accounts = [submission.account for submission in place.intake.submissions]
        assert accounts == ["net:127.0.0.1", "net:::1", f"uid:{os.getuid()}"]
    assert (tmp_path / "passed.sock").exists()


@pytest.mark.parametrize(
    ("listener", "names", "why"),
    [
        (Listener(passed="mail", tls="off", auth="off"), [], "systemd:mail: systemd passed no socket"),
        (
            Listener("127.0.0.1", 0, "off", "off"),
            ["other"],
            r'that no \[\[listener\]\] names: 127.*\(other\); give them one, as address = "systemd:other"',
        ),
    ],
)
async def test_names_and_passed_sockets_must_meet(listener: Listener, names: list[str], why: str) -> None:
    passed = [(name, socket.create_server(("127.0.0.1", 0))) for name in names]
    with pytest.raises(SocketMismatch, match=why):
        async with house(listener=listener, passed=passed):
            pass


async def test_a_passed_unix_socket_asks_for_no_login(tmp_path: Path) -> None:
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "passed.sock"))
    with pytest.raises(SocketMismatch, match="knows its clients by their uid"):
        async with house(listener=Listener(passed="mail"), passed=[("mail", unix)]):
            pass
    unix.close()


# --- IPv6 ---


@pytest.mark.parametrize(
    ("host", "through", "address"),
    [("::", "::1", "::1"), ("::", "127.0.0.1", "127.0.0.1"), ("::1", "::1", "::1")],
)
async def test_ipv6_serves_and_knows_ipv4_clients_by_their_address(
    host: str, through: str, address: str
) -> None:
    async with house(listener=Listener(host, 0, "off", "off")) as place:
        reader, writer = await asyncio.open_connection(through, place.port)
        one = Client(reader, writer)
        await one.reply()
        await one.say(f"EHLO [IPv6:{host}]" if ":" in through else "EHLO c")
        assert (await send(one))[-1].startswith("250 ")
        assert place.intake.submissions[0].account == f"net:{address}"
        await one.close()


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
