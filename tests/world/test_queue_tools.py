"""The queue's commands beside a real daemon, and two daemons for one queue."""

from __future__ import annotations

import json
import os

from postroad.demo.process import free_port
from postroad.demo.world import Site, World
from tests.support.daemon import RARELY, Daemon

LETTER = b"Subject: hello\r\n\r\nhello\r\n"


async def test_a_second_daemon_says_who_holds_the_queue_and_since_when() -> None:
    async with Daemon() as daemon:
        status, _, err = await daemon.process.command("status", "--json")
        assert status == 0, err
        exit, _, err = await daemon.process.command("serve")
        assert exit == os.EX_TEMPFAIL
        assert f"spool is in use by process {daemon.process.pid}, since 20" in err


async def test_an_attempt_is_shown_with_its_host_reply_and_steps() -> None:
    dead = free_port()
    async with Daemon({"harbour.example": dead}, RARELY) as daemon:
        id = await daemon.submit(["b@harbour.example"], LETTER)
        await daemon.event("tried", status="deferred", id=id)
        await daemon.at_rest()
        status, out, err = await daemon.process.command("queue", "show", id, "--json")
        assert status == 0, err
        (recipient,) = json.loads(out)["recipients"]
        first = recipient["history"][0]
        assert (first["number"], first["host"]) == (1, f"127.0.0.1[127.0.0.1]:{dead}")
        assert "connection refused" in first["text"]
        assert [step["step"] for step in first["steps"]] == ["connect"]
        status, out, _ = await daemon.process.command("queue", "show", id)
        assert "  attempt 1  " in out
        assert (await daemon.process.command("queue", "delete", "--dry-run", "--site", "relay-1"))[1] == (
            f"{id}  b@harbour.example\ndelete: 1 recipient would change; nothing was changed\n"
        )


async def test_why_names_the_pause_the_refusal_it_came_of_and_the_line_that_sets_it() -> None:
    async with Daemon({"harbour.example": free_port()}, RARELY) as daemon:
        id = await daemon.submit(["b@harbour.example"], LETTER)
        await daemon.event("site-paused")
        await daemon.at_rest()
        status, out, err = await daemon.process.command("why", id, "--json")
        assert status == 0, err
        row = json.loads(out)
        line = daemon.config.read_text().splitlines().index('pause_first = "4h"') + 1
        assert (row["constraint"], row["origin"]) == ("site-paused", f"{daemon.config}:{line}")
        assert "connection refused" in row["learned"]
        assert row["learned_at"] <= row["next_try"]


async def test_a_plan_is_the_way_that_mail_then_takes() -> None:
    async with World([Site("harbour.example")]) as world:
        port = world["harbour.example"].port
        daemon = Daemon({"harbour.example": port}, {"local": {"aliases": "aliases"}})
        (daemon.directory / "aliases").write_text("ops: anna@harbour.example\n")
        async with daemon:
            status, out, err = await daemon.process.command("plan", "ops", "--connect", "--json")
            assert status == 0, err
            found = json.loads(out)
            await daemon.submit(["ops@localhost"], LETTER)
            tried = await daemon.event("tried", status="sent")
            assert (await daemon.process.command("plan", "ops", "--connect"))[0] == 0
        arrivals = world["harbour.example"].arrivals
    (way,) = found["ways"]
    (host,) = way["hosts"]
    assert found["aliases"] == [{"name": "ops@mail.sender.example", "to": ["anna@harbour.example"]}]
    assert (way["recipient"], way["route"]) == (tried["to"], "relay-1")
    assert f"{host['host']}[{host['address']}]:{host['port']}" == tried["relay"]
    assert way["route_origin"].startswith(f"{daemon.config}:")
    assert host["connected"]
    assert [step["step"] for step in host["steps"]] == ["connect", "greeting", "ehlo"]
    assert len(arrivals) == 1


async def test_a_plan_says_why_there_is_none() -> None:
    async with Daemon(
        settings={"dns": {"nameservers": [f"127.0.0.1:{free_port()}"], "timeout": "500ms"}}
    ) as daemon:
        status, out, _ = await daemon.process.command("plan", "b@nowhere.example", "--json")
        assert status == os.EX_TEMPFAIL
        assert json.loads(out)["ways"][0]["outcome"] == "deferred"
        assert (await daemon.process.command("plan", "root"))[0] == os.EX_TEMPFAIL
        assert (await daemon.process.command("plan", "a@@b"))[0] == os.EX_USAGE
