"""Replies, parsed from octets however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.reply import MAX_LINE, MAX_LINES, MAX_TEXT, Reply, ReplyParser

HEARD = [
    (b"250 Ok\r\n", [Reply(250, ("Ok",))]),
    (b"250\r\n", [Reply(250, ("",))]),
    (b"250 \r\n", [Reply(250, ("",))]),
    (b"250 2.1.5 Ok\r\n", [Reply(250, ("Ok",), "2.1.5")]),
    (b"250 2.1.5\r\n", [Reply(250, ("",), "2.1.5")]),
    (b"550-5.1.1 No such\r\n550 5.1.1 user\r\n", [Reply(550, ("No such", "user"), "5.1.1")]),
    (
        b"250-mx.example.org\r\n250-SIZE 1000\r\n250 8BITMIME\r\n",
        [Reply(250, ("mx.example.org", "SIZE 1000", "8BITMIME"))],
    ),
    (b"250 one\n250 two\n", [Reply(250, ("one",)), Reply(250, ("two",))]),
    (b"250 a\r\n354 b\r\n550 c\r\n", [Reply(250, ("a",)), Reply(354, ("b",)), Reply(550, ("c",))]),
    (b"250 same\r\n250 same\r\n", [Reply(250, ("same",)), Reply(250, ("same",))]),
]

ENHANCED = [
    ("250 5.1.1 of another class", None, "5.1.1 of another class"),
    ("550 5.1.1 right", "5.1.1", "right"),
    ("550  5.1.1 not adjacent", None, " 5.1.1 not adjacent"),
    ("550 5.1.1234 too long", None, "5.1.1234 too long"),
    ("550 5.1 short", None, "5.1 short"),
    ("550 5.1.1: with a colon", None, "5.1.1: with a colon"),
    ("354 3.0.0 no class three", None, "3.0.0 no class three"),
    ("550 said 5.1.1", None, "said 5.1.1"),
    ("450 4.7.100 three digits", "4.7.100", "three digits"),
]

VIOLATIONS = [
    (b"hello there\r\n", "not a reply: hello there"),
    (b"25 Ok\r\n", "not a reply: 25 Ok"),
    (b"2500 Ok\r\n", "not a reply: 2500 Ok"),
    (b"+50 Ok\r\n", "not a reply: +50 Ok"),
    (b"250\tOk\r\n", "not a reply: 250\\tOk"),
    (b"199 Ok\r\n", "not a reply: 199 Ok"),
    (b"600 Ok\r\n", "not a reply: 600 Ok"),
    (b"799 Ok\r\n", "not a reply: 799 Ok"),
    (b"\r\n", "not a reply: "),
    (b"250-a\r\n550 b\r\n", "code changed from 250 within a reply: 550 b"),
    (b"HTTP/1.1 400 \x1b[31m\r\n", "not a reply: HTTP/1.1 400 \\x1b[31m"),
    (b"\xff\xfe\r\n", "not a reply: \\xff\\xfe"),
]


@pytest.mark.parametrize(("octets", "replies"), HEARD)
def test_replies_are_read_whole(octets: bytes, replies: list[Reply]) -> None:
    parser = ReplyParser()
    assert parser.feed(octets) == replies
    assert not parser.pending


@pytest.mark.parametrize(("octets", "replies"), HEARD)
def test_replies_are_read_byte_by_byte(octets: bytes, replies: list[Reply]) -> None:
    parser = ReplyParser()
    assert [reply for n in range(len(octets)) for reply in parser.feed(octets[n : n + 1])] == replies
    assert not parser.pending


@pytest.mark.parametrize(("octets", "replies"), HEARD)
def test_what_follows_a_reply_is_kept_for_the_next(octets: bytes, replies: list[Reply]) -> None:
    parser = ReplyParser()
    assert parser.feed(octets + b"250-to be") == replies
    assert parser.pending
    assert parser.feed(b"gun\r\n250 done\r\n") == [Reply(250, ("to begun", "done"))]


@pytest.mark.parametrize(("line", "enhanced", "text"), ENHANCED)
def test_an_enhanced_code_counts_only_next_to_a_code_of_its_class(
    line: str, enhanced: str | None, text: str
) -> None:
    assert ReplyParser().feed(line.encode() + b"\r\n") == [Reply(int(line[:3]), (text,), enhanced)]


def test_a_second_enhanced_code_in_a_reply_stays_in_its_text() -> None:
    heard = ReplyParser().feed(b"550-5.1.1 one\r\n550 5.7.1 two\r\n")
    assert heard == [Reply(550, ("one", "5.7.1 two"), "5.1.1")]


@pytest.mark.parametrize(("octets", "text"), VIOLATIONS)
def test_what_is_no_reply_is_a_violation_that_quotes_it(octets: bytes, text: str) -> None:
    parser = ReplyParser()
    assert parser.feed(octets) == []
    assert parser.violation is not None
    assert parser.violation.text == text


def test_replies_before_a_violation_were_heard_and_nothing_after_it_is() -> None:
    parser = ReplyParser()
    assert parser.feed(b"250 Queued\r\nrubbish\r\n250 Ok\r\n") == [Reply(250, ("Queued",))]
    assert parser.feed(b"250 Ok\r\n") == []
    assert not parser.pending


@pytest.mark.parametrize(
    ("octets", "broken"),
    [
        (b"250 " + b"a" * (MAX_LINE - 5) + b"\r\n", False),
        (b"250 " + b"a" * (MAX_LINE - 3) + b"\r\n", True),
        (b"250 " + b"a" * (MAX_LINE + 1), True),
        (b"250-a\r\n" * (MAX_LINES - 1) + b"250 z\r\n", False),
        (b"250-a\r\n" * MAX_LINES + b"250 z\r\n", True),
    ],
)
def test_lines_and_their_number_have_a_limit(octets: bytes, broken: bool) -> None:
    parser = ReplyParser()
    parser.feed(octets)
    assert (parser.violation is not None) is broken


def test_a_violation_quotes_at_most_two_hundred_characters() -> None:
    parser = ReplyParser()
    parser.feed(b"\xff" * 1000 + b"\n")
    assert parser.violation is not None
    assert len(parser.violation.text) <= 200 + len("a reply line without end: ")


def test_the_text_kept_of_a_reply_has_a_limit() -> None:
    heard = ReplyParser().feed((b"250-" + b"a" * 1000 + b"\r\n") * 50 + b"250 end\r\n")
    assert len("".join(heard[0].lines)) == MAX_TEXT


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"caf\xc3\xa9", "café"),
        (b"bell\x07 null\x00 escape\x1b[2J", "bell? null? escape?[2J"),
        (b"bare\rreturn", "bare return"),
        (b"latin \xe9", "latin \\xe9"),
        (b"line\xe2\x80\xa8separator", "line separator"),
    ],
)
def test_the_text_is_printable_whatever_was_sent(octets: bytes, text: str) -> None:
    assert ReplyParser().feed(b"550 " + octets + b"\r\n")[0].text == text


def test_more_different_replies_than_are_remembered_are_all_right() -> None:
    parser = ReplyParser()
    for number in [*range(200), *range(200)]:
        assert parser.feed(b"250 %d\r\n" % number) == [Reply(250, (str(number),))]


lines = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=60)


@given(st.binary(max_size=400) | lines.map(lambda text: b"250 " + text.encode() + b"\r\n"), st.data())
def test_how_octets_are_cut_changes_nothing(octets: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=6)))
    whole, pieces = ReplyParser(), ReplyParser()
    replies = whole.feed(octets)
    heard = [
        reply
        for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True)
        for reply in pieces.feed(octets[start:end])
    ]
    assert heard == replies
    assert (pieces.violation, pieces.pending) == (whole.violation, whole.pending)
    assert all(line.isprintable() for reply in replies for line in reply.lines)
    assert all(200 <= reply.code < 600 for reply in replies)
