from __future__ import annotations

from dataclasses import replace

import pytest

from postroad.mail.message import (
    Attempt,
    Body,
    Content,
    Envelope,
    EnvelopeRecipient,
    Handling,
    Lane,
    Message,
    Notify,
    Ret,
)
from tests.support.build import HOUR, NOW, address, content, delivery, failed, message, recipient

TO = (EnvelopeRecipient(address("b@example.org"), Notify.SUCCESS, "rfc822;b@example.org"),)
ASKED = Envelope(address("a@example.com"), TO, Body.EIGHT_BIT, True, Ret.HDRS, "x", Handling(priority=3))


def made(envelope: Envelope, octets: Content) -> Message:
    return Message.of(
        "id", envelope, octets, account="user", lane=Lane.BULK, received_at=NOW, expires_at=NOW + HOUR
    )


def test_the_envelope_is_as_it_was_submitted() -> None:
    assert made(ASKED, content(body=b"\xc3\xbc\r\n")).envelope(TO) == ASKED


@pytest.mark.parametrize(
    ("asked", "body", "kept"),
    [
        (None, b"a\r\n", Body.SEVEN_BIT),
        (Body.EIGHT_BIT, b"a\r\n", Body.SEVEN_BIT),
        (Body.SEVEN_BIT, b"\xc3\xbc\r\n", Body.EIGHT_BIT),
        (Body.BINARY, b"a\n", Body.BINARY),
    ],
)
def test_what_the_body_is_its_octets_say_but_for_binary(asked: Body | None, body: bytes, kept: Body) -> None:
    assert made(replace(ASKED, body=asked), content(body=body)).body is kept


def test_a_part_of_a_delivery_is_for_the_recipients_at_those_places() -> None:
    rows = [recipient(f"b{n}@example.org", n=n) for n in range(4)]
    whole = delivery(message(), *rows)
    assert whole.only([3, 1]) == replace(whole, recipients=(rows[3], rows[1]))


def test_what_ended_without_asking_anybody_leaves_no_trace() -> None:
    outcome = failed()
    attempt = Attempt.unasked(delivery(), (outcome,), NOW)
    assert (attempt.endpoint, attempt.uses, attempt.trace(outcome)) == (None, 0, None)
