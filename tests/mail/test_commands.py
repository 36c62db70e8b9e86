"""MAIL and RCPT as the peer can take them, and what it is never sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postroad.mail.address import Address
from postroad.mail.commands import Capabilities, Unsendable, mail_command, path, rcpt_command
from postroad.mail.message import Body, Envelope, EnvelopeRecipient, Handling, Notify, Ret
from postroad.mail.outcome import Fault, Stage
from postroad.mail.transaction import Exchange
from tests.support.build import envelope

ALL = Capabilities(pipelining=True, eight_bit=True, smtputf8=True, dsn=True, size_offered=True)
NOTHING = Capabilities()
BINARY = replace(ALL, binary=True)


MAIL = [
    (ALL, {}, "MAIL FROM:<a@example.com> SIZE=1000"),
    (NOTHING, {}, "MAIL FROM:<a@example.com>"),
    (ALL, {"sender": None}, "MAIL FROM:<> SIZE=1000"),
    (ALL, {"body": Body.EIGHT_BIT}, "MAIL FROM:<a@example.com> SIZE=1000 BODY=8BITMIME"),
    (ALL, {"body": Body.SEVEN_BIT}, "MAIL FROM:<a@example.com> SIZE=1000"),
    (ALL, {"smtputf8": True}, "MAIL FROM:<a@example.com> SIZE=1000 SMTPUTF8"),
    (ALL, {"sender": Address("é", "example.com")}, "MAIL FROM:<é@example.com> SIZE=1000 SMTPUTF8"),
    (ALL, {"ret": Ret.HDRS, "envid": "id+2B7"}, "MAIL FROM:<a@example.com> SIZE=1000 RET=HDRS ENVID=id+2B7"),
    (NOTHING, {"ret": Ret.HDRS, "envid": "id"}, "MAIL FROM:<a@example.com>"),
    (BINARY, {"body": Body.BINARY}, "MAIL FROM:<a@example.com> SIZE=1000 BODY=BINARYMIME"),
    (ALL, {"handling": Handling(priority=-4)}, "MAIL FROM:<a@example.com> SIZE=1000"),
    (
        replace(ALL, mt_priority=True, requiretls=True),
        {"handling": Handling(priority=3, requiretls=True, hold_until=1.0)},
        "MAIL FROM:<a@example.com> SIZE=1000 REQUIRETLS MT-PRIORITY=3",
    ),
    (ALL, {"sender": None, "handling": Handling(requiretls=True)}, "MAIL FROM:<> SIZE=1000"),
]


@pytest.mark.parametrize(("offered", "fields", "command"), MAIL)
def test_mail_carries_what_the_peer_offered(
    offered: Capabilities, fields: dict[str, object], command: str
) -> None:
    exchange = Exchange(replace(envelope(), **fields), replace(offered, pipelining=False), 1000)  # type: ignore[arg-type]
    assert exchange.begin().decode() == command + "\r\n"


@pytest.mark.parametrize(
    ("notify", "orcpt", "dsn", "command"),
    [
        (None, None, True, "RCPT TO:<b@example.org>"),
        (Notify.NEVER, None, True, "RCPT TO:<b@example.org> NOTIFY=NEVER"),
        (Notify.SUCCESS | Notify.DELAY, None, True, "RCPT TO:<b@example.org> NOTIFY=SUCCESS,DELAY"),
        (
            Notify.FAILURE,
            "rfc822;B+40x@example.org",
            True,
            "RCPT TO:<b@example.org> NOTIFY=FAILURE ORCPT=rfc822;B+40x@example.org",
        ),
        (Notify.FAILURE, "rfc822;b@example.org", False, "RCPT TO:<b@example.org>"),
        (None, "utf-8;é@example.org", True, "RCPT TO:<b@example.org>"),
    ],
)
def test_rcpt_carries_dsn_parameters_where_dsn_is_offered(
    notify: Notify | None, orcpt: str | None, dsn: bool, command: str
) -> None:
    recipient = EnvelopeRecipient(Address("b", "example.org"), notify, orcpt)
    assert rcpt_command(recipient, dsn).decode() == command + "\r\n"


@pytest.mark.parametrize(
    ("local", "domain", "text"),
    [
        ("a", "example.com", "<a@example.com>"),
        ("a b", "example.com", '<"a b"@example.com>'),
        ('a"b\\c', "example.com", '<"a\\"b\\\\c"@example.com>'),
        ("a>", "example.com", '<"a>"@example.com>'),
        ("a", "[192.0.2.1]", "<a@[192.0.2.1]>"),
        ("a", "[IPv6:2001:db8::1]", "<a@[IPv6:2001:db8::1]>"),
        ("a", "x_y.example", "<a@x_y.example>"),
    ],
)
def test_a_path_is_quoted_where_it_must_be(local: str, domain: str, text: str) -> None:
    assert path(Address(local, domain)) == text


@pytest.mark.parametrize(
    "address",
    [
        Address("a\r\nRCPT TO:<x@example.com>", "example.com"),
        Address("a\x00", "example.com"),
        Address("a\x7f", "example.com"),
        Address("a\x85", "example.com"),
        Address("a\u2028", "example.com"),
        Address("a", "example.com> SIZE=1"),
        Address("a", "example.com\r\nDATA"),
        Address("a", "exam ple.com"),
        Address("a", "example.com\n"),
        Address("a", ""),
    ],
)
def test_an_address_that_would_break_its_command_is_never_sent(address: Address) -> None:
    for where in (
        Envelope(address, envelope().recipients),
        Envelope(None, (EnvelopeRecipient(address),)),
    ):
        with pytest.raises(Unsendable) as refused:
            Exchange(where, ALL, 10)
        assert refused.value.trouble.fault is Fault.INTERNAL
        assert refused.value.trouble.text.isprintable()


@pytest.mark.parametrize("value", ["a b", "a\r\nb", "a=b", "", "a\x00"])
def test_a_parameter_that_would_break_its_command_is_never_sent(value: str) -> None:
    with pytest.raises(Unsendable):
        mail_command(replace(envelope(), envid=value), ALL, 10, False)
    with pytest.raises(Unsendable):
        rcpt_command(EnvelopeRecipient(Address("b", "example.org"), orcpt=value), True)


@pytest.mark.parametrize(
    ("offered", "fields", "fault"),
    [
        (replace(ALL, size=999), {}, Fault.SIZE),
        (replace(ALL, smtputf8=False), {"smtputf8": True}, Fault.NO_SMTPUTF8),
        (replace(ALL, smtputf8=False), {"sender": Address("é", "example.com")}, Fault.NO_SMTPUTF8),
        (replace(ALL, eight_bit=False), {"body": Body.EIGHT_BIT}, Fault.NO_8BITMIME),
    ],
)
def test_what_the_peer_cannot_take_is_refused_before_anything_is_sent(
    offered: Capabilities, fields: dict[str, object], fault: Fault
) -> None:
    with pytest.raises(Unsendable) as refused:
        Exchange(replace(envelope(), **fields), offered, 1000)  # type: ignore[arg-type]
    assert (refused.value.trouble.stage, refused.value.trouble.fault) == (Stage.MAIL, fault)


def test_a_message_as_large_as_the_peer_allows_is_sent() -> None:
    assert Exchange(envelope(), replace(ALL, size=1000), 1000).begin()


def test_a_message_that_requires_tls_never_goes_where_that_is_not_promised() -> None:
    with pytest.raises(Unsendable) as refused:
        Exchange(replace(envelope(), handling=Handling(requiretls=True)), BINARY, 1000)
    assert refused.value.trouble.fault is Fault.NO_REQUIRETLS
