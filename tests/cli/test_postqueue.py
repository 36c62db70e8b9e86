"""mailq and `postqueue -j` as Postfix prints them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from postroad.cli.postqueue import HEADING, Listing, as_json, queue_name, whole
from postroad.mail.lifecycle import State
from postroad.mail.message import Message, Recipient
from tests.support.build import NOW, deferred, message, queue_id, recipient

DOWN = deferred(text="connect to 127.0.0.1[127.0.0.1]:12611: Connection refused")


def listing(*mails: tuple[Message, list[Recipient]]) -> list[str]:
    made = Listing()
    return [line for mail in mails for line in made.message(*mail)] + list(made.end())


def test_an_empty_queue_says_so() -> None:
    assert listing() == ["Mail queue is empty"]


def test_a_message_has_its_recipients_below_why_they_wait() -> None:
    owner = message(1, size=2048)
    rows = [recipient(owner, 0, last=DOWN), recipient("c@example.org", 1)]
    heading, head, reason, to, other, empty, total = listing((owner, rows))
    assert heading == HEADING
    # Local time, wherever this is.
    came = time.strftime("%a %b %e %H:%M:%S", time.localtime(NOW))
    assert head == f"{queue_id(1)}          2048 {came} a@example.com"
    assert reason == " " * 19 + "(connect to 127.0.0.1[127.0.0.1]:12611: Connection refused)"
    assert (to.strip(), other.strip()) == ("b@example.org", "c@example.org")
    assert to.index("b@") == head.index("a@")
    assert (empty, total) == ("", "-- 2 Kbytes in 1 Request.")


def test_a_reason_is_said_once_for_those_in_a_row() -> None:
    owner = message(1)
    other = deferred(text="another")
    rows = [recipient(owner, n, last=last) for n, last in enumerate([DOWN, DOWN, other, DOWN])]
    lines = [line.strip()[:8] for line in listing((owner, rows))[2:-2]]
    assert lines == ["(connect", "b@exampl", "b@exampl", "(another", "b@exampl", "(connect", "b@exampl"]


def test_the_day_of_the_month_is_padded_with_a_space() -> None:
    early = time.mktime((2026, 11, 5, 7, 8, 9, 0, 0, -1))
    owner = message(1, received_at=early)
    assert " Thu Nov  5 07:08:09 a@" in listing((owner, [recipient(owner)]))[1]


@pytest.mark.parametrize(
    ("rows", "name", "mark"),
    [
        ([{"state": State.ACTIVE}, {"state": State.HELD}], "active", "*"),
        ([{"state": State.HELD}, {"last": DOWN}], "hold", "!"),
        ([{"attempts": 1}, {}], "deferred", " "),
        ([{"last": DOWN}], "deferred", " "),
        ([{}], "incoming", " "),
    ],
)
def test_the_busiest_recipient_decides_the_queue_of_a_message(
    rows: list[dict[str, object]], name: str, mark: str
) -> None:
    owner = message(1, sender=None)
    made = [recipient(owner, n, **fields) for n, fields in enumerate(rows)]
    assert queue_name(made) == name
    head = listing((owner, made))[1]
    assert head.startswith(queue_id(1) + mark)
    assert head.endswith(" MAILER-DAEMON")


async def test_a_message_that_goes_on_over_pages_is_one_message() -> None:
    one, two = message(1), message(2)
    pages = [
        [(one, recipient(one, 0)), (one, recipient(one, 1))],
        [(one, recipient(one, 2)), (two, recipient(two, 0))],
    ]

    async def read() -> AsyncIterator[Sequence[tuple[Message, Recipient]]]:
        for page in pages:
            yield page

    found = [(owner.id, [row.n for row in rows]) async for owner, rows in whole(read())]
    assert found == [(one.id, [0, 1, 2]), (two.id, [0])]


def test_what_a_receiver_said_cannot_steer_the_terminal() -> None:
    owner = message(1)
    rows = [recipient(owner, last=deferred(text="\x1b[2J\nfake"))]
    assert all(line.isprintable() for line in [*listing((owner, rows)), as_json(owner, rows)])


def test_the_json_of_a_message_has_postfix_s_keys() -> None:
    owner = message(1, size=270)
    rows = [recipient(owner, last=DOWN), recipient("c@example.org", 1)]
    assert json.loads(as_json(owner, rows)) == {
        "queue_name": "deferred",
        "queue_id": owner.id,
        "arrival_time": 1_795_000_000,
        "message_size": 270,
        "forced_expire": False,
        "sender": "a@example.com",
        "recipients": [
            {"address": "b@example.org", "delay_reason": DOWN.text},
            {"address": "c@example.org"},
        ],
    }
