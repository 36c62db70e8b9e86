"""The story of each letter, read from log lines in whatever order they come."""

from __future__ import annotations

import pytest

from postroad.demo.fates import Ledger, Line, Stand, when
from postroad.demo.letters import BERT, DORA, GWEN, NOBODY, SENDER, Letter

LETTER = Letter("To all", (BERT, GWEN, NOBODY, DORA), b"Subject: x\r\n\r\nx\r\n", "<1@x.example>", False)
RELAYS = {
    "harbour.example": "127.0.0.1:1",
    "patience.example": "127.0.0.1:2",
    "closed.example": "127.0.0.1:3",
    "dawn.example": "127.0.0.1:4",
}


def tried(id: str, to: str, status: str, **more: object) -> Line:
    return {"event": "tried", "id": id, "to": to, "status": status, "attempts": 1, "reply": "250 ok", **more}


def ledger() -> Ledger:
    made = Ledger((LETTER,), RELAYS)
    made.accepted(LETTER, "A1")
    return made


def stands(of: Ledger) -> dict[str, Stand]:
    return {fate.recipient: fate.stand for fate in of.fates}


def words(of: Ledger, recipient: str) -> str:
    return next(fate.words for fate in of.fates if fate.recipient == recipient)


GREYLISTED = tried(
    "A1", GWEN, "deferred", reply="450 4.7.1 Later", reason="greylist", next="2026-11-23T01:02:03Z"
)
REFUSED = tried("A1", NOBODY, "failed", reply="550 5.1.1 Nobody")
NOTIFIED = {"event": "notified", "id": "A1", "dsn": "B1", "kind": "failed", "to": SENDER}
BOUNCE_SENT = tried("B1", SENDER, "sent")


def test_a_deferral_says_why_and_until_when() -> None:
    book = ledger()
    book.read(GREYLISTED)
    assert words(book, GWEN) == "greylisted (450 4.7.1 Later); next try at 01:02:03"
    assert book.waiting


def test_some_wait_only_when_all_have_been_turned_away_who_are_to_be() -> None:
    book = ledger()
    book.read({"event": "hop-deferred", "hop": "route-4:127.0.0.1:4", "text": "refused", "until": "x"})
    assert not book.waiting


def test_delivery_after_greylisting_says_so_with_its_attempts() -> None:
    book = ledger()
    book.read(GREYLISTED)
    book.read(tried("A1", GWEN, "sent", attempts=2))
    assert words(book, GWEN).startswith("delivered after greylisting, 2 attempts, ")


def test_a_hop_that_is_put_off_concerns_those_who_wait_for_it() -> None:
    book = ledger()
    book.read({"event": "hop-deferred", "hop": "route-4:127.0.0.1:4", "text": "refused", "until": "x"})
    assert stands(book)[DORA] is Stand.WAITING
    assert stands(book)[BERT] is Stand.SENDING


def test_a_refusal_is_over_when_its_bounce_has_arrived() -> None:
    book = ledger()
    book.read(REFUSED)
    book.read(NOTIFIED)
    assert words(book, NOBODY) == "refused: 550 5.1.1 Nobody; bounce B1 on its way"
    book.read(BOUNCE_SENT)
    assert words(book, NOBODY) == f"refused: 550 5.1.1 Nobody; bounce B1 delivered to {SENDER}"
    assert stands(book)[NOBODY] is Stand.BOUNCED


@pytest.mark.parametrize("early", [[REFUSED, NOTIFIED, BOUNCE_SENT], [BOUNCE_SENT, REFUSED, NOTIFIED]])
def test_lines_that_run_ahead_of_the_client_are_not_lost(early: list[Line]) -> None:
    book = Ledger((LETTER,), RELAYS)
    for line in early:
        book.read(line)
    book.accepted(LETTER, "A1")
    assert stands(book)[NOBODY] is Stand.BOUNCED


def test_it_is_complete_only_when_every_message_and_every_bounce_has_left_the_queue() -> None:
    book = ledger()
    for line in (REFUSED, NOTIFIED, BOUNCE_SENT, *(tried("A1", to, "sent") for to in (BERT, GWEN, DORA))):
        book.read(line)
    book.read({"event": "removed", "id": "A1"})
    assert not book.complete
    book.read({"event": "removed", "id": "B1"})
    assert book.complete


@pytest.mark.parametrize(
    ("instant", "text"), [("2026-11-23T01:02:03Z", "at 01:02:03"), (None, "None"), ("soon", "soon")]
)
def test_the_time_of_the_next_try_is_a_time_of_day(instant: object, text: str) -> None:
    assert when(instant) == text
