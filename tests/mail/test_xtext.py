from __future__ import annotations

import pytest

from postroad.mail.xtext import XtextError, decode, encode, is_xtext, split_orcpt


@pytest.mark.parametrize("octet", range(256))
def test_every_octet_survives_encoding(octet: int) -> None:
    data = bytes([97, octet, 98])
    assert is_xtext(encode(data))
    assert decode(encode(data)) == data


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"abc-1.2@x", "abc-1.2@x"), (b"a+b=c", "a+2Bb+3Dc"), (b"a b\r\n", "a+20b+0D+0A"), (b"", "")],
)
def test_what_is_printable_stays_readable(data: bytes, text: str) -> None:
    assert encode(data) == text


@pytest.mark.parametrize("text", ["a b", "a=b", "a+", "a+2", "a+2b", "a+GG", "\u00fc", "a\tb"])
def test_what_is_not_xtext_is_refused(text: str) -> None:
    assert not is_xtext(text)
    with pytest.raises(XtextError):
        decode(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rfc822;bob@example.org", ("rfc822", "bob@example.org")),
        ("RFC822;bob+2Btag@example.org", ("rfc822", "bob+tag@example.org")),
        ("utf-8;j\\x{F6}@example.org", ("utf-8", "j\u00f6@example.org")),
        ("utf-8;j+5Cx{F6}@example.org", ("utf-8", "j\u00f6@example.org")),
        ("utf-8;\\x{D800}", ("utf-8", "\N{REPLACEMENT CHARACTER}")),
        ("rfc822;a+FFb", ("rfc822", "a\N{REPLACEMENT CHARACTER}b")),
    ],
)
def test_an_original_recipient_is_a_type_and_a_decoded_address(text: str, expected: tuple[str, str]) -> None:
    assert split_orcpt(text) == expected


def test_with_smtputf8_an_original_recipient_may_stand_undecoded() -> None:
    assert split_orcpt("utf-8;j\u00f6@example.org", smtputf8=True) == ("utf-8", "j\u00f6@example.org")


@pytest.mark.parametrize(
    "text", ["", "rfc822", "rfc822;", ";x", "r fc;x", "utf-8;j\u00f6", "rfc822;\u00f6", "x;a b"]
)
def test_what_is_no_original_recipient_is_refused(text: str) -> None:
    with pytest.raises(XtextError):
        split_orcpt(text)
