"""What is done to content on its way in, seen from outside: mended, held, refused by a policy."""

from __future__ import annotations

import pytest

from postroad.demo.world import Site, World
from tests.support.daemon import Daemon

LETTER = b"From: anna@home.example\r\nTo: x@home.example\r\nSubject: %b\r\n\r\n%b"
HOOK = """
from postroad.mail.policy import Verdict, hold, refuse


def check(view):
    subject = view.header("Subject")
    if subject == "hold":
        return hold("as asked")
    if subject == "refuse":
        return refuse("As asked")
    return Verdict(add=(("X-Checked", "yes"),))
"""


@pytest.mark.parametrize("octets", [3_000, 3_000_000])
async def test_a_line_too_long_arrives_encoded_in_memory_and_from_a_file(octets: int) -> None:
    async with World([Site("home.example")]) as world:
        site = world["home.example"]
        async with Daemon({"home.example": site.port}) as daemon:
            await daemon.submit(["bert@home.example"], LETTER % (b"long", b"y" * octets + b"\r\n"))
            await daemon.event("removed")
    (arrival,) = site.arrivals
    assert max(map(len, arrival.octets.split(b"\r\n"))) <= 998
    assert b"Content-Transfer-Encoding: quoted-printable" in arrival.octets
    assert arrival.octets.count(b"y") >= octets


async def test_a_hook_adds_holds_and_refuses() -> None:
    async with World([Site("home.example")]) as world:
        site = world["home.example"]
        daemon = Daemon(
            {"home.example": site.port}, {"policy": [{"hook": "world_policy:check", "path": "."}]}
        )
        (daemon.directory / "world_policy.py").write_text(HOOK)
        async with daemon:
            await daemon.submit(["bert@home.example"], LETTER % (b"hello", b"hi\r\n"))
            await daemon.event("removed")
            held = await daemon.submit(["bert@home.example"], LETTER % (b"hold", b"hi\r\n"))
            (row,) = await daemon.queue()
            with pytest.raises(AssertionError, match=r"550 5\.7\.1 As asked"):
                await daemon.submit(["bert@home.example"], LETTER % (b"refuse", b"hi\r\n"))
    (arrival,) = site.arrivals
    assert b"\r\nX-Checked: yes\r\n" in arrival.octets
    assert (row["id"], row["state"]) == (held, "held")
    assert row["reason"] == "held by policy world_policy:check: as asked"
