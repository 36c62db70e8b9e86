from __future__ import annotations

import pytest

from postroad.mail.message import Envelope, Notify
from postroad.mail.policy import (
    PASS,
    BadVerdict,
    Verdict,
    checked,
    hold,
    refuse,
    with_headers,
    with_recipients,
)
from postroad.mail.reply import Reply
from tests.support.build import BODY, HEAD, address, envelope_recipient
from tests.support.policies import view


def test_a_view_gives_headers_and_body_as_they_would_be_sent() -> None:
    shown = view(b"From: a@b\r\nX-Folded: one\r\n two\r\n\r\n")
    assert shown.headers() == [("From", "a@b"), ("X-Folded", "one two")]
    assert shown.header("x-FOLDED") == "one two"
    assert shown.header("Subject") is None
    assert b"".join(shown.body()) == BODY


async def test_an_async_hook_reads_the_body_in_chunks() -> None:
    body = b"x" * 600_000
    chunks = [chunk async for chunk in view(body=body).chunks()]
    assert b"".join(chunks) == body
    assert max(map(len, chunks)) <= 256 * 1024


@pytest.mark.parametrize("answer", [None, Verdict()])
def test_nothing_said_is_nothing_wanted(answer: object) -> None:
    assert checked(answer) == PASS


@pytest.mark.parametrize(
    "answer",
    [
        True,
        "reject",
        refuse("no", 250, "2.0.0"),
        refuse("no", 450, "5.7.1"),
        refuse("no\r\n250 yes"),
        refuse("nö"),
        refuse("x" * 500),
        Verdict(refusal=Reply(550, ("no",))),
        hold(""),
        hold("a\nb"),
    ],
)
def test_a_verdict_that_cannot_be_told_is_none(answer: object) -> None:
    with pytest.raises(BadVerdict) as caught:
        checked(answer)
    assert str(caught.value).isprintable()


def test_headers_are_removed_and_added_on_top() -> None:
    verdict = Verdict(remove=("subject",), add=(("X-A", "1"), ("Subject", "Grüße")))
    assert with_headers(HEAD, verdict, smtputf8=False) == (
        b"X-A: 1\r\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\r\n" + HEAD.replace(b"Subject: hello\r\n", b"")
    )
    assert "Subject: Grüße\r\n".encode() in with_headers(HEAD, verdict, smtputf8=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "1\r\nBcc: x"),
        ("X-A", "1\n\nbody"),
        ("X-A", "a\rb"),
        ("X-A", "a\0"),
        ("X A", "1"),
        ("X-A:", "1"),
        ("X-Ä", "1"),
        ("", "1"),
        ("Received", "by x"),
        ("Bcc", "x@y"),
        ("DKIM-Signature", "v=1"),
        ("X-A", "x" * 1000),
    ],
)
def test_a_header_that_could_do_harm_is_not_written(name: str, value: str) -> None:
    with pytest.raises(BadVerdict) as caught:
        with_headers(HEAD, Verdict(add=((name, value),)), smtputf8=False)
    assert str(caught.value).isprintable()


def test_a_folded_value_is_folded_anew() -> None:
    made = with_headers(HEAD, Verdict(add=(("X-A", "one\r\n two"),)), smtputf8=False)
    assert made == b"X-A: one two\r\n" + HEAD


def test_recipients_that_stay_keep_what_they_asked_for() -> None:
    kept = envelope_recipient("b@example.org", Notify.NEVER)
    envelope = Envelope(address("a@example.com"), (kept, envelope_recipient("c@example.org")))
    made = with_recipients(envelope, ("b@example.org", "d@EXAMPLE.org", "b@example.org"), 10)
    assert made.recipients == (kept, envelope_recipient("d@example.org"))


@pytest.mark.parametrize(
    "recipients", [(), ("nobody",), ("a@b c",), ("a@192.0.2.1",), ("ü@x.org",), ("a@b",) * 11]
)
def test_recipients_that_are_none_are_not_taken(recipients: tuple[str, ...]) -> None:
    envelope = Envelope(address("a@example.com"), (envelope_recipient(),))
    with pytest.raises(BadVerdict):
        with_recipients(envelope, recipients, 10)
