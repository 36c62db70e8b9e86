"""Why mail waits, on the command line: with a daemon, and by the index without one."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from postroad.cli.main import main
from postroad.mail.lifecycle import State
from postroad.mail.why import Constraint, Why
from postroad.ports.control import Explained
from postroad.ports.queue import QueueFilter
from tests.cli.test_queue import served
from tests.support.build import NOW, deferred, hop, message, queue_id, recipient
from tests.support.operating import RememberingControl
from tests.support.queued import fill, state_directory

Captured = pytest.CaptureFixture[str]


async def run(directory: Path, *arguments: str) -> int:
    return await asyncio.to_thread(main, ["--config", str(directory / "postroad.toml"), *arguments])


async def test_the_daemon_is_asked_and_its_reasons_are_told(capsys: Captured) -> None:
    control = RememberingControl()
    learned = deferred(text="421 too \x1b many")
    why = Why(
        Constraint.PAUSED,
        "its site is paused",
        "patience",
        NOW + 60,
        "1m",
        "limits.pause_first",
        learned,
        NOW,
    )
    control.explained = [Explained(message(), recipient(), why, "postroad.toml:7")]
    async with served(control) as directory:
        assert await run(directory, "why", "b@Example.org") == 0
        text = capsys.readouterr().out
        assert await run(directory, "why", queue_id(1).lower(), "--json") == 0
        row = json.loads(capsys.readouterr().out)
        # A local name, as programs write it.
        assert await run(directory, "why", "Root") == 0
        capsys.readouterr()
    assert [asked[1] for asked in control.asked] == [
        QueueFilter(to="b@example.org"),
        QueueFilter(ids=(queue_id(1),)),
        QueueFilter(to="Root@mail.example.com"),
    ]
    assert text.startswith(f"{queue_id(1)}  a@example.com -> b@example.org: site-paused\n")
    assert "decided   by pause_first = 1m (postroad.toml:7)" in text
    assert all(line.isprintable() for line in text.splitlines())
    assert (row["constraint"], row["origin"], row["next_try"]) == (
        "site-paused",
        "postroad.toml:7",
        "2026-11-18T11:07:40Z",
    )


async def test_without_a_daemon_the_index_says_why_and_the_file_where_the_setting_stands(
    capsys: Captured,
) -> None:
    with state_directory() as directory:
        config = directory / "postroad.toml"
        config.write_text(f'{config.read_text()}[retry]\n\nschedule = ["7m"]\n')
        owner = message(1, received_at=NOW)
        rows = [
            recipient(owner, 0, due=NOW + 10**9, attempts=2, last=deferred(), last_attempt_at=NOW),
            recipient("c@example.net", 1, state=State.HELD),
            recipient("d@example.com", 2, hop=hop("x", "gone"), due=NOW + 10**9),
            recipient("e@example.com", 3),
            recipient("f@example.com", 4, state=State.DELIVERED),
        ]
        await fill(directory, (owner, rows, b"x\r\n"))
        assert await run(directory, "why", queue_id(1), "--json") == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert await run(directory, "why", "b@example.org") == 0
        assert capsys.readouterr().out.endswith(
            "the daemon is not running: this is what the queue remembers\n"
        )
        assert await run(directory, "why", "nobody@example.org") == os.EX_NOINPUT
    assert [row["constraint"] for row in found] == ["greylisted", "held", "route-missing", "daemon-down"]
    assert found[0]["origin"] == "default"
    assert found[0]["learned"] == deferred().text


async def test_without_an_argument_the_longest_lines_are_told_with_one_who_waits(capsys: Captured) -> None:
    with state_directory() as directory:
        mails = [(message(n), f"b{n}@{'one' if n < 4 else 'two'}.example") for n in range(1, 6)]
        await fill(
            directory,
            *(
                (
                    owner,
                    [recipient(to, message=owner.id, due=NOW + 10**9, attempts=1, last=deferred())],
                    b"x\r\n",
                )
                for owner, to in mails
            ),
        )
        assert await run(directory, "why", "--json") == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert await run(directory, "why") == 0
        text = capsys.readouterr().out
    assert [(row["site"], row["waiting"], row["constraint"]) for row in rows] == [
        ("one.example", 3, "greylisted"),
        ("two.example", 2, "greylisted"),
    ]
    assert text.startswith("one.example: 3 waiting\n  why       the receiver makes newcomers wait")


async def test_a_setting_is_named_with_its_line(capsys: Captured) -> None:
    from postroad.mail.outcome import Reason

    with state_directory() as directory:
        config = directory / "postroad.toml"
        config.write_text(f'{config.read_text()}[retry]\n\nschedule = ["7m"]\n')
        last = deferred(reason=Reason.TEMPORARY)
        await fill(directory, (message(), [recipient(due=NOW + 10**9, attempts=1, last=last)], b"x\r\n"))
        assert await run(directory, "why", queue_id(1), "--json") == 0
        row = json.loads(capsys.readouterr().out)
    assert (row["setting"], row["value"], row["origin"]) == ("retry.schedule", "7m", f"{config}:7")
