"""mailq as Postfix prints it."""

from __future__ import annotations

import re

from postroad.cli.sendmail_queue import HEADING, Listing
from postroad.mail.lifecycle import State
from postroad.mail.message import Message, Recipient
from tests.support.build import deferred, message, queue_id, recipient


def listing(*pages: list[tuple[Message, Recipient]]) -> list[str]:
    made = Listing()
    return [line for page in pages for line in made.page(page)] + list(made.end())


def test_an_empty_queue_says_so() -> None:
    assert listing() == ["Mail queue is empty"]


def test_a_message_has_its_recipients_below_each_with_why_it_waits() -> None:
    owner = message(1, size=2048)
    first = recipient(
        owner, 0, last=deferred(text="connect to 127.0.0.1[127.0.0.1]:12611: Connection refused")
    )
    second = recipient("c@example.org", 1)
    heading, head, reason, to, other, empty, total = listing([(owner, first), (owner, second)])
    assert heading == HEADING
    assert re.fullmatch(rf"{queue_id(1)}          2048 \w{{3}} Nov 18 \d\d:06:40 a@example\.com", head)
    assert reason == " " * 19 + "(connect to 127.0.0.1[127.0.0.1]:12611: Connection refused)"
    assert (to.strip(), other.strip()) == ("b@example.org", "c@example.org")
    assert to.index("b@") == head.index("a@")
    assert (empty, total) == ("", "-- 2 Kbytes in 1 Request.")


def test_active_and_held_messages_are_marked_and_the_null_sender_has_a_name() -> None:
    active, held = message(1, sender=None), message(2)
    lines = listing(
        [
            (active, recipient(active, state=State.ACTIVE)),
            (held, recipient(held, state=State.HELD)),
        ]
    )
    assert lines[1].startswith(f"{queue_id(1)}* ")
    assert lines[1].endswith(" MAILER-DAEMON")
    assert lines[4].startswith(f"{queue_id(2)}! ")
    assert lines[-1] == "-- 0 Kbytes in 2 Requests."


def test_a_message_that_goes_on_over_pages_is_one_message() -> None:
    owner = message(1)
    lines = listing(*([(owner, recipient(f"b{n}@example.org", n))] for n in range(3)))
    assert sum(line.startswith(queue_id(1)) for line in lines) == 1
    assert lines[-1] == "-- 0 Kbytes in 1 Request."


def test_what_a_receiver_said_cannot_steer_the_terminal() -> None:
    owner = message(1)
    lines = listing([(owner, recipient(owner, last=deferred(text="\x1b[2J\nfake")))])
    assert all(line.isprintable() for line in lines)
