from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail.address import Address
from postroad.mail.esmtp import EsmtpError, MailArguments, parse_mail, parse_rcpt
from postroad.mail.message import Body, EnvelopeRecipient, Notify, Ret

A = Address("a", "x.example")
B = Address("b", "y.example")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("FROM:<a@x.example>", MailArguments(A)),
        ("from: <a@x.example>", MailArguments(A)),
        ("FROM:<>", MailArguments(None)),
        ("FROM:<@r.example:a@x.example>", MailArguments(A)),
        ('FROM:<"a> <b"@x.example>', MailArguments(Address("a> <b", "x.example"))),
        ("FROM:<a@x.example> SIZE=123 BODY=8bitmime", MailArguments(A, 123, Body.EIGHT_BIT)),
        ("FROM:<a@x.example> BODY=binarymime", MailArguments(A, body=Body.BINARY)),
        ("FROM:<a@x.example> body=7BIT", MailArguments(A, body=Body.SEVEN_BIT)),
        ("FROM:<a@x.example> RET=hdrs ENVID=Ab+2BcD", MailArguments(A, ret=Ret.HDRS, envid="Ab+2BcD")),
        ("FROM:<a@x.example> AUTH=<>", MailArguments(A)),
        ("FROM:<a@x.example> AUTH=b+40y.example", MailArguments(A)),
        ("FROM:<é@x.example> SMTPUTF8", MailArguments(Address("é", "x.example"), smtputf8=True)),
    ],
)
def test_mail_is_read(argument: str, expected: MailArguments) -> None:
    assert parse_mail(argument) == expected


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("TO:<b@y.example>", EnvelopeRecipient(B)),
        ("to: <b@y.example>", EnvelopeRecipient(B)),
        ("TO:<b@y.example> NOTIFY=NEVER", EnvelopeRecipient(B, Notify.NEVER)),
        (
            "TO:<b@y.example> notify=success,DELAY ORCPT=rfc822;B+2Bc@y.example",
            EnvelopeRecipient(B, Notify.SUCCESS | Notify.DELAY, "rfc822;B+2Bc@y.example"),
        ),
        (
            "TO:<b@y.example> ORCPT=utf-8;\\x{E9}@y.example",
            EnvelopeRecipient(B, None, "utf-8;\\x{E9}@y.example"),
        ),
    ],
)
def test_rcpt_is_read(argument: str, expected: EnvelopeRecipient) -> None:
    assert parse_rcpt(argument) == expected


@pytest.mark.parametrize(
    ("argument", "code", "enhanced"),
    [
        ("", 501, "5.5.4"),
        ("<a@x.example>", 501, "5.5.4"),
        ("FROM:", 501, "5.5.4"),
        ("FROM:a@x.example", 501, "5.5.4"),
        ("FROM:<a@x.example", 501, "5.5.4"),
        ("FROM:<a@x.example>SIZE=1", 501, "5.5.4"),
        ('FROM:<"a@x.example>', 501, "5.5.4"),
        ("FROM:<a>", 553, "5.1.7"),
        ("FROM:<a@>", 553, "5.1.7"),
        ("FROM:<é@x.example>", 553, "5.6.7"),
        ("FROM:<a@x.example> SIZE", 501, "5.5.4"),
        ("FROM:<a@x.example> SIZE=-1", 501, "5.5.4"),
        ("FROM:<a@x.example> SIZE=123456789012345678901", 501, "5.5.4"),
        ("FROM:<a@x.example> SIZE=1 SIZE=2", 501, "5.5.4"),
        ("FROM:<a@x.example> BODY=16BIT", 501, "5.5.4"),
        ("FROM:<a@x.example> BODY", 501, "5.5.4"),
        ("FROM:<a@x.example> SMTPUTF8=yes", 501, "5.5.4"),
        ("FROM:<a@x.example> RET=ALL", 501, "5.5.4"),
        ("FROM:<a@x.example> ENVID=", 501, "5.5.4"),
        ("FROM:<a@x.example> ENVID=a+0D+0AX:y", 501, "5.5.4"),
        ("FROM:<a@x.example> ENVID=" + "x" * 101, 501, "5.5.4"),
        ("FROM:<a@x.example> AUTH", 501, "5.5.4"),
        ("FROM:<a@x.example> AUTH=a=b", 501, "5.5.4"),
        ("FROM:<a@x.example> REQUIRETLS", 555, "5.5.4"),
        ("FROM:<a@x.example> NOTIFY=NEVER", 555, "5.5.4"),
        ("FROM:<a@x.example> ?=1", 501, "5.5.4"),
    ],
)
def test_mail_is_refused_with_the_right_reply(argument: str, code: int, enhanced: str) -> None:
    with pytest.raises(EsmtpError) as caught:
        parse_mail(argument)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (code, enhanced)


@pytest.mark.parametrize(
    ("argument", "code", "enhanced"),
    [
        ("TO:<>", 501, "5.1.3"),
        ("TO:<b>", 553, "5.1.3"),
        ("FROM:<b@y.example>", 501, "5.5.4"),
        ("TO:<é@y.example>", 553, "5.6.7"),
        ("TO:<b@y.example> NOTIFY", 501, "5.5.4"),
        ("TO:<b@y.example> NOTIFY=NEVER,SUCCESS", 501, "5.5.4"),
        ("TO:<b@y.example> NOTIFY=SOMETIMES", 501, "5.5.4"),
        ("TO:<b@y.example> ORCPT=b@y.example", 501, "5.5.4"),
        ("TO:<b@y.example> ORCPT=rfc822;", 501, "5.5.4"),
        ("TO:<b@y.example> ORCPT=rfc822;b+0A", 501, "5.5.4"),
        ("TO:<b@y.example> ORCPT=utf-8;\\x{0A}", 501, "5.5.4"),
        ("TO:<b@y.example> ORCPT=utf-8;é@y.example", 501, "5.5.4"),
        ("TO:<b@y.example> ORCPT=rfc822;" + "b" * 500, 501, "5.5.4"),
        ("TO:<b@y.example> SIZE=1", 555, "5.5.4"),
    ],
)
def test_rcpt_is_refused_with_the_right_reply(argument: str, code: int, enhanced: str) -> None:
    with pytest.raises(EsmtpError) as caught:
        parse_rcpt(argument)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (code, enhanced)


def test_utf8_recipients_come_with_an_smtputf8_transaction() -> None:
    recipient = parse_rcpt("TO:<é@y.example> ORCPT=utf-8;é@y.example", smtputf8=True)
    assert recipient == EnvelopeRecipient(Address("é", "y.example"), None, "utf-8;é@y.example")


@pytest.mark.parametrize("parameter", ["SIZE=1", "BODY=7BIT", "SMTPUTF8"])
def test_without_ehlo_there_are_no_parameters(parameter: str) -> None:
    with pytest.raises(EsmtpError, match="EHLO"):
        parse_mail(f"FROM:<a@x.example> {parameter}", extended=False)


TEXT = st.text(st.sampled_from('<>@:;,=+"\\ .ab0éxX{}[]-') | st.characters(min_codepoint=32), max_size=40)


@settings(max_examples=300, deadline=None)
@given(path=TEXT, parameters=TEXT, smtputf8=st.booleans())
def test_any_argument_is_read_or_refused_with_a_printable_reply(
    path: str, parameters: str, smtputf8: bool
) -> None:
    for argument in (path, f"FROM:<{path}> {parameters}", f"FROM:<a@x.example> {parameters}"):
        assert said_about(parse_mail, argument).isprintable()
    for argument in (f"TO:<{path}> {parameters}", f"TO:<a@x.example> {parameters}"):
        assert said_about(partial(parse_rcpt, smtputf8=smtputf8), argument).isascii()


def said_about(parse: Callable[[str], object], argument: str) -> str:
    try:
        parse(argument)
    except EsmtpError as error:
        return error.reply.text
    return ""
