"""The records that a sending domain publishes: right in form, cut as servers want them."""

from __future__ import annotations

import dns.rdata
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.publishing import Publication, dkim_value, mta_sts_policy, quoted, records, spf_value

KEY = "A" * 392


def strings(value: str) -> tuple[bytes, ...]:
    """A TXT value as a name server reads it."""
    text = value.removeprefix("( ").removesuffix(" )")
    return tuple(dns.rdata.from_text("IN", "TXT", text).strings)  # type: ignore[attr-defined]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=1000))
def test_a_text_is_cut_into_strings_that_make_it_again(text: str) -> None:
    found = strings(quoted(text))
    assert b"".join(found) == text.encode()
    assert all(len(each) <= 255 for each in found)


@pytest.mark.parametrize(
    ("published", "then"),
    [
        (None, "v=spf1 a:mail.example.com -all"),
        ("something else", "v=spf1 a:mail.example.com -all"),
        (
            "v=spf1 mx include:spf.example.net ~all",
            "v=spf1 a:mail.example.com mx include:spf.example.net ~all",
        ),
        ("v=spf1 a:mail.example.com -all", "v=spf1 a:mail.example.com -all"),
    ],
)
def test_there_is_one_spf_record_and_what_it_said_stays(published: str | None, then: str) -> None:
    assert spf_value("mail.example.com", published) == then


def test_every_record_that_receivers_look_at_is_there() -> None:
    of = Publication(
        "example.com",
        "mail.example.com",
        "you@example.com",
        [("s1", dkim_value("rsa", KEY)), ("e1", dkim_value("ed25519", "B" * 44))],
        ("192.0.2.1", "2001:db8::1"),
        stamp="20261125",
    )
    found = {(record.name, record.type): record.value for record in records(of)}
    assert found["mail.example.com", "A"] == "192.0.2.1"
    assert found["mail.example.com", "AAAA"] == "2001:db8::1"
    assert found["1.2.0.192.in-addr.arpa", "PTR"] == "mail.example.com."
    assert found["example.com", "TXT"] == "v=spf1 a:mail.example.com -all"
    assert found["s1._domainkey.example.com", "TXT"] == f"v=DKIM1; k=rsa; p={KEY}"
    assert found["e1._domainkey.example.com", "TXT"].startswith("v=DKIM1; k=ed25519; p=")
    assert found["_dmarc.example.com", "TXT"] == "v=DMARC1; p=none; rua=mailto:you@example.com"
    assert found["_mta-sts.example.com", "TXT"] == "v=STSv1; id=20261125"
    assert found["_smtp._tls.example.com", "TXT"] == "v=TLSRPTv1; rua=mailto:you@example.com"
    assert all(dns.rdatatype.from_text(record.type) and record.why for record in records(of))


def test_a_server_named_as_its_domain_has_one_spf_record() -> None:
    of = Publication("example.com", "example.com", "you@example.com", [])
    assert [record.type for record in records(of) if record.name == "example.com"] == ["TXT"]


def test_the_policy_names_who_receives() -> None:
    assert mta_sts_policy(["a.example", "b.example"]) == (
        "version: STSv1\nmode: testing\nmx: a.example\nmx: b.example\nmax_age: 604800\n"
    )
