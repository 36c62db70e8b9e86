from __future__ import annotations

from dataclasses import replace

import pytest

from postroad.mail.completion import Completion, complete, received
from postroad.mail.message import Peer
from tests.support.build import address

FACTS = Completion(
    peer=Peer("192.0.2.7"),
    hostname="mail.example.com",
    id="ABCDEF123456",
    date="Mon, 23 Nov 2026 01:15:12 +0000",
    sender=address("ann@example.com"),
    origin="origin.example",
)
DATE = b"Date: Mon, 23 Nov 2026 01:15:12 +0000\r\n"
ID = b"Message-ID: <ABCDEF123456@mail.example.com>\r\n"
WHOLE = b"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nFrom: a@x.example\r\nMessage-ID: <1@x>\r\n"


def completed(head: bytes, facts: Completion = FACTS) -> bytes:
    """The new head without its trace field and its empty line."""
    return complete(head + b"\r\n", facts).removeprefix(received(facts)).removesuffix(b"\r\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"To: bert\r\n", b"To: bert@origin.example\r\n"),
        (b"To: bert, c@y\r\n", b"To: bert@origin.example, c@y\r\n"),
        (b"To: c@y,\r\n bert\r\n", b"To: c@y,\r\n bert@origin.example\r\n"),
        (b"Cc: <bert>\r\n", b"Cc: <bert@origin.example>\r\n"),
        (b"Reply-To: Bert <bert>\r\n", b"Reply-To: Bert <bert@origin.example>\r\n"),
        (b"Sender: bert\r\n", b"Sender: bert@origin.example\r\n"),
        (b"to :bert\r\n", b"to :bert@origin.example\r\n"),
    ],
)
def test_every_address_field_gets_the_origin(before: bytes, after: bytes) -> None:
    assert completed(WHOLE + before) == WHOLE + after


@pytest.mark.parametrize(
    "field",
    [
        b"To: b@y\r\n",
        b"To: b@y, c@y,\r\n\td@z\r\n",
        b'To: "Smith, Bert" <b@y>, c@y\r\n',
        b"To: undisclosed-recipients:;\r\n",
        b"Subject: To: bert\r\n",
        b"X-To: bert\r\n",
        b"To: Bert Smith\r\n",
    ],
)
def test_an_address_field_with_nothing_missing_stays_as_it_is(field: bytes) -> None:
    assert completed(WHOLE + field) == WHOLE + field


@pytest.mark.parametrize(
    ("field", "new"), [(b"Date:\r\n", DATE), (b"Date: \t\r\n", DATE), (b"message-id:  \r\n", ID)]
)
def test_a_date_or_an_identifier_that_says_nothing_is_replaced(field: bytes, new: bytes) -> None:
    name = field.partition(b":")[0].lower()
    rest = b"".join(line for line in WHOLE.splitlines(keepends=True) if not line.lower().startswith(name))
    assert completed(field + rest) == new + rest


def test_a_date_on_its_second_line_is_a_date() -> None:
    head = b"Date:\r\n Sun, 22 Nov 2026 10:00:00 +0000\r\nFrom: a@x\r\nMessage-ID: <1@x>\r\n"
    assert completed(head) == head


def test_of_several_authors_the_envelope_says_who_sent() -> None:
    head = WHOLE.replace(b"a@x.example", b"a@x.example, b@x.example")
    assert completed(head) == b"Sender: ann@example.com\r\n" + head
    assert completed(head + b"Sender: b@x.example\r\n") == head + b"Sender: b@x.example\r\n"
    assert completed(head, replace(FACTS, sender=None)) == head


def signed(head: bytes, names: bytes) -> bytes:
    return b"DKIM-Signature: v=1; d=x.example; c=relaxed/relaxed; h=" + names + b"; bh=x; b=x\r\n" + head


@pytest.mark.parametrize("names", [b"from:to", b"From : To"])
def test_an_address_that_the_client_signed_is_not_completed(names: bytes) -> None:
    head = signed(WHOLE + b"To: bert\r\nCc: carl\r\n", names)
    assert completed(head) == head.replace(b"carl", b"carl@origin.example")


def test_a_field_that_the_client_signed_as_absent_is_not_added() -> None:
    head = signed(b"From: a@x\r\n", b"from:date")
    assert completed(head) == ID + head


RESENT = b"Resent-From: r@x\r\nResent-Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nResent-Message-ID: <2@x>\r\n"
RESENT_DATE, RESENT_ID = b"Resent-" + DATE, b"Resent-" + ID


@pytest.mark.parametrize(
    ("head", "added"),
    [
        (RESENT + b"Resent-To: b@y\r\n" + WHOLE, b""),
        (b"Resent-From: r@x\r\n" + WHOLE, RESENT_DATE + RESENT_ID),
        (b"Resent-From: r@x\r\n" + RESENT + WHOLE, RESENT_DATE + RESENT_ID),
        (b"Resent-From: r@x\r\nReceived: by x; y\r\n" + RESENT + WHOLE, RESENT_DATE + RESENT_ID),
        (RESENT + b"From: a@x\r\n", b""),
        (b"Resent-To: b@y\r\n" + WHOLE, RESENT_DATE + RESENT_ID + b"Resent-From: ann@example.com\r\n"),
    ],
)
def test_the_latest_resending_is_completed_and_nothing_else(head: bytes, added: bytes) -> None:
    assert completed(head) == added + head


def test_of_a_resent_message_only_the_resending_gets_the_origin() -> None:
    head = RESENT + b"Resent-To: bert\r\n" + WHOLE + b"To: carl\r\n"
    assert completed(head) == head.replace(b"bert", b"bert@origin.example")


def test_blind_copies_of_a_resending_are_dropped() -> None:
    assert completed(RESENT + b"Resent-Bcc: c@z\r\n" + WHOLE) == RESENT + WHOLE


def test_endless_lists_of_addresses_stay_as_they_are() -> None:
    endless = b"To: " + b"root, " * 6000 + b"a@x\r\n"
    assert completed(WHOLE + endless) == WHOLE + endless
    bare = b"Cc: " + b"root, " * 5000 + b"a@x\r\n"
    assert completed(WHOLE + bare + bare) == WHOLE + bare.replace(b"root", b"root@origin.example") + bare


def test_an_endless_list_of_authors_is_not_counted() -> None:
    endless = WHOLE.replace(b"a@x.example", b"a@x.example, " * 3000 + b"b@x.example")
    assert completed(endless) == endless


@pytest.mark.parametrize(
    ("priority", "clause"), [(None, b""), (0, b"\r\n\tPRIORITY 0"), (-9, b"\r\n\tPRIORITY -9")]
)
def test_the_trace_field_names_the_priority_that_was_asked(priority: int | None, clause: bytes) -> None:
    plain = received(FACTS)
    head, semicolon, date = plain.rpartition(b";")
    assert received(replace(FACTS, priority=priority)) == head + clause + semicolon + date
