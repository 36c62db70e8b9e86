"""The queue as operators see and change it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postroad.adapters.hub import EventHub
from postroad.adapters.local import LocalDoor, LocalSettings
from postroad.cli.main import main
from postroad.cli.queue import print_pages
from postroad.cli.sendmail_door import drop, envelope, request_line
from postroad.mail.lifecycle import State
from postroad.mail.message import Hold, Message, Recipient
from postroad.ports.queue import QueueFilter
from tests.support.build import HEAD, HOUR, NOW, deferred, hop, message, queue_id, recipient
from tests.support.operating import RememberingControl, RememberingIntake, StoppedClock, hop_of
from tests.support.queued import fill, state_directory
from tests.support.running import running

Captured = pytest.CaptureFixture[str]
EVIL = "550 \x1b[31mred\x07\nalert"


async def run(directory: Path, *arguments: str) -> int:
    return await asyncio.to_thread(main, ["--config", str(directory / "postroad.toml"), *arguments])


@asynccontextmanager
async def queued() -> AsyncIterator[Path]:
    """Three messages: one waits after an attempt, one is held and a bounce, one is being delivered."""
    first, second, third = message(1), message(2, sender=None), message(3, received_at=1.0)
    evil = deferred(text=EVIL)
    with state_directory() as directory:
        await fill(
            directory,
            (
                first,
                [
                    recipient("b@example.org", attempts=3, last=evil, due=NOW + 300),
                    recipient("c@example.net", n=1, hop=hop("127.0.0.1:26", "relay-1")),
                ],
                b"one\r\n",
            ),
            (
                second,
                [
                    recipient(
                        "d@example.org",
                        message=second.id,
                        state=State.HELD,
                        attempts=1,
                        last=deferred(),
                        held=Hold(None, "under \x1breview", NOW),
                    )
                ],
                b".dot\r\n",
            ),
            (
                third,
                [recipient("e@example.org", message=third.id, state=State.ACTIVE)],
                b"\xff" * 300_000 + b"\r\n",
            ),
        )
        yield directory


async def listed(directory: Path, capsys: Captured, *filters: str) -> list[str]:
    """The recipients that `queue list --json` names."""
    capsys.readouterr()
    assert await run(directory, "queue", "list", "--json", *filters) == 0
    return [json.loads(line)["recipient"] for line in capsys.readouterr().out.splitlines()]


async def test_the_list_has_the_keys_that_programs_rely_on(capsys: Captured) -> None:
    async with queued() as directory:
        assert await run(directory, "queue", "list", "--json") == 0
    first, second, held, active = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {
        "id": queue_id(1),
        "sender": "a@example.com",
        "recipient": "b@example.org",
        "size": len(HEAD) + 5,
        "arrived": "2026-11-18T11:06:40Z",
        "state": "waiting",
        "attempts": 3,
        "next_attempt": "2026-11-18T11:11:40Z",
        "site": "example.org",
        "reason": EVIL,
        "status": "4.7.1",
        "host": "mx.example.org[192.0.2.1]:25",
        "account": "user",
        "expires": "2026-11-23T11:06:40Z",
        "held": None,
    }
    assert (second["site"], second["reason"]) == ("relay-1:127.0.0.1:26", None)
    assert (held["state"], held["sender"], held["next_attempt"]) == ("held", "", None)
    assert held["held"] == {"policy": None, "reason": "under \x1breview", "since": "2026-11-18T11:06:40Z"}
    assert (held["reason"], held["status"]) == ("held by an operator: under \x1breview", None)
    assert (active["state"], active["next_attempt"]) == ("active", None)


async def test_the_list_for_people_says_why_and_until_when(capsys: Captured) -> None:
    async with queued() as directory:
        assert await run(directory, "queue", "list") == 0
    text = capsys.readouterr().out
    assert f"{queue_id(1)} " in text
    assert "waiting  a@example.com -> b@example.org" in text
    assert "3 attempts, next " in text
    assert ": 550 \\x1b[31mred\\x07\\nalert" in text
    assert "held     <> -> d@example.org" in text
    assert "held by an operator: under \\x1breview; until released, 1 attempt: 451 4.7.1 Greylisted" in text
    assert "not tried yet via relay-1:127.0.0.1:26" in text
    assert text.endswith("4 recipients of 3 messages\nthe daemon is not running\n")
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize(
    ("filters", "recipients"),
    [
        (["--to", "a@example.org"], []),
        (["--to", "b@EXAMPLE.org"], ["b@example.org"]),
        (["--from", "<>"], ["d@example.org"]),
        (["--domain", "example.net"], ["c@example.net"]),
        (["--domain", "EXAMPLE.net."], ["c@example.net"]),
        (["--from", "MAILER-DAEMON"], ["d@example.org"]),
        (["--state", "active"], ["e@example.org"]),
        (["--state", "waiting", "--from", "a@example.com"], ["b@example.org", "c@example.net"]),
        (["--older", "3650d"], ["e@example.org"]),
        (["--site", "relay-1"], ["c@example.net"]),
        (["--site", "127.0.0.1:26"], ["c@example.net"]),
        (["--site", "relay-1:127.0.0.1:26"], ["c@example.net"]),
        (["--site", "Example.org", "--state", "held"], ["d@example.org"]),
    ],
)
async def test_filters_must_all_hold(capsys: Captured, filters: list[str], recipients: list[str]) -> None:
    async with queued() as directory:
        assert await listed(directory, capsys, *filters) == recipients


async def test_a_domain_of_other_letters_is_looked_for_as_the_queue_has_it(capsys: Captured) -> None:
    with state_directory() as directory:
        owner = message(1)
        await fill(directory, (owner, [recipient("b@xn--bcher-kva.example")], b"x\r\n"))
        found = await listed(directory, capsys, "--domain", "b\u00fccher.example")
        assert found == ["b@xn--bcher-kva.example"]
        assert await run(directory, "queue", "list", "--domain", "a b") == os.EX_USAGE


async def test_what_waits_in_the_maildrop_is_seen_while_no_daemon_runs(capsys: Captured) -> None:
    line = request_line(**envelope("a@example.com", ["b@example.org"]), size=1)
    async with queued() as directory:
        (directory / "maildrop").mkdir()
        drop(str(directory / "maildrop"), line, b"x", "down")
        assert await run(directory, "queue", "list") == 0
        assert f"1 message in {directory / 'maildrop'} for it to take up\n" in capsys.readouterr().out
        assert await run(directory, "queue", "list", "--format", "postqueue-json") == 0
        last = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (last["queue_name"], last["sender"]) == ("maildrop", "a@example.com")
        assert last["recipients"] == [{"address": "b@example.org"}]
        assert abs(last["arrival_time"] - time.time()) < HOUR
        assert await run(directory, "status", "--json") == 0
        assert json.loads(capsys.readouterr().out)["maildrop"] == 1
        (directory / "maildrop" / f"refused.2.{'0' * 32}").write_text("no message\n")
        assert await run(directory, "status", "--json") == 0
        assert json.loads(capsys.readouterr().out)["refused"] == 1
        note = f"1 file in {directory / 'maildrop'} refused: postroad spool check says why\n"
        assert await run(directory, "queue", "list") == 0
        assert note in capsys.readouterr().out
        assert await run(directory, "queue", "list", "--format", "mailq") == 0
        assert note in capsys.readouterr().err
        # Of the whole queue alone.
        assert await run(directory, "queue", "list", "--format", "mailq", "--to", "b@example.org") == 0
        assert "4 Requests" not in capsys.readouterr().out


async def test_a_page_is_out_before_the_next_is_read(capsys: Captured) -> None:
    told: list[str] = []

    async def pages() -> AsyncIterator[list[tuple[Message, Recipient]]]:
        for n in (1, 2, 3):
            owner = message(n)
            yield [(owner, recipient(owner))]
            told.append(capsys.readouterr().out)

    await print_pages(pages(), lambda owner, _: [owner.id])
    assert told == [f"{queue_id(n)}\n" for n in (1, 2, 3)]


async def test_the_other_formats_show_the_same_messages(capsys: Captured) -> None:
    async with queued() as directory:
        assert await run(directory, "queue", "list", "--format", "mailq") == 0
        text = capsys.readouterr().out
        assert await run(directory, "queue", "list", "--format", "postqueue-json") == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert text.startswith("----Queue ID-----")
    assert text.endswith("-- 293 Kbytes in 3 Requests.\n")
    assert [one["queue_name"] for one in found] == ["deferred", "hold", "active"]
    assert [len(one["recipients"]) for one in found] == [2, 1, 1]


async def test_a_filter_or_ids_from_stdin_say_what_is_shown(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with queued() as directory:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{queue_id(3)} x\n{queue_id(1)}\n"))
        assert await run(directory, "queue", "show", "--json", "-") == 0
        assert await run(directory, "queue", "show", "--json", "--site", "relay-1") == 0
        assert await run(directory, "queue", "show") == os.EX_USAGE
        found = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{queue_id(2)}\n"))
        assert await listed(directory, capsys, "-") == ["d@example.org"]
    assert found == [queue_id(3), queue_id(1), queue_id(1)]


async def test_without_a_daemon_a_site_that_matches_nothing_may_be_known_otherwise(capsys: Captured) -> None:
    async with queued() as directory:
        assert await run(directory, "queue", "list", "--site", "mx.example.org") == 0
    assert "a site is known by its next hop alone" in capsys.readouterr().out


async def test_an_empty_queue_is_called_empty(capsys: Captured) -> None:
    with state_directory() as directory:
        await fill(directory)
        assert await run(directory, "queue", "list") == 0
        assert capsys.readouterr().out == "the queue is empty\nthe daemon is not running\n"


async def test_a_message_is_shown_with_all_its_recipients(capsys: Captured) -> None:
    async with queued() as directory:
        assert await run(directory, "queue", "show", queue_id(1).lower()) == 0
        text = capsys.readouterr().out
        assert await run(directory, "queue", "show", "--json", queue_id(1)) == 0
        found = json.loads(capsys.readouterr().out)
    assert f"id         {queue_id(1)}\nsender     a@example.com\n" in text
    assert "recipient  b@example.org  [waiting]" in text
    assert all(line.isprintable() for line in text.splitlines())
    assert [one["recipient"] for one in found["recipients"]] == ["b@example.org", "c@example.net"]


@pytest.mark.parametrize(
    ("number", "body"), [(1, b"one\r\n"), (2, b".dot\r\n"), (3, b"\xff" * 300_000 + b"\r\n")]
)
async def test_a_message_is_printed_octet_by_octet(
    capfdbinary: pytest.CaptureFixture[bytes], number: int, body: bytes
) -> None:
    async with queued() as directory:
        assert await run(directory, "queue", "cat", queue_id(number)) == 0
    assert capfdbinary.readouterr().out == HEAD + body


@pytest.mark.parametrize("verb", ["show", "cat"])
async def test_a_message_that_is_not_there_is_told(capsys: Captured, verb: str) -> None:
    async with queued() as directory:
        assert await run(directory, "queue", verb, queue_id(9)) == os.EX_NOINPUT
    assert capsys.readouterr().err == f"postroad: {queue_id(9)}: not in the queue\n"


async def test_the_status_without_a_daemon_counts_the_queue(capsys: Captured) -> None:
    async with queued() as directory:
        assert await run(directory, "status", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert await run(directory, "status") == 0
        assert capsys.readouterr().out.startswith("the daemon is not running\n")
    counted = {"waiting": 2, "active": 1, "held": 1, "messages": 3, "maildrop": 0, "refused": 0}
    assert found == {"running": False, **counted}


async def test_an_index_that_may_not_be_opened_is_no_empty_queue(capsys: Captured) -> None:
    with state_directory() as directory:
        (directory / "queue.sqlite").symlink_to("queue.sqlite")
        assert await run(directory, "status") == os.EX_NOPERM
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "be root or the user of the daemon" in captured.err


# --- with a daemon -----------------------------------------------------------------


@asynccontextmanager
async def served(control: RememberingControl) -> AsyncIterator[Path]:
    with state_directory() as directory:
        settings = LocalSettings("mail.example.com", 1000, hop_of)
        door = LocalDoor(
            directory / "postroad.sock", control, RememberingIntake(), EventHub(), StoppedClock(), settings
        )
        door.bind()
        async with running(door):
            yield directory


class DatedControl(RememberingControl):
    async def status(self) -> dict[str, object]:
        return {
            "since": NOW,
            "waiting": 2,
            "paused": [{"site": "mx\x07", "until": NOW + 60, "reason": "421"}],
        }


async def test_the_status_with_a_daemon_is_what_it_says(capsys: Captured) -> None:
    async with served(DatedControl()) as directory:
        assert await run(directory, "status", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert await run(directory, "status") == 0
        text = capsys.readouterr().out
    assert found["running"] is True
    assert found["since"] == "2026-11-18T11:06:40Z"
    assert found["paused"][0]["until"] == "2026-11-18T11:07:40Z"
    assert "site mx\\x07, until 2026-11-18T11:07:40Z, reason 421" in text


@pytest.mark.parametrize("verb", ["retry", "hold", "release", "delete", "bounce"])
async def test_a_change_is_asked_of_the_daemon_and_its_answer_shown(capsys: Captured, verb: str) -> None:
    control = RememberingControl()
    async with served(control) as directory:
        assert await run(directory, "queue", verb, queue_id(1).lower(), queue_id(1)) == 0
    assert control.asked == [(verb, QueueFilter(ids=(queue_id(1),)), os.getuid())]
    assert capsys.readouterr().out == (
        f"{queue_id(1)}  b@example.org\n{queue_id(1)}  c@example.org\n{verb}: 2 recipients\n"
    )


async def test_filters_and_all_reach_the_daemon(capsys: Captured) -> None:
    control = RememberingControl()
    async with served(control) as directory:
        assert await run(directory, "queue", "hold", "--from", "<>", "--state", "waiting", "--json") == 0
        assert await run(directory, "queue", "retry", "--all") == 0
        assert await run(directory, "queue", "delete", "--all", "--yes") == 0
    assert [asked[:2] for asked in control.asked] == [
        ("hold", QueueFilter(sender="<>", state="waiting")),
        ("retry", QueueFilter()),
        ("delete", QueueFilter()),
    ]
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first == {"id": queue_id(1), "recipient": "b@example.org"}


async def test_a_site_reaches_the_daemon_and_its_hops_the_index(capsys: Captured) -> None:
    control = RememberingControl()
    async with served(control) as directory:
        await fill(directory, (message(1), [recipient("b@of.mx", hop=hop("hop.of.mx"))], b"x\r\n"))
        assert await run(directory, "queue", "hold", "--site", "mx") == 0
        capsys.readouterr()
        assert await listed(directory, capsys, "--site", "mx") == ["b@of.mx"]
        assert await listed(directory, capsys, "--site", "other") == []
    assert [asked[1] for asked in control.asked] == [QueueFilter(sites=("mx",))]


async def test_an_id_that_was_not_changed_is_told_with_66(capsys: Captured) -> None:
    async with served(RememberingControl()) as directory:
        assert await run(directory, "queue", "hold", queue_id(1), queue_id(7)) == os.EX_NOINPUT
    assert capsys.readouterr().err.startswith(f"postroad: not changed: {queue_id(7)}: not in the queue")


async def test_ids_come_from_stdin_and_none_is_not_all(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = RememberingControl()
    async with served(control) as directory:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{queue_id(1)}  b@example.org\n\n"))
        assert await run(directory, "queue", "delete", "-") == 0
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
        assert await run(directory, "queue", "delete", "-") == 0
    assert [asked[1] for asked in control.asked] == [QueueFilter(ids=(queue_id(1),))]


async def test_many_ids_are_asked_in_several_requests(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = RememberingControl()
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(queue_id(n) for n in range(4001))))
    async with served(control) as directory:
        await run(directory, "queue", "hold", "-")
    assert [len(asked[1].ids) for asked in control.asked] == [2000, 2000, 1]


async def test_what_the_daemon_refuses_is_told(capsys: Captured) -> None:
    control = RememberingControl()
    control.refusal = "not \x1b today"
    async with served(control) as directory:
        assert await run(directory, "queue", "hold", queue_id(1)) == os.EX_DATAERR
    assert capsys.readouterr().err == "postroad: not \\x1b today\n"
