"""Where mail goes by DNS alone, seen from hosts that stand on loopback addresses of their own."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from postroad.demo.process import free_port
from postroad.demo.verdict import failed_recipients, parsed
from postroad.demo.world import Site, World
from tests.support.daemon import Daemon
from tests.support.dns_server import DnsServer, Zone

LETTER = b"From: <anna@home.example>\r\nSubject: x\r\n\r\nx\r\n"
SENDER = "anna@home.example"

ZONE: Zone = {
    "home.example": {"A": ["127.0.0.4"]},
    "mx1.example": {"A": ["127.0.0.2"]},
    "mx2.example": {"A": ["127.0.0.3"]},
    "mail.sender.example": {"A": ["127.0.0.1"]},
    "ordered.example": {"MX": ["20 mx2.example.", "10 mx1.example."]},
    "bare.example": {"A": ["127.0.0.3"]},
    "null.example": {"MX": ["0 ."]},
    "backup.example": {"MX": ["10 mx1.example.", "20 mail.sender.example.", "30 mx2.example."]},
    "loop.example": {"MX": ["10 mail.sender.example.", "20 mx1.example."]},
    "later.example": {"MX": ["10 mx1.example."]},
}


@dataclass
class Stage:
    """The daemon, the names it sees, and the hosts it may reach: all on one port."""

    daemon: Daemon
    dns: DnsServer
    world: World

    @property
    def reached(self) -> dict[str, int]:
        """How many messages each host has taken."""
        return {name: len(site.arrivals) for name, site in self.world.sites.items() if site.arrivals}

    async def send(self, recipient: str) -> str:
        return await self.daemon.submit([recipient], LETTER, sender=SENDER)

    async def bounce(self, recipient: str) -> dict[str, str]:
        """Send to an address that must fail; what the notification says about it."""
        notified = await self.daemon.event("notified", id=await self.send(recipient))
        await self.daemon.event("removed", id=notified["dsn"])
        (arrival,) = self.world["home.example"].arrivals
        return failed_recipients(parsed(arrival.octets))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """mx1.example is down until it is opened."""
    port = free_port()
    hosts = {"home.example": "127.0.0.4", "mx1.example": "127.0.0.2", "mx2.example": "127.0.0.3"}
    sites = [Site(name, address=(address, port)) for name, address in hosts.items()]
    async with World(sites, late=frozenset({"mx1.example"})) as world, DnsServer(ZONE, ttl=1) as dns:
        settings = {
            # The server is in this process: when the machine stands still, so does it.
            "dns": {"nameservers": [f"127.0.0.1:{dns.port}"], "timeout": "2m"},
            "delivery": {"port": port},
        }
        async with Daemon(settings=settings) as daemon:
            yield Stage(daemon, dns, world)


async def test_the_best_preference_gets_the_mail(stage: Stage) -> None:
    await stage.world["mx1.example"].open()
    await stage.send("x@ordered.example")
    await stage.daemon.event("tried", status="sent")
    assert stage.reached == {"mx1.example": 1}


async def test_the_next_preference_gets_it_when_the_best_is_down(stage: Stage) -> None:
    await stage.send("x@ordered.example")
    line = await stage.daemon.event("tried", status="sent")
    assert stage.reached == {"mx2.example": 1}
    assert line["relay"].startswith("mx2.example[127.0.0.3]:")


async def test_a_domain_without_mx_gets_it_at_its_own_address(stage: Stage) -> None:
    await stage.send("x@bare.example")
    await stage.daemon.event("tried", status="sent")
    assert stage.reached == {"mx2.example": 1}


@pytest.mark.parametrize(
    ("recipient", "status"),
    [
        pytest.param("x@null.example", "failed 5.1.10", id="null MX"),
        pytest.param("x@missing.example", "failed 5.1.2", id="no such domain"),
        pytest.param("x@loop.example", "failed 5.4.6", id="we are its best MX"),
    ],
)
async def test_what_dns_says_cannot_be_delivered_comes_back_at_once(
    stage: Stage, recipient: str, status: str
) -> None:
    assert await stage.bounce(recipient) == {recipient: status}
    assert stage.reached == {"home.example": 1}


async def test_a_backup_behind_ourselves_is_never_asked(stage: Stage) -> None:
    await stage.send("x@backup.example")
    await stage.daemon.until(
        lambda: len(stage.daemon.events("tried") + stage.daemon.events("hop-deferred")) >= 2, what="two tries"
    )
    assert stage.reached == {}
    await stage.world["mx1.example"].open()
    await stage.daemon.event("tried", status="sent")
    assert stage.reached == {"mx1.example": 1}


async def test_mail_waits_while_dns_cannot_answer(stage: Stage) -> None:
    await stage.world["mx1.example"].open()
    stage.dns.servfail.add("later.example")
    id = await stage.send("x@later.example")
    await stage.daemon.until(
        lambda: bool(stage.daemon.events("hop-deferred") or stage.daemon.events("tried")), what="a look"
    )
    (row,) = await stage.daemon.at_rest()
    assert (row["id"], row["state"]) == (id, "waiting")
    assert stage.daemon.events("notified") == []
    # A failure is remembered for half a minute, but not beyond the process.
    stage.dns.servfail.clear()
    assert await stage.daemon.process.stop() == 0
    await stage.daemon.restart()
    await stage.daemon.event("tried", status="sent", id=id)
    assert stage.reached == {"mx1.example": 1}


async def test_a_plan_names_the_hosts_in_the_order_in_which_they_are_tried(stage: Stage) -> None:
    status, out, err = await stage.daemon.process.command("plan", "x@ordered.example", "--connect", "--json")
    assert status == 0, err
    (way,) = json.loads(out)["ways"]
    hosts = [(host["preference"], host["host"], host["address"], host["connected"]) for host in way["hosts"]]
    assert (way["route"], way["site"]) == ("mx", "mx1.example,mx2.example")
    assert hosts == [(10, "mx1.example", "127.0.0.2", False), (20, "mx2.example", "127.0.0.3", True)]
    assert "connection refused" in way["hosts"][0]["text"]
    await stage.send("x@ordered.example")
    tried = await stage.daemon.event("tried", status="sent")
    assert tried["relay"].startswith("mx2.example[127.0.0.3]:")
    assert (await stage.daemon.process.command("plan", "x@null.example"))[0] == os.EX_NOHOST
