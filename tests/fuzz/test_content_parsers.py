"""Whatever octets come, the parsers of message content answer or raise what they document."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail.account import AccountPolicy
from postroad.mail.address import AddressError, normalise_domain, parse_address, parse_path
from postroad.mail.canonical import relaxed_body_hash, relaxed_header
from postroad.mail.completion import Completion, complete
from postroad.mail.dkim_fields import select
from postroad.mail.headers import (
    count_received,
    fields,
    from_domain,
    message_id,
    split,
)
from postroad.mail.idempotency import BAD_KEY, MARKS, Key, key_of, without_key
from postroad.mail.mailboxes import scan
from postroad.mail.message import Content, Envelope, EnvelopeRecipient, Peer, Submission
from postroad.mail.permit import Permit
from postroad.mail.xtext import XtextError, decode, encode, split_orcpt

ADDRESS_TEXT = st.text(
    st.sampled_from('ab.@"\\[]<>:,;()- \t\r\n\0%1') | st.characters(exclude_categories=[]), max_size=40
)
PIECES = [b"From", b"To", b"Bcc", b"Received", b":", b" ", b"\t", b"\r\n", b"\r\n ", b"\r", b"\n", b"<", b">"]
CONTENT = st.lists(
    st.sampled_from([*PIECES, b"a@b.c", b'"', b"\\", b"(", b",", b"[", b"]", b"\0", b"\xff", b"\xc3\xbc"])
    | st.binary(max_size=4),
    max_size=40,
).map(b"".join)
HEADS = CONTENT.map(lambda octets: split(octets)[0])
FACTS = Completion(
    Peer("192.0.2.1"), "mail.example.com", "ABCDEF123456", "Mon, 23 Nov 2026 01:15:12 +0000", None, "x.y"
)


T = TypeVar("T")


def refused(parse: Callable[[], T]) -> T | ValueError:
    """What a parser answers, or its documented refusal; anything else it raises is the test's failure."""
    try:
        return parse()
    except (AddressError, XtextError) as refusal:
        return refusal


@given(ADDRESS_TEXT, st.booleans())
@settings(max_examples=500, deadline=None)
def test_an_address_parses_and_is_written_as_it_parses_or_is_refused_in_print(
    text: str, smtputf8: bool
) -> None:
    for parse in (parse_address, parse_path):
        found = refused(lambda parse=parse: parse(text, smtputf8=smtputf8))  # type: ignore[misc]
        if isinstance(found, ValueError):
            assert str(found).isprintable()
        elif found is not None:
            assert str(found).isprintable()
            assert smtputf8 or str(found).isascii()
            assert parse_address(str(found), smtputf8=True) == found


@given(ADDRESS_TEXT)
@settings(max_examples=300, deadline=None)
def test_a_domain_is_normal_once_normalised(text: str) -> None:
    found = refused(lambda: normalise_domain(text))
    assert str(found).isprintable()
    if isinstance(found, str):
        assert normalise_domain(found) == found
        assert found.isascii()


@given(st.text(max_size=30))
@settings(max_examples=300, deadline=None)
def test_xtext_is_decoded_or_refused(text: str) -> None:
    found = refused(lambda: decode(text))
    if isinstance(found, bytes):
        assert decode(encode(found)) == found
    for answer in (found, refused(lambda: split_orcpt(text, smtputf8=True))):
        assert str(answer).isprintable()


@given(CONTENT)
@settings(max_examples=500, deadline=None)
def test_a_head_of_any_octets_can_be_read_and_completed(content: bytes) -> None:
    head, body = split(content)
    assert head + body == content
    for octets in (content, head):
        assert b"".join(field.raw for field in fields(octets)) in (octets, octets[:-2])
        assert count_received(octets) >= 0
        assert message_id(octets).isprintable()
        assert (from_domain(octets) or "x").isprintable()
        assert all(0 < mailbox.end <= len(octets) for mailbox in scan(octets))
        select(octets)
        relaxed_header(octets)
    done = complete(head, FACTS)
    assert done.endswith(b"\r\n\r\n")
    assert len(relaxed_body_hash(body)) == 32


@pytest.mark.parametrize(
    "octets",
    [
        b"a" * 300_000,
        b"From: " + b"<" * 100_000 + b"\r\n\r\n",
        b"From: " + b"(" * 100_000 + b"\r\n\r\n",
        b'From: "' + b"\\" * 100_001 + b"\r\n\r\n",
        b"From: " + b"a.@" * 50_000 + b"\r\n\r\n",
        b"From: " + b"a, " * 50_000 + b"\r\n\r\n",
        b"From:" + b"\r\n " * 60_000 + b"\r\n\r\n",
        b"From " * 60_000 + b"\r\n\r\n",
        b"From x Mon " * 30_000 + b"\r\n:\r\n",
        b":" * 200_000,
        b"a:\r\n" * 60_000,
        b"bcc" * 60_000,
        b"\nbcc" * 60_000,
        b" " * 200_000 + b":",
    ],
    ids=lambda octets: repr(octets[:12]),
)
def test_large_nonsense_takes_no_more_than_linear_time(octets: bytes) -> None:
    # A quadratic step over these sizes would run into the time limit of the suite.
    head, _ = split(octets)
    complete(head, FACTS)
    complete(octets, FACTS)
    from_domain(octets)
    scan(octets, longest=len(octets))
    select(octets)
    relaxed_body_hash(octets)


@pytest.mark.parametrize(
    "text", ["a" * 100_000 + "@", "a." * 50_000 + "@b", '"' + "\\" * 100_001, "@a," * 40_000]
)
def test_a_long_path_is_refused_at_once(text: str) -> None:
    for candidate in (text, f"<{text}>", f"a@{text}", f"<@{text}:a@b>"):
        with pytest.raises(AddressError):
            parse_path(candidate)
        with pytest.raises(AddressError):
            parse_address(candidate, smtputf8=True)


@given(HEADS | CONTENT.map(lambda octets: b"Idempotency-Key:" + octets + b"\r\n\r\n"))
@settings(max_examples=300, deadline=None)
def test_any_head_has_a_key_none_or_a_refusal_and_authors_that_are_judged(head: bytes) -> None:
    to = (EnvelopeRecipient(parse_address("b@example.org")),)
    content = Content(head, b"", False, False)
    made = Submission(Envelope(None, to), content, "anna", Peer("192.0.2.1"), 0.0)
    found = key_of(made, MARKS)
    assert found is None or found is BAD_KEY or (isinstance(found, Key) and found.name.isprintable())
    assert len(without_key(head)) <= len(head)
    permit = Permit("anna", AccountPolicy(allowed_senders=("anna@example.com",)))
    refused = permit.submission(made, "example.com")
    assert refused is None or (refused.code == 550 and refused.text.isprintable())
