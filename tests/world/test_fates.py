"""Greylisted, refused, down: what becomes of a message, and what its sender is told."""

from __future__ import annotations

from postroad.demo.verdict import failed_recipients, parsed
from postroad.demo.world import Site, World, greylisting, refusing
from tests.support.daemon import Daemon

LETTER = (
    b"From: anna@home.example\r\nTo: x@home.example\r\nSubject: hello\r\n"
    b"Message-ID: <original@home.example>\r\n\r\nHello.\r\n"
)
SENDER = "anna@home.example"


async def test_a_greylisted_message_arrives_with_the_first_try_after_the_window() -> None:
    hours = 0.0
    async with World([Site("patience.example", greylisting(1.0, lambda: hours))]) as world:
        site = world["patience.example"]
        async with Daemon({"patience.example": site.port}) as daemon:
            await daemon.submit(["gwen@patience.example"], LETTER)
            deferred = await daemon.event("tried", status="deferred")
            (row,) = await daemon.at_rest()
            # However many tries fell within the window while we looked: two, that there was a second.
            await daemon.until(lambda: row["next_attempt"] in nexts(daemon) and len(site.turned_away) >= 2)
            hours = 1.0
            sent = await daemon.event("tried", status="sent")
        assert "greylist" in deferred["reason"]
        assert (row["state"], row["recipient"]) == ("waiting", "gwen@patience.example")
        assert "Greylisted" in row["reason"] or "greylist" in row["reason"]
        assert sent["attempts"] == len(site.turned_away) + 1
        assert len(site.arrivals) == 1


def nexts(daemon: Daemon) -> set[object]:
    return {line["next"] for line in daemon.events("tried", status="deferred")}


async def test_a_site_that_is_down_gets_its_mail_once_it_is_up() -> None:
    async with World([Site("dawn.example")], late=frozenset({"dawn.example"})) as world:
        site = world["dawn.example"]
        async with Daemon({"dawn.example": site.port}) as daemon:
            await daemon.submit(["dora@dawn.example"], LETTER)
            await daemon.until(
                lambda: bool(daemon.events("tried") or daemon.events("hop-deferred")), what="a try"
            )
            assert [row["recipient"] for row in await daemon.queue()] == ["dora@dawn.example"]
            await site.open()
            await daemon.event("tried", status="sent")
        assert len(site.arrivals) == 1


async def test_one_message_of_mixed_fate_is_delivered_delayed_and_bounced_apart() -> None:
    sites = [
        Site("home.example"),
        Site("patience.example", greylisting(0.5)),
        Site("closed.example", refusing),
    ]
    async with World(sites) as world:
        async with Daemon({site.domain: site.port for site in sites}) as daemon:
            recipients = ["bert@home.example", "gwen@patience.example", "nobody@closed.example"]
            id = await daemon.submit(recipients, LETTER, sender=SENDER)
            await daemon.event("removed", id=id)
            (notified,) = daemon.events("notified", id=id)
            await daemon.event("removed", id=notified["dsn"])
        arrived = world["home.example"].arrivals
        assert sorted(arrival.sender for arrival in arrived) == ["", SENDER]
        assert [arrival.recipients for arrival in world["patience.example"].arrivals] == [
            ("gwen@patience.example",)
        ]
        (notice,) = [parsed(arrival.octets) for arrival in arrived if not arrival.sender]
        assert failed_recipients(notice) == {"nobody@closed.example": "failed 5.1.1"}


async def test_a_bounce_that_is_refused_makes_no_further_bounce() -> None:
    async with World([Site("closed.example", refusing)]) as world:
        async with Daemon({"closed.example": world["closed.example"].port}) as daemon:
            id = await daemon.submit(["nobody@closed.example"], LETTER, sender="gone@closed.example")
            notified = await daemon.event("notified", id=id)
            await daemon.event("removed", id=notified["dsn"])
            assert len(daemon.events("notified")) == 1
            assert await daemon.queue() == []
        assert world["closed.example"].arrivals == []
