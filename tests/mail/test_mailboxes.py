from __future__ import annotations

import pytest

from postroad.mail.mailboxes import LONGEST, TooLong, scan


@pytest.mark.parametrize(
    ("value", "specs"),
    [
        (b" bob@x.org", [b"bob@x.org"]),
        (b" root (Cron Daemon)", [b"root"]),
        (b" Bob <bob@x.org>", [b"bob@x.org"]),
        (b' "Smith, Bob" <bob@x.org>, ann@y.org', [b"bob@x.org", b"ann@y.org"]),
        (b" =?utf-8?q?J=C3=B6?= <j@x.org>", [b"j@x.org"]),
        (b' "a b"@x.org', [b'"a b"@x.org']),
        (b' "a\\"<b>" <c@d>', [b"c@d"]),
        (b" bob@[192.0.2.1]", [b"bob@[192.0.2.1]"]),
        (b" bob @ x . org", [b"bob@x.org"]),
        (b" bob@x.org (nested (comment) \\) <no@x>)", [b"bob@x.org"]),
        (b" <@a,@b:bob@x.org>", [b"bob@x.org"]),
        (b" friends: a@x, B <b@y>;, c@z", [b"a@x", b"b@y", b"c@z"]),
        (b"\r\n\tBob\r\n <bob@x.org>\r\n", [b"bob@x.org"]),
        (b" bob@x.org <ann@y.org>", [b"ann@y.org"]),
        (b" undisclosed-recipients:;", []),
        (b" John Smith", []),
        (b" <>", []),
        (b" ,,;", []),
        (b"", []),
    ],
)
def test_addresses_are_found_between_names_comments_and_groups(value: bytes, specs: list[bytes]) -> None:
    assert [mailbox.spec for mailbox in scan(value)] == specs


@pytest.mark.parametrize("value", [b" a@b (c", b' a@b "c', b" a@b [c", b" a@b <c", b" (", b" \\", b"(\\"])
def test_what_is_left_open_ends_with_the_value(value: bytes) -> None:
    assert all(mailbox.end <= len(value) for mailbox in scan(value))


def test_the_end_is_where_a_domain_can_be_put() -> None:
    value = b" Cron <root> (x), ann (y)"
    assert [value[: mailbox.end] for mailbox in scan(value)] == [b" Cron <root", b" Cron <root> (x), ann"]


def test_the_first_ones_are_found_without_a_look_at_the_rest() -> None:
    assert [mailbox.spec for mailbox in scan(b"a@x, b@x, c@x", most=2)] == [b"a@x", b"b@x"]


def test_what_is_endless_is_not_looked_at() -> None:
    assert scan(b"," * LONGEST) == []
    with pytest.raises(TooLong):
        scan(b"," * (LONGEST + 1))
    assert len(scan(b"a@x," * LONGEST, longest=4 * LONGEST)) == LONGEST
