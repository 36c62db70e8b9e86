from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail.headers import split
from postroad.mail.mending import Mended, edited, mend
from postroad.mail.mime import Kind, Octets, regions
from postroad.mail.reply import Reply

HEAD = b"From: a@x\r\nSubject: s\r\n"
LONG = b"x" * 1500 + b"\r\n"
UMLAUTS = "Grüße\r\n".encode()


def mended(message: bytes, *, long_lines: bool = True, downgrade: bool = False) -> bytes:
    """The whole message as it is sent."""
    head, body = split(message)
    made = mend(head, body, long_lines=long_lines, downgrade=downgrade)
    assert isinstance(made, Mended), made
    whole = made.head + b"".join(edited(body, made.edits))
    assert made.eight_bit is not whole.isascii()
    return whole


def refused(message: bytes) -> Reply:
    made = mend(*split(message), long_lines=True, downgrade=False)
    assert isinstance(made, Reply), made
    return made


def read(message: bytes) -> EmailMessage:
    return email.message_from_bytes(message, policy=email.policy.default)


def longest(octets: bytes) -> int:
    return max(map(len, octets.split(b"\r\n")))


def of(media: bytes, body: bytes, encoding: bytes = b"8bit") -> bytes:
    fields = b"MIME-Version: 1.0\r\nContent-Type: %b\r\nContent-Transfer-Encoding: %b\r\n\r\n"
    return HEAD + fields % (media, encoding) + body


def multipart(kind: bytes, *parts: bytes) -> bytes:
    """The octets below a header that says multipart/KIND; boundary=KIND."""
    return b"".join(b"--" + kind + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + kind + b"--\r\n"


def part(media: bytes, body: bytes, encoding: bytes = b"8bit") -> bytes:
    return of(media, body, encoding).removeprefix(HEAD + b"MIME-Version: 1.0\r\n")


def test_a_message_without_mime_becomes_one_that_says_what_it_is() -> None:
    made = mended(HEAD + b"\r\n" + LONG + UMLAUTS)
    assert longest(made) <= 76
    assert made.startswith(
        HEAD + b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    assert read(made).get_content() == "x" * 1500 + "\r\nGrüße\r\n"


@pytest.mark.parametrize(
    ("body", "charset"),
    [(LONG, b"us-ascii"), (LONG + UMLAUTS, b"utf-8"), (LONG + b"\xff\r\n", b"unknown-8bit")],
)
def test_what_text_has_no_label_gets_the_one_it_deserves(body: bytes, charset: bytes) -> None:
    assert b"charset=" + charset + b"\r\n" in mended(HEAD + b"\r\n" + body)


@pytest.mark.parametrize(
    ("media", "body", "encoding", "expected"),
    [
        (b"text/html; charset=utf-8", LONG, b"8bit", b"quoted-printable"),
        (b"text/plain; charset=utf-8", UMLAUTS * 2 + LONG, b"7bit", b"quoted-printable"),
        (b"text/plain; charset=utf-8", "世界".encode() * 400 + b"\r\n", b"8bit", b"base64"),
        (b"application/json", LONG, b"8bit", b"base64"),
        (b"text/plain; charset=utf-8", b"=C3=BC" * 300 + b"\r\n", b"quoted-printable", b"quoted-printable"),
        (b"image/png", b"QUJD" * 500 + b"\r\n", b"Base64", b"base64"),
    ],
)
def test_content_is_encoded_in_a_way_that_suits_it_and_says_the_same(
    media: bytes, body: bytes, encoding: bytes, expected: bytes
) -> None:
    given = of(media, body, encoding)
    made = mended(given)
    assert longest(made) <= 76
    assert read(made)["Content-Transfer-Encoding"].encode().lower() == expected
    assert read(made).get_payload(decode=True) == read(given).get_payload(decode=True)


def test_only_the_part_with_the_long_line_is_changed() -> None:
    body = multipart(b"mixed", part(b"text/plain", b"short\r\n.", b"7bit"), part(b"text/html", LONG))
    given = of(b"multipart/mixed; boundary=mixed", b"preamble\r\n" + body + b"epilogue\r\n")
    made = mended(given)
    kept, _, rest = given.partition(b"Content-Type: text/html")
    assert made.startswith(kept)
    assert made.endswith(b"--mixed--\r\nepilogue\r\n")
    assert rest.partition(b"\r\n--mixed")[0] not in made
    assert read(made).get_payload(1).get_content() == "x" * 1500 + "\r\n"  # type: ignore[union-attr]


def test_a_part_without_a_header_is_given_one() -> None:
    given = of(b"multipart/mixed; boundary=mixed", multipart(b"mixed", b"\r\n" + LONG))
    made = mended(given)
    assert b"--mixed\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nxxx" in made
    assert longest(made) <= 76


def test_a_message_inside_is_encoded_inside() -> None:
    inner = HEAD + b"\r\n" + LONG
    given = of(
        b"multipart/mixed; boundary=mixed", multipart(b"mixed", part(b"message/rfc822", inner, b"7bit"))
    )
    made = mended(given)
    assert longest(made) <= 76
    assert b"message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nFrom: a@x" in made


def test_the_header_of_a_part_is_folded() -> None:
    head = b"Content-Type: text/plain\r\nContent-Description: " + b"word " * 300 + b"\r\n\r\nhi"
    made = mended(of(b"multipart/mixed; boundary=mixed", multipart(b"mixed", head)))
    assert longest(made) <= 78


def test_a_preamble_with_a_long_line_is_broken_so_that_no_delimiter_appears() -> None:
    preamble = b"x" * 998 + b"--mixed--" + b"y" * 1000 + b"\r\n"
    given = of(b"multipart/mixed; boundary=mixed", preamble + multipart(b"mixed", b"\r\nhi"))
    made = mended(given)
    assert longest(made) <= 998
    assert read(made).get_payload(0).get_content() == "hi"  # type: ignore[union-attr]


SIGNED = multipart(b"signed", part(b"text/plain", LONG), part(b"application/pgp-signature", b"sig"))
DKIM = b"DKIM-Signature: v=1; c=relaxed/relaxed; h=from; b=x\r\n"


@pytest.mark.parametrize(
    "message",
    [
        of(b"multipart/signed; boundary=signed", SIGNED),
        of(b"Multipart/Signed; boundary=signed", SIGNED),
        of(
            b"multipart/mixed; boundary=m",
            multipart(b"m", part(b"multipart/signed; boundary=signed", SIGNED)),
        ),
        DKIM + HEAD + b"\r\n" + LONG,
        of(b"message/rfc822", DKIM + HEAD + b"\r\n" + LONG),
        b"ARC-Message-Signature: i=1; c=relaxed/relaxed; h=from; b=x\r\n" + HEAD + b"\r\n" + LONG,
    ],
    ids=["signed", "upper case", "inside", "dkim", "dkim inside", "arc"],
)
def test_a_long_line_under_a_signature_is_refused(message: bytes) -> None:
    reply = refused(message)
    assert (reply.code, reply.enhanced) == (550, "5.6.0")
    assert "1500 octets in a signed part" in reply.text


def test_what_stands_beside_a_signed_part_is_encoded_and_the_signed_part_kept() -> None:
    signed = part(b"multipart/signed; boundary=signed", SIGNED.replace(LONG, UMLAUTS))
    given = of(b"multipart/mixed; boundary=m", multipart(b"m", signed, part(b"text/plain", LONG)))
    made = mended(given, downgrade=True)
    assert signed in made
    assert longest(made) <= 76


@pytest.mark.parametrize(
    "message",
    [
        of(b"message/partial; id=1", LONG),
        of(b"multipart/mixed", LONG),
        of(b"text/plain", LONG, b"x-uuencode"),
    ],
)
def test_what_cannot_be_encoded_is_refused(message: bytes) -> None:
    assert refused(message).enhanced == "5.6.0"


def test_a_header_that_cannot_be_folded_is_refused_by_name() -> None:
    assert "X-Token" in refused(HEAD + b"X-Token: " + LONG + b"\r\nhi\r\n").text


def test_eight_bit_content_is_encoded_on_request_and_no_part_says_eight_bit_any_more() -> None:
    body = multipart(b"mixed", part(b"text/plain; charset=utf-8", UMLAUTS * 3 + b"x" * 60))
    given = of(b"multipart/mixed; boundary=mixed", body)
    made = mended(given, downgrade=True)
    assert made.isascii()
    assert b"8bit" not in made
    assert b"multipart/mixed; boundary=mixed\r\nContent-Transfer-Encoding: 7bit\r\n" in made


@pytest.mark.parametrize(
    "message",
    [
        of(b"multipart/signed; boundary=signed", SIGNED.replace(LONG, UMLAUTS)),
        DKIM + of(b"text/plain; charset=utf-8", UMLAUTS),
        of(b"message/partial; id=1", UMLAUTS),
        HEAD + "X: Ü\r\n\r\nhi\r\n".encode(),
    ],
)
def test_eight_bit_content_that_cannot_be_encoded_stays_as_it_is(message: bytes) -> None:
    assert mended(message, long_lines=False, downgrade=True) == message


def test_too_many_parts_are_not_looked_into() -> None:
    body = b"--m\r\n\r\nx\r\n" * 10_001 + UMLAUTS
    message = of(b"multipart/mixed; boundary=m", body)
    assert mended(message, long_lines=False, downgrade=True) == message
    assert "more than 10000 parts" in refused(message + LONG).text


def test_a_nest_too_deep_is_not_looked_into() -> None:
    message = of(b"message/rfc822", b"Content-Type: message/rfc822\r\n\r\n" * 60 + LONG)
    assert "nested more than 50 deep" in refused(message).text


PIECES = st.lists(
    st.sampled_from(
        [
            b"--m\r\n",
            b"--m--\r\n",
            b"--n\r\n",
            b"--n--\r\n",
            b"Content-Type: multipart/mixed; boundary=n\r\n\r\n",
            b"Content-Type: message/rfc822\r\n\r\n",
            b"Content-Type: multipart/signed; boundary=m\r\n\r\n",
            b"Content-Transfer-Encoding: 8bit\r\n",
            b"Content-Transfer-Encoding: base64\r\n",
            b"\r\n",
            b"hi\r\n",
            b"QUJD",
            b"\xc3\xbc",
            b"x" * 1000,
            b"=",
            b" ",
            b"--",
            b"\0",
        ]
    )
    # A body has no CR and no LF of its own where lines are counted.
    | st.binary(max_size=5).map(lambda octets: octets.translate(None, b"\r\n")),
    max_size=30,
).map(b"".join)


class Windowed:
    """`Octets` that is no bytes, so that only what every body can do is asked of it."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def __len__(self) -> int:
        return len(self._octets)

    def __getitem__(self, place: slice, /) -> bytes:
        return self._octets[place]


@given(PIECES, st.booleans(), st.booleans())
@settings(max_examples=600, deadline=None)
def test_any_body_is_taken_apart_without_loss_and_mended_for_good(
    body: bytes, long_lines: bool, downgrade: bool
) -> None:
    head = HEAD + b"Content-Type: multipart/mixed; boundary=m\r\n\r\n"
    found = regions(head, body)
    assert b"".join(body[each.start : each.end] for each in found) == body
    assert all(each.facts is not None for each in found if each.kind is Kind.CONTENT)
    octets: Octets = Windowed(body)
    made = mend(head, octets, long_lines=long_lines, downgrade=downgrade)
    if isinstance(made, Reply):
        assert made.code == 550
        return
    rest = b"".join(edited(octets, made.edits))
    assert made.eight_bit is not (made.head + rest).isascii()
    if not long_lines:
        return
    assert longest(made.head + rest) <= 998
    again = mend(made.head, rest, long_lines=True, downgrade=downgrade)
    assert isinstance(again, Mended)
    assert b"".join(edited(rest, again.edits)) == rest
