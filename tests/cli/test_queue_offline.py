"""The queue changed while no daemon runs, and by nobody else while one does."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

from postroad.adapters.segment_lock import hold, let_go_of
from postroad.cli.main import main
from postroad.mail.lifecycle import State
from tests.support.build import NOW, message, queue_id, recipient
from tests.support.queued import fill, state_directory

Captured = pytest.CaptureFixture[str]
LATER = NOW + 10**9


async def run(directory: Path, *arguments: str) -> int:
    return await asyncio.to_thread(main, ["--config", str(directory / "postroad.toml"), *arguments])


async def states(directory: Path, capsys: Captured) -> dict[str, str]:
    capsys.readouterr()
    assert await run(directory, "queue", "list", "--json") == 0
    rows = map(json.loads, capsys.readouterr().out.splitlines())
    return {row["recipient"]: row["state"] for row in rows}


async def three(directory: Path, second: State = State.HELD) -> None:
    """One waits, one is held, one was in an attempt when the daemon died."""
    mails = [
        (message(n), recipient(f"{to}@example.org", message=queue_id(n), state=state, due=LATER))
        for n, to, state in ((1, "a", State.WAITING), (2, "b", second), (3, "c", State.ACTIVE))
    ]
    await fill(directory, *((owner, [row], b"hello\r\n") for owner, row in mails))


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["hold", queue_id(1)], {"a": "held", "b": "held", "c": "waiting"}),
        (["hold", queue_id(3)], {"a": "waiting", "b": "held", "c": "held"}),
        (["release", "--state", "held"], {"a": "waiting", "b": "waiting", "c": "waiting"}),
        (["delete", "--to", "a@example.org"], {"b": "held", "c": "waiting"}),
        (["delete", "--site", "example.org", "--state", "held"], {"a": "waiting", "c": "waiting"}),
    ],
)
async def test_a_queue_without_a_daemon_is_changed_directly(
    capsys: Captured, words: list[str], left: dict[str, str]
) -> None:
    with state_directory() as directory:
        await three(directory)
        assert await run(directory, "queue", *words) == 0
        said = capsys.readouterr()
        assert f"{words[0]}: 1 recipient\n" in said.out
        assert said.err.endswith("postroad: the daemon is not running: the queue was changed without it\n")
        assert await states(directory, capsys) == {f"{to}@example.org": state for to, state in left.items()}


async def test_the_reason_of_a_hold_is_shown_wherever_the_queue_is(capsys: Captured) -> None:
    with state_directory() as directory:
        await three(directory)
        assert await run(directory, "queue", "hold", queue_id(1), "--reason", "under review") == 0
        for words in (
            ["queue", "list", queue_id(1)],
            ["queue", "list", "--format", "mailq", queue_id(1)],
            ["queue", "list", "--format", "postqueue-json", queue_id(1)],
            ["queue", "show", queue_id(1)],
        ):
            capsys.readouterr()
            assert await run(directory, *words) == 0
            assert "held by an operator: under review" in capsys.readouterr().out, words
        assert await run(directory, "why", queue_id(1)) == 0
        assert re.search(r"an operator holds it since \S+Z: under review\n", capsys.readouterr().out)


@pytest.mark.parametrize("reason", ["x" * 201, "two\nlines", "\udcff"])
async def test_a_reason_that_no_line_can_show_holds_nothing(capsys: Captured, reason: str) -> None:
    with state_directory() as directory:
        await three(directory)
        assert await run(directory, "queue", "hold", queue_id(1), "--reason", reason) == os.EX_USAGE
        assert "at most 200 printable characters" in capsys.readouterr().err
        assert (await states(directory, capsys))["a@example.org"] == "waiting"


async def test_what_is_retried_directly_is_due_when_a_daemon_starts(capsys: Captured) -> None:
    with state_directory() as directory:
        await three(directory)
        assert await run(directory, "queue", "retry", queue_id(1)) == 0
        capsys.readouterr()
        assert await run(directory, "queue", "show", "--json", queue_id(1)) == 0
        (row,) = json.loads(capsys.readouterr().out)["recipients"]
    assert row["next_attempt"] < "2030"


async def test_what_is_bounced_directly_leaves_a_notification_in_its_place(capsys: Captured) -> None:
    with state_directory() as directory:
        (directory / "accounts").touch()
        await three(directory)
        assert await run(directory, "queue", "bounce", queue_id(2)) == 0
        assert await states(directory, capsys) == {
            "a@example.org": "waiting",
            "c@example.org": "waiting",
            "a@example.com": "waiting",
        }
        assert await run(directory, "spool", "check") == 0


async def test_a_queue_that_somebody_owns_is_not_touched(capsys: Captured) -> None:
    with state_directory() as directory:
        await three(directory)
        lock, _ = hold(directory / "spool")
        try:
            assert await run(directory, "queue", "delete", "--all", "--yes") == os.EX_TEMPFAIL
        finally:
            let_go_of(lock)
        err = capsys.readouterr().err
        assert re.search(
            rf"in use by process {os.getpid()}, since \d{{4}}-\d\d-\d\dT[0-9:]+Z: it begins", err
        )
        assert len(await states(directory, capsys)) == 3


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["hold", "--all"], ["a"]),
        (["release", "--all"], ["b"]),
        (["delete", "--all"], ["a", "b"]),
        (["bounce", "--domain", "example.org", "--state", "waiting"], ["a"]),
        (["retry", queue_id(1), queue_id(2)], ["a"]),
    ],
)
async def test_a_dry_run_names_what_would_change_and_changes_nothing(
    capsys: Captured, words: list[str], named: list[str]
) -> None:
    with state_directory() as directory:
        await three(directory)
        before = await states(directory, capsys)
        assert await run(directory, "queue", *words, "--dry-run") in (0, os.EX_NOINPUT)
        *rows, last = capsys.readouterr().out.splitlines()
        assert [row.split()[1] for row in rows] == [f"{to}@example.org" for to in named]
        assert last.endswith("would change; nothing was changed")
        assert await states(directory, capsys) == before


async def test_the_shape_of_a_queue_counts_recipients_by_domain_and_queue(capsys: Captured) -> None:
    with state_directory() as directory:
        await three(directory)
        for queues, total in (
            ([], 3),
            (["hold"], 1),
            (["incoming"], 1),
            (["active", "hold"], 2),
            (["bounce"], 0),
        ):
            assert await run(directory, "queue", "shape", *queues) == 0
            head, *rows = capsys.readouterr().out.splitlines()
            assert head.split() == ["T", "5", "10", "20", "40", "80", "160", "320", "640", "1280", "1280+"]
            assert rows[0].split()[:2] == ["TOTAL", str(total)]
        assert await run(directory, "queue", "shape", "--senders", "--json") == 0
        names = [json.loads(line)["domain"] for line in capsys.readouterr().out.splitlines()]
    assert names == ["TOTAL", "example.com"]
