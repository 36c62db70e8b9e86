from __future__ import annotations

import re
from dataclasses import replace
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail.address import Address
from postroad.mail.completion import DROPPED, Completion, complete, received
from postroad.mail.headers import (
    count_received,
    fields,
    from_domain,
    message_id,
    rfc5322_date,
    split,
    value,
)
from postroad.mail.message import Peer
from tests.support.corpus import messages

CORPUS = list(messages())
DATE = "Mon, 23 Nov 2026 01:15:12 +0000"
FACTS = Completion(
    peer=Peer("192.0.2.7", 4711, "client.example", "ESMTPSA", "TLSv1.3 TLS_AES_256_GCM_SHA384"),
    hostname="mail.example.com",
    id="ABCDEF123456",
    date=DATE,
    sender=Address("ann", "example.com"),
    origin="example.com",
)
WHOLE = b"From: ann@example.com\r\nDate: " + DATE.encode() + b"\r\nMessage-ID: <1@x>\r\n"


def added(head: bytes, facts: Completion = FACTS) -> bytes:
    """What `complete` put before a head of which it kept everything."""
    done = complete(head, facts)
    assert done.endswith(head)
    return done.removesuffix(head)


def names(head: bytes) -> list[bytes]:
    return [field.name for field in fields(head)]


@pytest.mark.parametrize(
    ("content", "head"),
    [
        (b"A: b\r\n\r\nbody\r\n", b"A: b\r\n\r\n"),
        (b"A: b\r\n c\r\n\td\r\n\r\n\r\nbody", b"A: b\r\n c\r\n\td\r\n\r\n"),
        (b"A: b\r\n\r\n", b"A: b\r\n\r\n"),
        (b"A: b\r\n", b"A: b\r\n"),
        (b"A: b", b"A: b"),
        (b"A: b\r\n c", b"A: b\r\n c"),
        (b"A : b\r\n\r\nbody", b"A : b\r\n\r\n"),
        (b"A:\r\n\r\nbody", b"A:\r\n\r\n"),
        (b"\r\nbody", b"\r\n"),
        (b"no header at all\r\n\r\nA: b\r\n", b""),
        (b" folded before anything\r\nA: b\r\n\r\n", b""),
        (b" x", b""),
        (b"", b""),
        (b"A: b\r\nnow the body\r\n\r\nmore", b"A: b\r\n"),
        (b"A b: c\r\n\r\n", b""),
        (b"A: b\r\n: c\r\n\r\n", b"A: b\r\n"),
        (
            b"From ann@x Fri Apr 06 16:46:09 2001\r\nA: b\r\n\r\nbody",
            b"From ann@x Fri Apr 06 16:46:09 2001\r\nA: b\r\n\r\n",
        ),
        (b"From me to you:\r\nA: b\r\n\r\n", b""),
    ],
)
def test_the_head_ends_with_the_first_line_that_is_no_field(content: bytes, head: bytes) -> None:
    assert split(content) == (head, content.removeprefix(head))


def test_fields_keep_every_octet_and_malformed_lines_have_no_name() -> None:
    head = b"Subject: a\r\n b\r\nnonsense\r\nX-Y : c\r\n:\r\n\r\n"
    found = fields(head)
    assert [field.name for field in found] == [b"subject", b"", b"x-y", b""]
    assert b"".join(field.raw for field in found) + b"\r\n" == head
    assert found[0].raw == b"Subject: a\r\n b\r\n"


@pytest.mark.parametrize(("head", "count"), [(b"", 0), (b"\r\n", 0), (b"A: b", 1), (b"A: b\r\nC: d\r\n", 2)])
def test_a_head_without_its_empty_line_has_fields_too(head: bytes, count: int) -> None:
    assert len(fields(head)) == count


def test_received_fields_are_counted_in_any_case_and_not_where_they_are_only_mentioned() -> None:
    head = b"RECEIVED: a\r\n received: b\r\nReceived : c\r\nReceived-SPF: d\r\nReceived:e\r\n\r\n"
    assert count_received(head) == 3


def test_a_value_is_that_of_the_first_field_of_the_name() -> None:
    assert value(b"A: b\r\nSubject: x\r\n y\r\nSubject: z\r\n\r\n", b"subject") == b" x\r\n y"
    assert value(b"A: b\r\n\r\n", b"subject") is None


@pytest.mark.parametrize(
    ("field", "domain"),
    [
        (b"From: ann@Example.COM", "example.com"),
        (b"from:ann@example.com", "example.com"),
        (b"FROM : Ann <ann@example.com>", "example.com"),
        (b'From: "Ann, B." <ann@example.com>', "example.com"),
        (b'From: "a@evil.example" <ann@example.com>', "example.com"),
        (b"From: evil@evil.example <ann@example.com>", "example.com"),
        (b"From: ann@example.com, bob@evil.example", "example.com"),
        (b"From: ann@example.com (bob@evil.example)", "example.com"),
        (b"From: Ann\r\n <ann@example.com>", "example.com"),
        (b"From: Ann <ann@m\xc3\xbcnchen.example>", "xn--mnchen-3ya.example"),
        (b"From: J\xc3\xb6rg <ann@example.com>", "example.com"),
        (b"From: ann@[192.0.2.1]", "[192.0.2.1]"),
        (b"From: ann", None),
        (b"From: ann@-x-", None),
        (b"From: ann@\xff.example", None),
        (b"From:", None),
        (b"From: Ann Smith", None),
        (b"To: ann@example.com", None),
        (b"X-From: ann@example.com", None),
    ],
)
def test_the_from_domain_is_that_of_the_first_mailbox(field: bytes, domain: str | None) -> None:
    assert from_domain(b"To: x@y\r\n" + field + b"\r\nFrom: second@other.example\r\n\r\n") == (
        domain or (None if field[:4].lower() == b"from" else "other.example")
    )


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (b"Message-ID: <a@b>", "<a@b>"),
        (b"message-id:\r\n <a@b>", "<a@b>"),
        (b"Message-Id: <a\x1b[2J@b>", "<a[2J@b>"),
        (b"Message-Id: " + b"x" * 900, "x" * 250),
        (b"Subject: <a@b>", ""),
    ],
)
def test_the_message_id_is_printable_and_short(field: bytes, shown: str) -> None:
    assert message_id(b"To: x@y\r\n" + field + b"\r\n\r\n") == shown


def test_a_whole_head_gets_the_trace_field_alone() -> None:
    head = WHOLE + b"X-Odd :\tvalue  \r\nnonsense\r\n\r\n"
    assert added(head) == received(FACTS)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", [b"date", b"message-id", b"from"]),
        (b"\r\n", [b"date", b"message-id", b"from"]),
        (b"From: a@b\r\n\r\n", [b"date", b"message-id"]),
        (WHOLE + b"Resent-To: x@y\r\n\r\n", [b"resent-date", b"resent-message-id", b"resent-from"]),
        (WHOLE + b"Resent-Date: x\r\nResent-From: a@b\r\nResent-Message-Id: <x>\r\n\r\n", []),
    ],
)
def test_what_is_missing_is_added_below_the_trace_field(head: bytes, expected: list[bytes]) -> None:
    assert names(added(head)) == [b"received", *expected]


@pytest.mark.parametrize(
    ("head", "ending"),
    [(b"", b"\r\n"), (b"\r\n", b""), (WHOLE, b"\r\n"), (WHOLE[:-2], b"\r\n\r\n"), (WHOLE + b"\r\n", b"")],
)
def test_head_and_body_are_always_parted_by_an_empty_line(head: bytes, ending: bytes) -> None:
    done = complete(head, FACTS)
    assert done.endswith(head + ending)
    assert done.endswith(b"\r\n\r\n")
    assert split(done + b"body") == (done, b"body")


def test_what_was_added_says_who_and_when() -> None:
    done = complete(b"\r\n", FACTS)
    assert value(done, b"date") == b" " + DATE.encode()
    assert value(done, b"message-id") == b" <ABCDEF123456@mail.example.com>"
    assert value(done, b"from") == b" ann@example.com"
    assert (
        value(complete(b"\r\n", replace(FACTS, sender=None)), b"from") == b" MAILER-DAEMON@mail.example.com"
    )


@pytest.mark.parametrize(
    "field",
    [
        b"Bcc: x@y",
        b"BCC: x@y\r\n , z@y",
        b"bcc :x",
        b"Resent-Bcc: x",
        b"Return-Path: <x>",
        b"Content-Length: 7",
    ],
)
def test_blind_copies_return_paths_and_lengths_are_removed(field: bytes) -> None:
    head = WHOLE.replace(b"Date", field + b"\r\nDate") + field + b"\r\n\r\n"
    assert complete(head, FACTS) == received(FACTS) + WHOLE + b"\r\n"


def test_the_line_of_an_mbox_file_is_removed() -> None:
    line = b"From ann@example.com Fri Apr 06 16:46:09 2001\r\n"
    assert complete(line + WHOLE + b"\r\n", FACTS) == received(FACTS) + WHOLE + b"\r\n"
    assert complete(b">" + line + WHOLE + b"\r\n", FACTS) == received(FACTS) + WHOLE + b"\r\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b" root", b" root@example.com"),
        (b"root  ", b"root@example.com  "),
        (b" root (Cron Daemon)", b" root@example.com (Cron Daemon)"),
        (b" Cron <root>", b" Cron <root@example.com>"),
        (b' "Cron, D." <root >', b' "Cron, D." <root@example.com >'),
        (b" root, ann@x, bob", b" root@example.com, ann@x, bob@example.com"),
        (b"\r\n root\r\n (x)", b"\r\n root@example.com\r\n (x)"),
        (b" ann@x", b" ann@x"),
        (b" Ann Smith", b" Ann Smith"),
        (b" <>", b" <>"),
        (b" undisclosed:;", b" undisclosed:;"),
        (b" \xff", b" \xff"),
        (b"", b""),
    ],
)
def test_an_author_without_a_domain_gets_the_origin_and_nothing_else_changes(
    before: bytes, after: bytes
) -> None:
    rest = b"Date: x\r\nMessage-ID: <1@x>\r\nSender: s@x\r\n\r\n"
    assert (
        complete(b"From:" + before + b"\r\n" + rest, FACTS)
        == received(FACTS) + b"From:" + after + b"\r\n" + rest
    )


def test_the_trace_field_tells_from_whom_by_whom_how_and_when() -> None:
    facts = replace(FACTS, recipient=Address("bob", "example.org"))
    assert received(facts) == (
        b"Received: from client.example ([192.0.2.7])\r\n"
        b"\t(using TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
        b"\tby mail.example.com (Postroad) with ESMTPSA id ABCDEF123456\r\n"
        b"\tfor <bob@example.org>; Mon, 23 Nov 2026 01:15:12 +0000\r\n"
    )


@pytest.mark.parametrize(
    ("peer", "clause"),
    [
        (Peer("2001:db8::1", helo="c"), b"from c ([IPv6:2001:db8::1])"),
        (Peer("fe80::1%eth0", helo="c"), b"from c ([IPv6:fe80::1])"),
        (Peer("192.0.2.1", helo="[192.0.2.9]"), b"from [192.0.2.9] ([192.0.2.1])"),
        (Peer("192.0.2.1", helo=""), b"from unknown ([192.0.2.1])"),
        (Peer("192.0.2.1", helo="a\r\nX: y (z) <\x00\u00fc>"), b"from aX:yz ([192.0.2.1])"),
        (Peer("192.0.2.1", helo="a" * 2000), b"from " + b"a" * 255 + b" ([192.0.2.1])"),
        (Peer("uid 1000 (x\\)\r\n"), b"by mail.example.com (Postroad, from uid 1000 x)"),
        # A client of a Unix socket, or of `sendmail -bs` (RFC 5321 4.4: an SMTP server names who said hello).
        (Peer("userid 33", helo="me.example"), b"from me.example (userid 33)"),
        (Peer("userid 33", helo="me;\r\n(", protocol="LMTP"), b"from me (userid 33)"),
    ],
)
def test_nothing_a_client_says_can_leave_its_place_in_the_trace_field(peer: Peer, clause: bytes) -> None:
    line = received(replace(FACTS, peer=replace(peer, tls="TLS\r\n\tforged) by x")))
    assert line.startswith(b"Received: " + clause + b"\r\n\t(using TLSforged by x)\r\n\t")
    assert len(fields(line)) == 1


def test_a_name_that_was_told_stands_beside_the_address() -> None:
    peer = Peer("192.0.2.7", helo="c", name="c.example")
    assert b"from c (c.example [192.0.2.7])" in received(replace(FACTS, peer=peer))


def test_an_internationalised_recipient_is_not_named_in_the_trace_field() -> None:
    assert received(replace(FACTS, recipient=Address("j\u00f6rg", "example.org"))) == received(FACTS)


@pytest.mark.parametrize("instant", [0.0, 951_782_399.9, 1_795_396_512.25, 4_102_444_799.0])
def test_a_date_says_the_instant_in_utc(instant: float) -> None:
    text = rfc5322_date(instant)
    assert parsedate_to_datetime(text).timestamp() == int(instant)
    assert re.fullmatch(
        r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000", text
    )


@pytest.mark.parametrize(("name", "message"), CORPUS, ids=[name for name, _ in CORPUS])
def test_a_collected_message_keeps_every_octet_but_for_what_is_named(name: str, message: bytes) -> None:
    check_completion(message)


LINES = st.sampled_from(
    [
        b"From: root",
        b"from : A <a@b>",
        b"Bcc: x",
        b"bcc :",
        b"Date: x",
        b" folded",
        b"\tBcc: folded",
        b"nonsense",
        b"",
        b"Return-Path: <>",
        b"X: \xff",
        b"Resent-To: x",
        b"Message-ID: <1@x>",
        b": x",
        b"Subject:",
        b"From x Fri Apr 1",
    ]
)


@given(st.lists(LINES, max_size=10))
@settings(max_examples=300, deadline=None)
def test_any_message_keeps_every_octet_but_for_what_is_named(lines: list[bytes]) -> None:
    check_completion(b"".join(line + b"\r\n" for line in lines))


def check_completion(message: bytes) -> None:
    head, body = split(message)
    assert head + body == message
    done = complete(head, FACTS)
    kept = b"".join(
        field.raw
        for field in fields(head)
        if field.name not in DROPPED and (field.name or not field.raw.startswith(b"From "))
    )
    assert done.startswith(received(FACTS))
    # The one edit inside a field is undone; what precedes the kept fields are added ones alone.
    undone = done.replace(b"@example.com", b"").rstrip(b"\r\n")
    kept = kept.replace(b"@example.com", b"").rstrip(b"\r\n")
    assert undone.endswith(kept)
    start = len(undone) - len(kept)
    allowed = {
        b"received",
        b"date",
        b"message-id",
        b"from",
        b"resent-date",
        b"resent-message-id",
        b"resent-from",
    }
    assert set(names(undone[:start])) <= allowed
    assert {b"from", b"received"} <= set(names(done))
    assert not DROPPED & set(names(done))
    assert split(done + body) == (done, body)
    assert complete(done, FACTS) == received(FACTS) + done
