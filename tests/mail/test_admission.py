from __future__ import annotations

from dataclasses import replace

import pytest

from postroad.mail.address import Address
from postroad.mail.admission import AdmissionLimits, consider, consider_recipient, consider_sender
from postroad.mail.message import Content, Envelope, EnvelopeRecipient, StagedBody

LIMITS = AdmissionLimits(max_message_size=10_000, max_header_size=1000, max_received=3, max_recipients=2)
BOB = EnvelopeRecipient(Address("bob", "example.org"))
ENVELOPE = Envelope(Address("ann", "example.com"), (BOB,))
CONTENT = Content(b"From: ann@example.com\r\n\r\n", b"hello\r\n", dotted=False, eight_bit=False)
JOERG = EnvelopeRecipient(Address("j\u00f6rg", "example.org"))


@pytest.mark.parametrize(
    ("envelope", "content"),
    [
        (ENVELOPE, CONTENT),
        (replace(ENVELOPE, sender=None), CONTENT),
        (replace(ENVELOPE, recipients=(BOB, BOB)), CONTENT),
        (replace(ENVELOPE, recipients=(EnvelopeRecipient(Address("bob", "localhost")),)), CONTENT),
        (replace(ENVELOPE, recipients=(EnvelopeRecipient(Address("bob", "[192.0.2.1]")),)), CONTENT),
        (replace(ENVELOPE, recipients=(JOERG,), smtputf8=True), CONTENT),
        (ENVELOPE, replace(CONTENT, head=b"Subject: \xfc\r\n\r\n", eight_bit=True)),
        (ENVELOPE, replace(CONTENT, head=b"Received: x\r\n" * 3 + b"\r\n")),
        (ENVELOPE, replace(CONTENT, body=b"x" * (10_000 - len(CONTENT.head)))),
        (ENVELOPE, replace(CONTENT, head=b"", body=b"")),
    ],
    ids=["usual", "null sender", "two", "no dot", "literal", "smtputf8", "8-bit", "hops", "large", "empty"],
)
def test_what_can_be_delivered_enters(envelope: Envelope, content: Content) -> None:
    assert consider(envelope, content, LIMITS) is None


@pytest.mark.parametrize(
    ("envelope", "content", "code", "enhanced"),
    [
        (ENVELOPE, replace(CONTENT, body=b"x" * 10_000), 552, "5.3.4"),
        (ENVELOPE, replace(CONTENT, body=StagedBody("1", 10_000, 0, b"")), 552, "5.3.4"),
        (ENVELOPE, replace(CONTENT, head=b"X: " + b"x" * 1000 + b"\r\n\r\n"), 552, "5.3.4"),
        (ENVELOPE, replace(CONTENT, head=b"Received: x\r\n" * 4 + b"\r\n"), 554, "5.4.6"),
        (ENVELOPE, replace(CONTENT, head=b"Subject: \0\r\n\r\n"), 554, "5.6.0"),
        (replace(ENVELOPE, recipients=()), CONTENT, 554, "5.5.1"),
        (replace(ENVELOPE, recipients=(BOB, BOB, BOB)), CONTENT, 452, "4.5.3"),
        (replace(ENVELOPE, recipients=(BOB, JOERG)), CONTENT, 553, "5.6.7"),
        (replace(ENVELOPE, sender=JOERG.address), CONTENT, 553, "5.6.7"),
        (replace(ENVELOPE, sender=Address("a", "192.0.2.1")), CONTENT, 501, "5.1.7"),
        (replace(ENVELOPE, recipients=(BOB, EnvelopeRecipient(Address("b", "x.1")))), CONTENT, 501, "5.1.3"),
    ],
    ids=[
        "size",
        "staged size",
        "header",
        "loop",
        "NUL",
        "nobody",
        "too many",
        "utf8",
        "utf8 sender",
        "ip",
        "ip to",
    ],
)
def test_what_cannot_is_refused_with_the_code_that_says_why(
    envelope: Envelope, content: Content, code: int, enhanced: str
) -> None:
    reply = consider(envelope, content, LIMITS)
    assert reply is not None
    assert (reply.code, reply.enhanced) == (code, enhanced)


def test_paths_can_be_judged_one_by_one() -> None:
    assert consider_sender(None) is None
    assert consider_sender(Address("a", "b.example")) is None
    assert consider_recipient(Address("a", "b.example")) is None
    assert consider_recipient(Address("a", "10.0.0.1")) is not None
