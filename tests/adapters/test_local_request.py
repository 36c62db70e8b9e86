"""What a local program asks is read with care: any octets give a request or a refusal."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.adapters.local_request import (
    BadRequest,
    Unacceptable,
    canonical_content,
    check_own,
    parse_request,
    queue_filter,
    submit_request,
)
from postroad.mail.local_names import LocalNames

REFUSALS = (BadRequest, Unacceptable)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "verb",
        "size",
        "sender",
        "recipients",
        "notify",
        "ret",
        "envid",
        "body",
        "filter",
        "follow",
        "dsn",
        "tag",
        "helo",
        "extended",
        "later",
    ]
)


@given(st.binary(max_size=100))
@settings(max_examples=150)
def test_any_line_is_a_request_or_refused(line: bytes) -> None:
    with contextlib.suppress(BadRequest):
        assert isinstance(parse_request(line)["verb"], str)


@given(st.dictionaries(FIELDS, JSON))
@settings(max_examples=200)
def test_any_object_is_a_submission_or_refused_in_printable_words(request: dict[str, object]) -> None:
    usual = {"size": 1, "sender": "a@example.com", "recipients": ["b@example.org"]}
    try:
        found = submit_request(usual | request, "origin.example", 1000, LocalNames())
    except REFUSALS as refused:
        text = str(refused)
    else:
        text = str([str(one.address) for one in found.envelope.recipients])
    assert text.isprintable()


@given(st.dictionaries(st.sampled_from(["ids", "to", "sender", "domain", "state", "older_than"]), JSON))
@settings(max_examples=150)
def test_any_object_is_a_filter_or_refused(given_filter: dict[str, object]) -> None:
    request = json.loads(json.dumps({"filter": given_filter}))
    with contextlib.suppress(BadRequest):
        found = queue_filter(request)
        assert found.older_than is None or 0 <= found.older_than < 1e13


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        (b"", b""),
        (b"A: b\n\nx", b"A: b\r\n\r\nx\r\n"),
        (b"A: b\r\n\r\nx\r\n", b"A: b\r\n\r\nx\r\n"),
        (b"A: b\r\n\nx\ry\n", b"A: b\r\n\r\nx y\r\n"),
        # No other header field begins behind a CR that a program let pass.
        (b"Subject: b\rBcc: c\n\nx\n", b"Subject: b Bcc: c\r\n\r\nx\r\n"),
        (b"A: b\r\rx\r", b"A: b\r\n\r\nx\r\n"),
        (b"A: b\r\r\n\r\r\nx\r\r\n", b"A: b\r\n\r\nx\r\n"),
    ],
)
def test_a_program_may_end_its_lines_as_it_likes(raw: bytes, sent: bytes) -> None:
    content = canonical_content(raw)
    assert isinstance(content.body, bytes)
    assert content.head + content.body == sent


@given(st.lists(st.sampled_from([b"a", b".", b"\r", b"\n", b"\r\n", b": ", b"\xe9"]), max_size=30))
def test_content_has_no_bare_line_end_and_says_what_is_in_it(pieces: list[bytes]) -> None:
    content = canonical_content(b"".join(pieces))
    assert isinstance(content.body, bytes)
    sent = content.head + content.body
    assert sent.count(b"\r\n") == sent.count(b"\r") == sent.count(b"\n")
    assert content.dotted == any(line.startswith(b".") for line in sent.split(b"\r\n"))
    assert content.eight_bit == (b"\xe9" in pieces)
    # Nothing but line ends is changed, and a CR that is none is a space.
    told = b"".join(pieces).replace(b"\r", b"").replace(b"\n", b"")
    assert sent.replace(b"\r\n", b"").replace(b" ", b"") == told.replace(b" ", b"")


@pytest.mark.parametrize(
    ("sender", "allowed"),
    [
        ("<>", True),
        ("uid-4000000", True),
        ("UID-4000000@origin.example", True),
        ("uid-4000000@localhost", True),
        ("root", False),
        ("uid-4000000@elsewhere.example", False),
    ],
)
def test_a_user_without_a_name_has_one_by_his_number(sender: str, allowed: bool) -> None:
    request = {"size": 1, "sender": sender, "recipients": ["b@example.org"]}
    wanted = submit_request(request, "origin.example", 1000, LocalNames())
    with contextlib.nullcontext() if allowed else pytest.raises(Unacceptable):
        check_own(wanted, 4_000_000, "origin.example", LocalNames())


@pytest.mark.parametrize(
    ("words", "spoken"),
    [
        ({}, ("", "local")),
        ({"helo": "me.example"}, ("me.example", "SMTP")),
        ({"helo": "me.example", "extended": True}, ("me.example", "ESMTP")),
        ({"helo": "me.example", "extended": True, "smtputf8": True}, ("me.example", "UTF8SMTP")),
    ],
)
def test_a_client_of_bs_is_told_of_as_one_that_spoke_smtp(
    words: dict[str, object], spoken: tuple[str, str]
) -> None:
    usual = {"size": 1, "sender": "a@example.com", "recipients": ["b@example.org"]}
    peer = submit_request(usual | words, "origin.example", 1000, LocalNames()).peer(33)
    assert (peer.address, peer.helo, peer.protocol) == ("userid 33", *spoken)


def test_a_nul_reaches_nobody() -> None:
    content = canonical_content(b"Subject: a\0b\n\n\0x\r\0\ny")
    assert (content.head, content.body) == (b"Subject: a b\r\n\r\n", b" x  \r\ny\r\n")
