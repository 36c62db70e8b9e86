"""A door for hosts that say with XCLIENT for whom they speak."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from postroad.config.model import Listener, SubmissionConfig
from postroad.mail.account import AccountPolicies, AccountPolicy
from postroad.mail.events import Refused, SessionEnded
from tests.support.door import Client, House, client, house, send

HERE = ip_network("127.0.0.1/32")
ELSEWHERE = ip_network("192.0.2.0/24")


def relayed(**words: object) -> Listener:
    return Listener("127.0.0.1", 0, "off", "off", xclient=(HERE,), **words)  # type: ignore[arg-type]


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
