from __future__ import annotations

from email.utils import formataddr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail.address_lists import list_fault
from postroad.mail.dates import date_fault
from postroad.mail.headers import rfc5322_date, split
from postroad.mail.lint import LintFacts, lint, refusal
from postroad.mail.message import Content, Lane
from tests.support.build import content
from tests.support.corpus import messages

GOOD = (
    b"Date: Mon, 23 Nov 2026 01:15:12 +0000\r\nFrom: Anna <a@example.com>\r\n"
    b"To: b@example.org, Carl <c@x.org>\r\n"
    b"Message-ID: <1@example.com>\r\nSubject: hello\r\n"
)


def names(head: bytes, **facts: object) -> list[str]:
    found = lint(content(head + b"\r\n", b"hi\r\n"), LintFacts(**facts))  # type: ignore[arg-type]
    return [finding.name for finding in found]


def signs(domain: str) -> bool:
    return domain == "example.com"


def test_a_usual_message_has_nothing_wrong() -> None:
    assert names(GOOD, signs=signs) == []


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"Subject: x\r\n", ["missing-from"]),
        (GOOD + b"From: z@example.com\r\n", ["repeated-header"]),
        (GOOD + b"SUBJECT: again\r\n", ["repeated-header"]),
        (GOOD.replace(b"Mon,", b"Tue,"), ["bad-date"]),
        (GOOD.replace(b"<c@x.org>", b"<c@>"), ["bad-address-list"]),
        (GOOD + b"Sender: a@example.com, b@example.com\r\n", ["bad-address-list"]),
        # What is beyond what is looked at is no fault, but of authors.
        (GOOD.replace(b"To: ", b"To: " + b"a@x.org,\r\n " * 4000), []),
        (GOOD.replace(b"From: ", b"From: " + b"a@x.org,\r\n " * 4000), ["bad-address-list"]),
        (GOOD.replace(b"hello", "Grüße".encode()), ["raw-8bit-header"]),
        (GOOD + b"X-Folded: a\r\n \r\n b\r\n", ["obsolete-folding"]),
        (GOOD + b"X-Spaced : a\r\n", ["obsolete-folding"]),
        (GOOD + b"X-Long: " + b"x" * 1000 + b"\r\n", ["long-line"]),
        (GOOD + b"Received: one\r\nReceived: two\r\nX-A: 1\r\nX-A: 2\r\n", []),
        (GOOD + b"Resent-To: b\r\n", ["bad-address-list"]),
        (GOOD + b"Resent-Date: yesterday\r\n", ["bad-date"]),
    ],
)
def test_each_fault_has_its_name(head: bytes, expected: list[str]) -> None:
    assert names(head) == expected


def test_raw_octets_are_allowed_with_smtputf8() -> None:
    assert names(GOOD.replace(b"hello", "Grüße".encode()), smtputf8=True) == []


SIGNED = b"DKIM-Signature: v=1; a=rsa-sha256; d=%b; s=x; h=from; b=x\r\n"


@pytest.mark.parametrize(
    ("author", "signature", "expected"),
    [
        (b"a@example.com", b"", []),
        (b"a@other.example", b"", ["from-not-signed"]),
        (b"a@other.example", SIGNED % b"other.example", []),
        (b"a@sub.other.example", SIGNED % b"other.example", []),
        (b"a@other.example", SIGNED % b"third.example", ["from-not-signed"]),
        (b"a@another.example", SIGNED % b"other.example", ["from-not-signed"]),
    ],
)
def test_an_author_must_be_one_that_somebody_signs_for(
    author: bytes, signature: bytes, expected: list[str]
) -> None:
    head = signature + GOOD.replace(b"a@example.com", author)
    assert names(head, signs=signs) == expected
    assert names(head, signs=None) == []


ONE_CLICK = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"", ["no-list-unsubscribe"]),
        (b"List-Unsubscribe: <mailto:u@x>\r\n", ["no-one-click"]),
        (b"List-Unsubscribe: <https://x/u>\r\n", ["no-one-click"]),
        (b"List-Unsubscribe: <mailto:u@x>\r\n" + ONE_CLICK, ["no-one-click"]),
        (b"List-Unsubscribe: <mailto:u@x>, <https://x/u>\r\n" + ONE_CLICK, []),
    ],
)
def test_bulk_mail_must_be_left_by_one_click(fields: bytes, expected: list[str]) -> None:
    assert names(GOOD + fields, lane=Lane.BULK) == expected
    assert names(GOOD + fields, lane=Lane.NORMAL) == []


def test_a_long_line_of_the_body_is_told() -> None:
    found = lint(content(GOOD + b"\r\n", b"x" * 1000 + b"\r\n"), LintFacts())
    assert [(each.name, each.header) for each in found] == [("long-line", "The body")]


def test_a_header_that_ends_at_a_line_that_is_no_field_is_told() -> None:
    head, body = split(GOOD + b"just text\r\nmore\r\n")
    found = lint(Content(head, body, dotted=False, eight_bit=False), LintFacts())
    assert [each.name for each in found] == ["broken-header"]


@pytest.mark.parametrize(
    ("head", "status", "words"),
    [
        (GOOD.replace(b"Mon,", b"Tue,"), "5.6.0", "Date names the wrong day of the week"),
        (
            GOOD.replace(b"@example.com>\r\nTo", b"@other.example>\r\nTo"),
            "5.7.20",
            "From names other.example",
        ),
    ],
)
def test_a_refusal_names_the_header_the_fault_and_the_cure(head: bytes, status: str, words: str) -> None:
    reply = refusal(lint(content(head + b"\r\n"), LintFacts(signs=signs)))
    assert (reply.code, reply.enhanced) == (550, status)
    assert reply.text.startswith(words)
    assert "; " in reply.text


@pytest.mark.parametrize(
    "text",
    [
        "a@b.c",
        "<a@b.c>",
        "Anna Smith <a@b.c>",
        '"Smith, A." <a@b.c>, b@c.d',
        "J. R. Smith <a@b.c>",
        "a@b.c (Anna (the one))",
        "friends: a@b.c, Bert <b@c.d>;",
        "undisclosed-recipients:;",
        "friends: a@b.c;, d@e.f",
        '"a b"@c.d',
        "a@[192.0.2.1]",
        "Jürgen <ü@ü.example>",
        "=?utf-8?q?J=C3=BCrgen?= <j@x.y>",
        " a@b.c\t",
    ],
)
def test_a_list_of_addresses_is_a_list_of_addresses(text: str) -> None:
    assert list_fault(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "anna",
        "Anna Smith",
        "a@b.c d@e.f",
        "a@b.c; d@e.f",
        "a@b.c,",
        ",a@b.c",
        "a@b.c,,d@e.f",
        "<a@b.c",
        "a@b.c>",
        "Anna <a@b.c> Smith",
        "a b@c.d",
        "friends: a@b.c",
        "a@b.c (anna",
        "a@b.c)",
        '"anna <a@b.c>',
        "a@@b.c",
        "<>",
        "a@b.c\\",
        "x@y: a@b.c;",
        "a@b..c",
    ],
)
def test_what_is_no_list_of_addresses_is_told(text: str) -> None:
    fault = list_fault(text)
    assert fault is not None
    assert fault.isprintable()


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Mon, 23 Nov 2026 01:15:12 +0000", True),
        (" 23 Nov 2026 01:15 -0330 (a comment)", True),
        ("Mon, 23 Nov 2026 01:15:12 GMT", True),
        ("Sat, 31 Dec 2016 23:59:60 +0000", True),
        ("Tue, 23 Nov 2026 01:15:12 +0000", False),
        ("Mon, 31 Feb 2026 01:15:12 +0000", False),
        ("Mon, 23 Nov 2026 24:15:12 +0000", False),
        ("Mon, 23 Nov 2026 01:15:61 +0000", False),
        ("Mon, 23 Nov 2026 01:15:12 +0060", False),
        ("Mon, 23 Nov 0000 01:15:12 +0000", False),
        ("Mon, 23 Nov 26 01:15:12 +0000", False),
        ("2026-11-23T01:15:12Z", False),
        ("Mon 23 Nov 2026 01:15:12", False),
        ("Mon, 23 Zzz 2026 01:15:12 +0000", False),
        ("", False),
    ],
)
def test_a_date_names_a_moment(text: str, right: bool) -> None:
    assert (date_fault(text) is None) is right


@given(st.integers(0, 4_000_000_000))
def test_our_own_dates_are_right(second: int) -> None:
    assert date_fault(rfc5322_date(second)) is None


NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(
    st.lists(
        st.tuples(NAMES, st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8})?@x\.example", fullmatch=True)), min_size=1
    )
)
@settings(max_examples=200, deadline=None)
def test_lists_that_python_writes_are_right(people: list[tuple[str, str]]) -> None:
    assert list_fault(", ".join(map(formataddr, people))) is None


@given(st.text(st.sampled_from('ab.@"\\[]<>:,;() \t') | st.characters(exclude_categories=[]), max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_text_is_judged_in_print(text: str) -> None:
    for fault in (list_fault(text), date_fault(text)):
        assert fault is None or fault.isprintable()


@pytest.mark.parametrize("message", [octets for _, octets in messages()])
def test_real_messages_are_judged_and_never_a_reason_to_fail(message: bytes) -> None:
    head, body = split(message)
    for finding in lint(Content(head, body, dotted=False, eight_bit=False), LintFacts(signs=signs)):
        assert str(finding).isprintable()
