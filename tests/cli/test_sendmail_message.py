"""What becomes of a message on its way from a program to the daemon."""

from __future__ import annotations

from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.cli.sendmail_message import (
    BadMessage,
    addresses,
    author_field,
    end_of_input,
    joined,
    missing_author,
    name_in_gecos,
    phrase,
    recipient_values,
    split,
    unified,
    without_blind_copies,
)
from postroad.mail import headers
from postroad.mail.mailboxes import scan

LIST = st.lists(
    st.sampled_from(
        ["a@b.example", "root", "B", " ", ",", "<", ">", "<c@d.example>", "(x)", '"q,r"', ":", ";", "\n "]
    ),
    max_size=8,
).map("".join)


@given(LIST)
def test_the_short_way_finds_the_addresses_of_the_long_way(text: str) -> None:
    """The long way skips what stands between commas and is none; the short way leaves such a list to it."""
    try:
        found = addresses(text)
    except BadMessage:
        found = []
    assert found == [box.spec.decode() for box in scan(text.encode())]


@pytest.mark.parametrize(
    ("given_", "end"),
    [
        (b".\n", 0),
        (b".\r\n", 0),
        (b"a\n.\nrest", 2),
        (b"a\n.\r\n", 2),
        (b"a\n..\n", None),
        (b"a\n.b\n", None),
        (b"a\n.", None),
        (b" .\n", None),
        (b"a.\n", None),
        (b"", None),
    ],
)
def test_a_line_with_a_dot_alone_is_the_end(given_: bytes, end: int | None) -> None:
    assert end_of_input(given_) == end


@given(st.lists(st.sampled_from([b".", b"\n", b"\r\n", b"a", b".."]), max_size=8), st.integers(0, 12))
def test_the_end_is_found_wherever_the_input_is_cut(pieces: list[bytes], cut: int) -> None:
    data = b"".join(pieces)
    whole = end_of_input(data)
    first = end_of_input(data[:cut])
    assert (first if first is not None else end_of_input(data, min(cut, len(data)))) == whole


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (b"", b""),
        (b"a", b"a\n"),
        (b"a: b\r\n\r\nc\nd\r\n", b"a: b\n\nc\nd\n"),
        (b"From a@b Mon Nov 23\nSubject: x\n", b"Subject: x\n"),
        (b">From a@b\r\nSubject: x\r\n", b"Subject: x\n"),
        (b"From: a@b\n", b"From: a@b\n"),
        (b"..\n.a\n", b"..\n.a\n"),
        (b"a: b\r\r\n\r\r\nc\r\r\n", b"a: b\n\nc\n"),
        (b"a: b\r\rc\r", b"a: b\n\nc\n"),
        (b"a: b\rTo: c\n", b"a: b\rTo: c\n"),
    ],
)
def test_line_ends_become_one_kind_and_the_mbox_line_goes(raw: bytes, clean: bytes) -> None:
    assert unified(raw) == clean


@pytest.mark.parametrize(
    ("data", "names", "body"),
    [
        (b"A: 1\nB: 2\n\nbody\n", [b"a", b"b"], b"body\n"),
        (b"A: 1\n  more\n\tyet\nB:2\n\n", [b"a", b"b"], b""),
        (b"A : 1\n\nx\n", [b"a"], b"x\n"),
        (b"hello world\n", [], b"hello world\n"),
        (b"\nhello: world\n", [], b"hello: world\n"),
        (b"A: 1\nno field here\nB: 2\n", [b"a"], b"no field here\nB: 2\n"),
        (b"", [], b""),
    ],
)
def test_the_header_ends_at_the_first_line_that_is_no_field(
    data: bytes, names: list[bytes], body: bytes
) -> None:
    fields, rest = split(data)
    assert ([name for name, _, _ in fields], rest) == (names, body)


LINES = st.lists(
    st.sampled_from([b"A: 1", b"To: x", b" folded", b"\tx", b"", b"text", b"B :2", b":", b"a:", b".x", b" "]),
    max_size=8,
).map(lambda lines: b"".join(line + b"\n" for line in lines))


@given(LINES)
def test_the_daemon_finds_the_same_fields(data: bytes) -> None:
    ours, body = split(data)
    head, theirs = headers.split(joined(ours, body).replace(b"\n", b"\r\n"))
    assert [field.raw for field in headers.fields(head)] == [
        raw.replace(b"\n", b"\r\n") for _, _, raw in ours
    ]
    assert theirs == body.replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b"To: a\nCc: b\nBcc: c\nReply-To: d\n\n", [b" a\n", b" b\n", b" c\n"]),
        (b"TO: a\nTo: b,\n c\n\n", [b" a\n", b" b,\n c\n"]),
        (b"To: a\nResent-To: b\n\n", [b" b\n"]),
        (b"Resent-To: new\nResent-Bcc: blind\nResent-To: old\nTo: a\n\n", [b" new\n", b" blind\n"]),
        (b"Resent-To: new\nReceived: x\nResent-Cc: old\nTo: a\n\n", [b" new\n"]),
        (b"Resent-From: me\nTo: a\n\n", []),
        (b"Subject: x\n\nTo: in the body\n", []),
    ],
)
def test_recipients_are_those_of_the_header_or_of_the_last_resending(
    data: bytes, values: list[bytes]
) -> None:
    assert recipient_values(split(data)[0]) == values


def test_blind_copies_leave_no_trace() -> None:
    fields, body = split(b"To: a\nBcc: b,\n c\nRESENT-BCC: d\nSubject: x\n\nbody\n")
    assert joined(without_blind_copies(fields), body) == b"To: a\nSubject: x\n\nbody\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("user", ["user"]),
        ("a@b.example", ["a@b.example"]),
        ("a@b.example, c@d.example", ["a@b.example", "c@d.example"]),
        ("root (Cron Daemon)", ["root"]),
        ('"Doe, J." <j@d.example>, x', ["j@d.example", "x"]),
        (" a@b.example\n", ["a@b.example"]),
        ("Friends: a@b.example, c@d.example;", ["a@b.example", "c@d.example"]),
        ("undisclosed-recipients:;", []),
        ("", []),
        ('"a b"@c.example', ['"a b"@c.example']),
        ("grü@exämple.de", ["grü@exämple.de"]),
    ],
)
def test_addresses_come_out_of_lists_names_and_comments(text: str, found: list[str]) -> None:
    assert addresses(text) == found


@pytest.mark.parametrize("text", ["not an address", "<>", "a\x07b@c.example", "\udcff@b.example", "(nobody)"])
def test_what_holds_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadMessage):
        addresses(text)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", ""),
        ("Cron Daemon", "Cron Daemon"),
        ("Doe, J.", '"Doe, J."'),
        ('a "b" \\c', '"a \\"b\\" \\\\c"'),
        ("a\r\nBcc: x@y", '"a Bcc: x@y"'),
        ("  two   words ", "two words"),
    ],
)
def test_a_name_is_quoted_where_it_must_be(name: str, shown: str) -> None:
    assert phrase(name) == shown


@given(st.text())
def test_any_name_makes_one_line_of_ascii_that_reads_back(name: str) -> None:
    shown = phrase(name)
    assert shown.isascii()
    assert "\n" not in shown
    assert "\r" not in shown
    if shown.startswith("=?utf-8?b?"):
        assert all(len(word) <= 75 for word in shown.split(" "))
        expected = " ".join("".join(c if c.isprintable() else " " for c in name).split())[:200]
        assert str(make_header(decode_header(shown))) == expected


def test_a_from_field_has_the_name_where_there_is_one() -> None:
    assert author_field("From", "A B", "a@b") == (b"from", b" A B <a@b>\n", b"From: A B <a@b>\n")
    assert author_field("Resent-From", "", "a@b")[2] == b"Resent-From: a@b\n"


@pytest.mark.parametrize(
    ("head", "missing"),
    [
        (b"Subject: x\n", "From"),
        (b"FROM : a@b\n", None),
        (b"From: a@b\nResent-To: c@d\n", "Resent-From"),
        (b"Resent-To: c@d\n", "Resent-From"),
        (b"Resent-From: c@d\nResent-To: c@d\n", None),
        # The author of the first resending is not that of the second.
        (b"Resent-To: c@d\nReceived: x\nResent-From: e@f\nResent-To: c@d\n", "Resent-From"),
    ],
)
def test_who_resends_names_himself_as_the_one_who_resends(head: bytes, missing: str | None) -> None:
    assert missing_author(split(head)[0]) == missing


@pytest.mark.parametrize(
    ("gecos", "name"), [("Jane Doe,Room 1,,", "Jane Doe"), ("& Smith", "Jane Smith"), ("", ""), (",,,", "")]
)
def test_the_full_name_of_a_user_is_in_gecos(gecos: str, name: str) -> None:
    assert name_in_gecos(gecos, "jane") == name
