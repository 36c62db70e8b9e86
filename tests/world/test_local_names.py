"""Mail for root on the whole machine: sent on by /etc/aliases, or waiting until it can be."""

from __future__ import annotations

import asyncio
import os
import sys

from postroad.demo.world import Site, World
from tests.support.daemon import Daemon

RUN = "import sys; sys.argv = sys.argv[1:]; from postroad.cli.sendmail import program; program()"


async def call(
    daemon: Daemon, name: str, *words: str, letter: bytes = b"Subject: nightly\n\nall is well\n"
) -> tuple[int, str]:
    """A run of sendmail under one of its names; exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, name, *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"POSTROAD_CONFIG": str(daemon.config), "PATH": os.environ["PATH"]},
    )
    out, _ = await process.communicate(letter)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_mail_for_root_waits_for_an_alias_and_goes_out_when_newaliases_has_been_called() -> None:
    async with World([Site("harbour.example")]) as world:
        daemon = Daemon({"harbour.example": world["harbour.example"].port}, {"local": {"aliases": "aliases"}})
        aliases = daemon.directory / "aliases"
        aliases.write_text("ops: anna@harbour.example\n")
        async with daemon:
            assert await call(daemon, "sendmail", "-FCronDaemon", "-i", "-oem", "root") == (0, "")
            await daemon.event("hop-deferred", hop="local:root")
            (waiting,) = await daemon.queue()
            assert "no alias for root in" in waiting["reason"]
            aliases.write_text("ops: anna@harbour.example\nroot: ops\nbad: |/bin/true\n")
            exit, said = await call(daemon, "newaliases")
            assert exit == 0
            assert f"newaliases: {aliases}:3: bad: runs no program" in said
            await daemon.event("tried", status="sent", to="anna@harbour.example")
            assert await call(daemon, "sendmail", "root@localhost") == (0, "")
            await daemon.until(lambda: len(daemon.events("tried", to="anna@harbour.example")) == 2)
            assert [line["to"] for line in daemon.events("expanded")] == [["anna@harbour.example"]] * 2
        recipients = [arrival.recipients for arrival in world["harbour.example"].arrivals]
        assert recipients == [("anna@harbour.example",)] * 2


async def test_a_comment_in_another_encoding_costs_no_alias() -> None:
    daemon = Daemon({"harbour.example": 1}, {"local": {"aliases": "aliases"}})
    aliases = daemon.directory / "aliases"
    comment, root = b"# f\xfcr J\xfcrgen\n", b"root: J\xfcrgen <anna@harbour.example>\n"
    aliases.write_bytes(comment + root + b"j\xfcrgen: root\nx: j\xfcrgen\n")
    exit, out, err = await daemon.process.command("plan", "root")
    assert (exit, "-> anna@harbour.example" in out) == (0, True), err
    exit, _, err = await daemon.process.command("config", "check")
    assert exit == 78
    assert [line.split(": ")[0] for line in err.splitlines()[:2]] == [f"{aliases}:3", f"{aliases}:4"]


async def test_what_the_daemon_refuses_of_the_maildrop_comes_back_to_who_was_told_it_was_taken() -> None:
    async with World([Site("harbour.example")]) as world:
        daemon = Daemon(
            {"harbour.example": world["harbour.example"].port},
            {"content": {"long_lines": "refuse"}, "local": {"aliases": "aliases"}},
        )
        (daemon.directory / "aliases").write_text("root: anna@harbour.example\n")
        (daemon.directory / "state" / "maildrop").mkdir(parents=True, exist_ok=True)
        words = ("sendmail", "-f", "root", "bert@harbour.example")
        assert await call(daemon, *words, letter=b"Subject: long\n\n" + b"x" * 1200 + b"\n") == (0, "")
        async with daemon:
            await daemon.event("notified", to="root@mail.sender.example")
            await daemon.event("tried", status="sent", to="anna@harbour.example")
            assert list((daemon.directory / "state" / "maildrop").iterdir()) == []
        (arrival,) = world["harbour.example"].arrivals
        assert b"Final-Recipient: rfc822; bert@harbour.example" in arrival.octets


async def test_config_check_names_what_is_wrong_with_an_alias_file() -> None:
    daemon = Daemon(settings={"local": {"aliases": "aliases"}})
    aliases = daemon.directory / "aliases"
    aliases.write_text("root: anna@harbour.example\na: b\nb: a\nc: /var/mail/c\n")
    exit, _, err = await daemon.process.command("config", "check")
    assert (exit, err.count("\n")) == (0, 4)
    assert f"{aliases}:2: a: aliases lead in a circle: a -> b -> a" in err
    assert f"{aliases}:4: c: writes to no file" in err
    aliases.write_text("root: anna@harbour.example\nnonsense\n")
    exit, _, err = await daemon.process.command("config", "check")
    assert (exit, f"{aliases}:2: " in err) == (os.EX_CONFIG, True)
