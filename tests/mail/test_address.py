from __future__ import annotations

import pytest

from postroad.mail.address import Address, AddressError, normalise_domain, parse_address, parse_path


@pytest.mark.parametrize(
    ("text", "local", "domain"),
    [
        ("bob@example.org", "bob", "example.org"),
        ("Bob.Smith+tag@EXAMPLE.Org", "Bob.Smith+tag", "example.org"),
        ("bob@example.org.", "bob", "example.org"),
        ("!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", "x"),
        ("bob@localhost", "bob", "localhost"),
        ("bob@[192.0.2.1]", "bob", "[192.0.2.1]"),
        ("bob@[ipv6:2001:DB8:0:0::1]", "bob", "[IPv6:2001:db8::1]"),
        ('"a b"@x.org', "a b", "x.org"),
        ('"bob"@x.org', "bob", "x.org"),
        ('"a\\"b\\\\c"@x.org', 'a"b\\c', "x.org"),
        ('"a@b"@x.org', "a@b", "x.org"),
        ('""@x.org', "", "x.org"),
        ("a" * 64 + "@x.org", "a" * 64, "x.org"),
    ],
)
def test_a_mailbox_is_taken_apart(text: str, local: str, domain: str) -> None:
    assert parse_address(text) == Address(local, domain)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "bob",
        "bob@",
        "@example.org",
        "bob@@example.org",
        "a@b@example.org",
        "a..b@example.org",
        ".a@example.org",
        "a.@example.org",
        "a b@example.org",
        "bob @example.org",
        "bob@ example.org",
        "bob@exa mple.org",
        "bob@example..org",
        "bob@example.org..",
        "bob@.example.org",
        "bob@-example.org",
        "bob@example-.org",
        "bob@ex_ample.org",
        "bob@" + "a" * 64 + ".org",
        "bob@[192.0.2]",
        "bob@[192.0.2.1",
        "bob@[",
        "bob@192.0.2.1]",
        "bob@[IPv6:fe80::1%eth0]",
        "bob@[tag:text]",
        '"bob@example.org',
        '"bob"x@example.org',
        'a"b"@example.org',
        '"a\\"@example.org',
        "<bob@example.org>",
        "bob(comment)@example.org",
        "bob,ann@example.org",
        "bob@example.org\r\nRCPT TO:<ann@example.org>",
        "bob\0@example.org",
        "bob@example.org\x7f",
        '"bob\n"@example.org',
        "\u00fc@example.org",
        "bob@m\u00fcnchen.example",
    ],
)
def test_what_the_grammar_does_not_know_is_refused_in_printable_words(text: str) -> None:
    with pytest.raises(AddressError) as refusal:
        parse_address(text)
    assert str(refusal.value).isprintable()
    assert str(refusal.value).isascii()
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize(
    "text",
    [
        "a" * 65 + "@example.org",
        '"' + "a" * 63 + '"@example.org',
        "a@" + ".".join(["b" * 60] * 5),
        "a" * 64 + "@" + ".".join(["b" * 47] * 4),
        "\u00fc" * 33 + "@example.org",
        "a" * 2000,
    ],
    ids=["local", "quoted local", "domain", "address", "octets not characters", "anything"],
)
def test_lengths_have_limits(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text, smtputf8=True)


def test_an_address_of_254_octets_still_fits() -> None:
    text = "a" * 63 + "@" + ".".join(["b" * 47] * 3 + ["b" * 46])
    assert len(text) == 254
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("j\u00f6rg@example.org", "j\u00f6rg@example.org"),
        ("bob@M\u00dcNCHEN.example", "bob@xn--mnchen-3ya.example"),
        ("bob@m\u00fcnchen\u3002example", "bob@xn--mnchen-3ya.example"),
        ('"j\u00f6 rg"@example.org', '"j\u00f6 rg"@example.org'),
        (
            "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc@example.org",
            "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc@example.org",
        ),
    ],
)
def test_with_smtputf8_characters_are_not_only_ascii(text: str, wire: str) -> None:
    assert str(parse_address(text, smtputf8=True)) == wire


@pytest.mark.parametrize(
    "text", ["a\u202eb@x.org", "a\u0085b@x.org", "a\ud800@x.org", "a@\u2603-.org", "a@\u00ad"]
)
def test_smtputf8_is_no_way_in_for_unprintable_characters_or_bad_names(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text, smtputf8=True)


def test_only_the_local_part_decides_whether_an_address_needs_smtputf8() -> None:
    assert parse_address("bob@m\u00fcnchen.example", smtputf8=True).is_ascii
    assert not parse_address("j\u00f6rg@example.org", smtputf8=True).is_ascii


@pytest.mark.parametrize(
    ("local", "wire"),
    [
        ("bob", "bob@x"),
        ("a b", '"a b"@x'),
        ("a..b", '"a..b"@x'),
        ('a"\\b', '"a\\"\\\\b"@x'),
        ("", '""@x'),
        ("a@b", '"a@b"@x'),
    ],
)
def test_the_wire_form_is_quoted_when_it_needs_to_be(local: str, wire: str) -> None:
    assert str(Address(local, "x")) == wire
    assert parse_address(wire) == Address(local, "x")


def test_a_domain_can_be_given_to_complete_an_address() -> None:
    assert str(parse_address("root", default_domain="example.org")) == "root@example.org"
    assert str(parse_address("root@x", default_domain="example.org")) == "root@x"
    with pytest.raises(AddressError):
        parse_address("", default_domain="example.org")


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        ("<bob@example.org>", "bob@example.org"),
        ("<@a.org,@b.org:bob@example.org>", "bob@example.org"),
        ("<@[192.0.2.1]:bob@example.org>", "bob@example.org"),
        ('<"<>"@example.org>', '"<>"@example.org'),
    ],
)
def test_a_path_is_an_address_in_brackets_and_its_route_is_dropped(path: str, wire: str) -> None:
    assert str(parse_path(path)) == wire


def test_the_null_path_is_nobody() -> None:
    assert parse_path("<>") is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "<",
        ">",
        "bob@x",
        "<bob@x",
        "bob@x>",
        "< bob@x>",
        "<bob@x >",
        "<@a.org>",
        "<@:bob@x>",
        "<@a b:bob@x>",
        "<@-a:bob@x>",
        "<bob>",
        "<<bob@x>>",
        "<bob@x> SIZE=1",
        "< >",
    ],
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(AddressError):
        parse_path(path)


def test_only_postmaster_needs_no_domain_in_a_path() -> None:
    assert parse_path("<PostMaster>", default_domain="example.org") == Address("PostMaster", "example.org")
    with pytest.raises(AddressError):
        parse_path("<Postmaster>")
    with pytest.raises(AddressError):
        parse_path("<bob>", default_domain="example.org")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example.ORG.", "example.org"),
        ("XN--Mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("m\u00fcnchen.de", "xn--mnchen-3ya.de"),
        ("[1.2.3.4]", "[1.2.3.4]"),
        ("[IPv6:::1]", "[IPv6:::1]"),
    ],
)
def test_a_domain_has_one_spelling(text: str, name: str) -> None:
    assert normalise_domain(text) == name


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "*.org", "a/b", "a:25", "[::1]", "a" * 300, "\u00fc" * 300]
)
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        normalise_domain(text)
