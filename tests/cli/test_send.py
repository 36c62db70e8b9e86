"""One message sent from the command line, and followed to its end."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from postroad.cli.main import main
from postroad.mail.events import Event, HopDeferred, HopFailed, Notified, Removed
from postroad.mail.message import Submission
from postroad.mail.outcome import Outcome
from postroad.mail.reply import Reply
from tests.support.build import NOW, deferred, delivered, failed, message, queue_id, recipient
from tests.support.happenings import tried
from tests.support.operating import Office
from tests.support.queued import fill, state_directory
from tests.support.running import running

Captured = pytest.CaptureFixture[str]
LONG_AFTER = 4_000_000_000.0


def attempt(*outcomes: Outcome, due: float = LONG_AFTER) -> Event:
    """One attempt at b0@example.org, b1@example.org, ..."""
    return tried(*outcomes, due=due)


@asynccontextmanager
async def sending() -> AsyncIterator[tuple[Path, Office]]:
    with state_directory() as directory:
        there = Office(directory, None)
        there.door.bind()
        async with running(there.door):
            yield directory, there


class Sender:
    """`postroad send` beside a door whose events the test decides."""

    def __init__(self, capsys: Captured) -> None:
        self._capsys = capsys
        self.code = -1
        self.out: list[str] = []
        self.err = ""

    async def send(
        self, *arguments: str, events: Sequence[Event] = (), reply: Reply | None = None, known: bool = False
    ) -> Submission | None:
        async with sending() as (directory, there):
            if known:
                waiting = recipient(last=deferred(text="421 busy\x07"), due=LONG_AFTER)
                await fill(directory, (message(1), [replace(waiting, message=queue_id(1))], b"x\r\n"))
            there.intake.reply = reply or there.intake.reply
            there.intake.gate = asyncio.Event()
            command = ["--config", str(directory / "postroad.toml"), "send", "--from", "a@example.com"]
            task = asyncio.create_task(asyncio.to_thread(main, [*command, *arguments]))
            while not there.intake.taken and not task.done():
                await asyncio.sleep(0)
            there.emit(*events)
            there.intake.gate.set()
            self.code = await task
            captured = self._capsys.readouterr()
            self.out, self.err = captured.out.splitlines(), captured.err
            return there.intake.taken[0] if there.intake.taken else None


@pytest.fixture
def sender(capsys: Captured) -> Sender:
    return Sender(capsys)


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "message").write_bytes(b"From: a@example.com\nSubject: hello\n\nGood morning.\n")
    return str(tmp_path / "message")


async def test_a_message_that_arrives_ends_with_0(sender: Sender, file: str) -> None:
    events = [attempt(deferred(), due=1.0), attempt(delivered())]
    await sender.send("--to", "b0@example.org", file, events=events)
    assert sender.code == 0
    assert sender.out == [
        f"accepted as {queue_id(1)}",
        "b0@example.org: deferred by mx.example.org[192.0.2.1]:25, next attempt 1970-01-01T00:00:01Z: "
        "451 4.7.1 Greylisted",
        "b0@example.org: delivered by mx.example.org[192.0.2.1]:25 over TLSv1.3 TLS_AES_256_GCM_SHA384: "
        "250 2.0.0 Ok",
    ]


async def test_one_failure_among_many_ends_with_69(sender: Sender, file: str) -> None:
    told = Notified(queue_id(1), queue_id(2), "failed", "a@example.com")
    events = [attempt(failed(text="550 no\x1b[2J")), told, attempt(failed(), delivered())]
    await sender.send("--to", "b0@example.org", "b1@example.org", file, events=events)
    assert sender.code == os.EX_UNAVAILABLE
    assert "550 no\\x1b[2J" in sender.out[1]
    assert sender.out[2] == f"the sender is told: {queue_id(2)} to a@example.com"


async def test_what_waits_longer_than_we_would_ends_with_75_at_once(sender: Sender, file: str) -> None:
    await sender.send("--to", "b0@example.org", "--timeout", "1h", file, events=[attempt(deferred())])
    assert sender.code == os.EX_TEMPFAIL
    assert sender.out[-1] == f"{queue_id(1)} stays in the queue; postroad queue show {queue_id(1)}"


async def test_a_destination_that_cannot_be_reached_now_is_told_like_an_attempt(
    sender: Sender, file: str
) -> None:
    events: list[Event] = [
        HopDeferred("example.org", 1, LONG_AFTER, "no answer"),
        HopFailed("example.net", 1, "no such domain"),
    ]
    await sender.send("--to", "b@example.org", "c@example.net", file, events=events)
    assert sender.code == os.EX_UNAVAILABLE
    assert sender.out[1] == "b@example.org: deferred, next attempt 2096-10-02T07:06:40Z: no answer"
    assert sender.out[2] == "c@example.net: failed: no such domain"


async def test_when_nothing_was_heard_the_queue_says_why(sender: Sender, file: str) -> None:
    await sender.send("--to", "b@example.org", "--timeout", "20ms", file, known=True)
    assert sender.code == os.EX_TEMPFAIL
    assert sender.out[1].startswith("b@example.org: not tried yet, due in ")
    assert sender.out[1].endswith(": 421 busy\\x07")


async def test_a_message_may_be_left_to_itself(sender: Sender, file: str) -> None:
    await sender.send("--to", "b0@example.org", "--no-wait", file)
    assert sender.code == 0
    assert sender.out == [f"accepted as {queue_id(1)}"]


async def test_programs_get_an_object_a_line(sender: Sender, file: str) -> None:
    events = [attempt(delivered()), Removed(queue_id(1))]
    await sender.send("--to", "b0@example.org", "--json", file, events=events)
    first, second = map(json.loads, sender.out)
    assert first == {"event": "accepted", "id": queue_id(1), "code": 250, "text": f"queued as {queue_id(1)}"}
    assert (second["event"], second["recipient"]) == ("delivered", "b0@example.org")


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(452, ("Insufficient system storage",), "4.3.1"), os.EX_TEMPFAIL),
        (Reply(550, ("No \x07",), "5.7.1"), os.EX_NOPERM),
        (Reply(554, ("Not today",), None), os.EX_UNAVAILABLE),
    ],
)
async def test_a_message_that_is_not_taken_is_told_with_the_reply(
    sender: Sender, file: str, reply: Reply, code: int
) -> None:
    await sender.send("--to", "b0@example.org", file, reply=reply)
    assert sender.code == code
    assert sender.err.startswith(f"postroad: not accepted: {reply.code} ")
    assert sender.err.strip().isprintable()


async def test_a_bad_address_is_refused_by_the_daemon(sender: Sender, file: str) -> None:
    await sender.send("--to", "b@@example.org", file)
    assert sender.code == os.EX_DATAERR
    assert sender.err.startswith("postroad: not accepted: 553 5.1.3 Bad address: ")


@pytest.mark.parametrize(
    ("arguments", "octets", "head", "body"),
    [
        ([], b"X: y\n\nz\n", b"X: y\r\n\r\n", b"z\r\n"),
        ([], b"only text\n", b"From: a@example.com\r\nTo: b@example.org\r\n\r\n", b"only text\r\n"),
        (
            ["--subject", "hello"],
            b"X: y\n",
            b"From: a@example.com\r\nTo: b@example.org\r\nSubject: hello\r\n\r\n",
            b"X: y\r\n",
        ),
        (
            ["--subject", "f\xfcnf"],
            "f\xfcnf".encode(),
            b"From: a@example.com\r\nTo: b@example.org\r\nSubject: =?utf-8?b?ZsO8bmY=?=\r\n"
            b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n",
            "f\xfcnf\r\n".encode(),
        ),
    ],
    ids=["a message", "a text", "a text with a subject", "a text that is not ASCII"],
)
async def test_the_input_is_a_message_or_becomes_one(
    sender: Sender,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    octets: bytes,
    head: bytes,
    body: bytes,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(octets)))
    taken = await sender.send("--to", "b@example.org", "--no-wait", *arguments)
    assert taken is not None
    assert (taken.content.head, taken.content.body) == (head, body)


async def test_an_event_of_the_past_does_not_confuse(sender: Sender, file: str) -> None:
    other = HopDeferred("else.example", 1, NOW, "no")
    await sender.send("--to", "b0@example.org", file, events=[other, attempt(delivered())])
    assert sender.code == 0
    assert len(sender.out) == 2
