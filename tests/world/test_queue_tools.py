"""The queue's commands beside a real daemon, and two daemons for one queue."""

from __future__ import annotations

import json
import os

from postroad.demo.process import free_port
from tests.support.daemon import Daemon

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
    async with Daemon({"harbour.example": dead}) as daemon:
        id = await daemon.submit(["b@harbour.example"], LETTER)
        await daemon.event("tried", status="deferred", id=id)
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
