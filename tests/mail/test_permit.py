"""Who an account may name as an author, however many it names."""

from __future__ import annotations

import pytest

from postroad.mail.account import AccountPolicy
from postroad.mail.mailboxes import LONGEST
from postroad.mail.message import Envelope, Peer, Submission
from postroad.mail.permit import Permit
from tests.support import build

ALLOWED = b"From: a@example.com\r\n"


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (ALLOWED, None),
        (b"From: a@example.com, b@example.com\r\n", None),
        (b"From: a@example.com, b@example.net\r\n", 550),
        (ALLOWED + b"From: b@example.net\r\n", 550),
        (b"From: " + b"a@example.com,\r\n " * 100 + b"b@example.net\r\n", 550),
        # Nobody looks so far, so nobody can say that all of them are allowed.
        (b"From: " + b"a@example.com,\r\n " * (LONGEST // 16) + b"a@example.com\r\n", 550),
        (ALLOWED * (LONGEST // 10), 550),
    ],
)
def test_every_author_must_be_allowed(head: bytes, code: int | None) -> None:
    permit = Permit("user", AccountPolicy(allowed_from=("example.com",)))
    envelope = Envelope(build.address("a@example.com"), (build.envelope_recipient(),))
    submission = Submission(envelope, build.content(head + b"\r\n"), "user", Peer("192.0.2.1"), 0.0)
    refusal = permit.submission(submission, "example.com")
    assert (refusal and refusal.code) == code
