"""What senders are told (RFC 3461, 3464, 6533), read by the programs that people read mail with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path

from postroad.demo.verdict import parsed
from postroad.demo.world import Arrival, Site, World, refusing
from tests.support.daemon import Daemon
from tests.support.reading import read_by_mutt, read_by_snail
from tests.support.submitting import Client, queue_id

SENDER = "anna@home.example"
LETTER = (
    b"From: anna@home.example\r\nTo: x@home.example\r\nSubject: hello\r\n"
    b"Message-ID: <original@home.example>\r\n\r\nHello.\r\n"
)


async def handed_in(
    daemon: Daemon, recipients: Sequence[str], options: str = "", letter: bytes = LETTER
) -> str:
    """One message from SENDER; a recipient may have parameters after a space."""

    def submit() -> str:
        with Client(daemon.port) as client:
            client.say(f"MAIL FROM:<{SENDER}>{options}")
            for to in recipients:
                address, _, parameters = to.partition(" ")
                reply = client.say(f"RCPT TO:<{address}> {parameters}".rstrip())
                assert reply.startswith("250"), reply
            client.say("DATA")
            client.send(letter + b".\r\n")
            return client.reply()

    return queue_id(await asyncio.to_thread(submit))


def groups(octets: bytes) -> list[EmailMessage]:
    """The fields about the message, then those about each recipient."""
    # The package knows RFC 3464's type; RFC 6533's is read the same way.
    notice = parsed(octets.replace(b"message/global-delivery-status", b"message/delivery-status"))
    (status,) = (part for part in notice.walk() if part.get_content_type() == "message/delivery-status")
    return [part for part in status.iter_parts() if isinstance(part, EmailMessage)]


def actions(octets: bytes) -> dict[str, str]:
    """Whom it tells of, and what."""
    about = groups(octets)[1:]
    return {str(group["Final-Recipient"]): f"{group['Action']} {group['Status']}" for group in about}


def notices(site: Site) -> list[Arrival]:
    """In order of what they tell."""
    told = [arrival for arrival in site.arrivals if not arrival.sender]
    assert all(arrival.recipients == (SENDER,) for arrival in told)
    return sorted(told, key=lambda arrival: str(actions(arrival.octets)))


async def test_each_recipient_is_told_of_as_its_sender_asked(tmp_path: Path) -> None:
    sites = [
        Site("home.example"),
        Site("open.example"),
        Site("closed.example", refusing),
        Site("dawn.example"),
    ]
    async with World(sites, late=frozenset({"dawn.example"})) as world:
        daemon = Daemon(
            {site.domain: site.port for site in sites},
            {"retry": {"warn_after": "2s"}, "local": {"aliases": "aliases"}},
        )
        (daemon.directory / "aliases").write_text("team: xavier@open.example, yves@open.example\n")
        async with daemon:
            await handed_in(
                daemon,
                [
                    "nobody@closed.example NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;robert+2Bx@old.example",
                    "never@closed.example NOTIFY=NEVER",
                    "gwen@open.example NOTIFY=SUCCESS",
                    "fred@open.example NOTIFY=FAILURE",
                    "team@localhost NOTIFY=SUCCESS,FAILURE",
                    "dora@dawn.example NOTIFY=DELAY",
                ],
                " RET=HDRS ENVID=QQ+2B314159",
            )
            home = world["home.example"]
            await daemon.until(lambda: len(notices(home)) == 4, what="four notifications")
            await world["dawn.example"].open()
            await daemon.until(lambda: bool(world["dawn.example"].arrivals))
            assert len(notices(home)) == 4
        told = {name: said for arrival in notices(home) for name, said in actions(arrival.octets).items()}
        assert told == {
            "rfc822; nobody@closed.example": "failed 5.1.1",
            "rfc822; gwen@open.example": "relayed 2.0.0",
            "rfc822; team@localhost": "expanded 2.1.5",
            "rfc822; dora@dawn.example": "delayed 4.4.1",
        }
        reached = sorted(to for arrival in world["open.example"].arrivals for to in arrival.recipients)
    assert reached == [f"{name}@open.example" for name in ("fred", "gwen", "xavier", "yves")]
    for arrival in notices(home):
        notice = parsed(arrival.octets)
        assert notice.get_content_type() == "multipart/report"
        assert [defect for part in notice.walk() for defect in part.defects] == []
        about, group = groups(arrival.octets)
        assert about["Original-Envelope-Id"] == "QQ+314159"
        assert ("Will-Retry-Until" in group) == (group["Action"] == "delayed")
        if group["Action"] == "failed":
            assert group["Original-Recipient"] == "rfc822; robert+x@old.example"
            assert group["Diagnostic-Code"].startswith("smtp; 550 5.1.1")
        assert notice["In-Reply-To"] == "<original@home.example>"
        assert b"Hello." not in arrival.octets
        address = group["Final-Recipient"].removeprefix("rfc822; ")
        for shown in (
            await read_by_mutt(arrival.octets, tmp_path),
            await read_by_snail(arrival.octets, tmp_path),
        ):
            assert f"<{address}>" in shown
            assert "Subject: hello" in shown


async def test_an_internationalised_address_is_told_of_in_its_own_characters(tmp_path: Path) -> None:
    sites = [Site("home.example"), Site("closed.example", refusing)]
    letter = LETTER.replace(b"hello", "gr\u00fc\u00dfe".encode())
    async with World(sites) as world:
        async with Daemon({site.domain: site.port for site in sites}) as daemon:
            to = "j\u00f6rg@closed.example ORCPT=utf-8;j\\x{F6}rg@old.example"
            await handed_in(daemon, [to], " SMTPUTF8 BODY=8BITMIME", letter)
            await daemon.until(lambda: bool(notices(world["home.example"])))
    (arrival,) = notices(world["home.example"])
    notice = parsed(arrival.octets)
    parts = [part.get_content_type() for part in notice.iter_parts()]
    assert parts == ["text/plain", "message/global-delivery-status", "message/global"]
    assert "Final-Recipient: utf-8; j\u00f6rg@closed.example\r\n".encode() in arrival.octets
    assert "Original-Recipient: utf-8; j\u00f6rg@old.example\r\n".encode() in arrival.octets
    assert letter.partition(b"\r\n\r\n")[2] in arrival.octets
    shown = await read_by_mutt(arrival.octets, tmp_path)
    assert "<j\u00f6rg@closed.example>" in shown
    assert "550 5.1.1" in await read_by_snail(arrival.octets, tmp_path)


async def test_two_hundred_failures_of_one_message_are_one_letter() -> None:
    sites = [Site("home.example"), Site("closed.example", refusing)]
    async with World(sites) as world:
        async with Daemon({site.domain: site.port for site in sites}) as daemon:
            id = await handed_in(daemon, [f"b{n}@closed.example" for n in range(200)])
            notified = await daemon.event("notified", id=id)
            await daemon.event("removed", id=notified["dsn"])
            assert len(daemon.events("notified")) == 1
    (arrival,) = notices(world["home.example"])
    told = actions(arrival.octets)
    assert told == {f"rfc822; b{n}@closed.example": "failed 5.1.1" for n in range(200)}
    assert arrival.octets.count(b"Hello.") == 1
