"""Input that is nearly right gets an answer or the refusal that is documented, in print, and at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.adapters.accounts_schemes import read_stored
from postroad.adapters.local_request import BadRequest, parse_request, queue_filter
from postroad.mail.address_lists import list_fault
from postroad.mail.aliases import parse as parse_aliases
from postroad.mail.chunks import parse_bdat
from postroad.mail.data import has_long_line
from postroad.mail.dates import date_fault
from postroad.mail.dovecot_auth import DovecotError, Handshake, parse_answer
from postroad.mail.esmtp import MAIL_PARAMETERS, EsmtpError, parse_mail, parse_rcpt
from postroad.mail.folding import CannotFold, fold
from postroad.mail.headers import fields, split
from postroad.mail.hints import wait_asked
from postroad.mail.jwt import TokenError, parse_jwt
from postroad.mail.lint import LintFacts, lint
from postroad.mail.mending import edited, mend
from postroad.mail.message import Content
from postroad.mail.mime import TooComplex, regions
from postroad.mail.queue_id import QueueIdError, parse_id
from postroad.mail.reply import Reply, ReplyParser
from postroad.mail.sasl import (
    SaslError,
    decode_line,
    parse_gs2,
    parse_oauthbearer,
    parse_plain,
    parse_xoauth2,
)
from postroad.mail.saslprep import saslprep
from postroad.mail.scram import parse_final, parse_first, parse_verifier
from tests.support.mutations import mutated, mutated_octets

EXAMPLES = settings(max_examples=150, deadline=None)
ALL_PARAMETERS = MAIL_PARAMETERS | {"REQUIRETLS", "HOLDFOR", "HOLDUNTIL", "MT-PRIORITY"}


class Grammar(NamedTuple):
    """A parser, what it takes, and what it may raise; `parse` must not raise anything else."""

    name: str
    parse: Callable[[str], object]
    refusals: tuple[type[Exception], ...]
    seeds: tuple[str, ...]


def refused(parse: Callable[[], object], *refusals: type[Exception]) -> str:
    """What a refusal says, "" where there was none; whatever else is raised fails the test."""
    try:
        parse()
    except refusals as refusal:
        return str(refusal)
    return ""


def handshake(text: str) -> None:
    shake = Handshake()
    for line in text.split("\n"):
        if shake.take(line):
            return


TEXTS = [
    Grammar(
        "MAIL",
        lambda text: parse_mail(text, known=ALL_PARAMETERS),
        (EsmtpError,),
        (
            "FROM:<anna@sender.example>",
            "FROM:<> SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=QQ314159",
            'FROM:<"a\\"b"@[IPv6:::1]> SMTPUTF8 AUTH=<>',
            "from:<@relay.example,@b.example:a@c.example> BODY=BINARYMIME",
            "FROM:<a@b.example> REQUIRETLS MT-PRIORITY=-3 HOLDFOR=3600",
            "FROM:<a@b.example> HOLDUNTIL=2026-11-30T08:00:00Z AUTH=anna+40sender.example",
        ),
    ),
    Grammar(
        "RCPT",
        lambda text: parse_rcpt(text, smtputf8=True),
        (EsmtpError,),
        (
            "TO:<bert@harbour.example>",
            "TO:<Postmaster> NOTIFY=NEVER",
            "TO:<bärt@häfen.example> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;b\\x{E4}rt@h.example",
            "TO:<b@[192.0.2.1]> ORCPT=rfc822;Bob+40Example.COM",
        ),
    ),
    Grammar("BDAT", parse_bdat, (EsmtpError,), ("0 LAST", "86", "1000000 last")),
    Grammar(
        "JWT",
        parse_jwt,
        (TokenError,),
        ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.AAAA", "eyJhbGciOiJub25lIn0.e30.", "e30.W10.AA"),
    ),
    Grammar(
        "password hash",
        read_stored,
        (ValueError,),
        (
            "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            "{SHA512-CRYPT}$6$rounds=5000$salt$" + "a" * 86,
            "{PBKDF2}$1$salt$5000$" + "ab" * 20,
            "{BLF-CRYPT}$2y$05$" + "a" * 53,
            "{SCRAM-SHA-256}4096,c2FsdA==," + "Q" * 43 + "=," + "Q" * 43 + "=",
        ),
    ),
    Grammar(
        "SCRAM verifier",
        parse_verifier,
        (ValueError,),
        ("4096,c2FsdA==," + "Q" * 43 + "=," + "Q" * 43 + "=",),
    ),
    Grammar("SASLprep", saslprep, (ValueError,), ("pass\u00adword", "IX \u2168", "\u06271", "\u0627\u0644")),
    Grammar(
        "Dovecot's words",
        handshake,
        (DovecotError,),
        ("VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tSCRAM-SHA-256\nSPID\t1\nCOOKIE\tab\nDONE",),
    ),
    Grammar(
        "Dovecot's answer",
        lambda text: parse_answer(text, 7),
        (DovecotError,),
        ("OK\t7\tuser=anna", "FAIL\t7\tuser=anna\ttemp", "CONT\t7\tcj1hYmM=", "FAIL\t7\tcode=temp_fail"),
    ),
    Grammar(
        "aliases",
        parse_aliases,
        (),
        (
            'root: anna, "|/bin/x y"\n# none\nlist: :include:/etc/list\n  , bert@example.org\n',
            "postmaster:root\nx : /dev/null\n\\anna: \\anna, y\n",
        ),
    ),
    Grammar(
        "what a receiver says of time",
        wait_asked,
        (),
        ("Greylisted, try again in 300 seconds", "4.7.1 come back in 00:05:00", "retry after 5 minutes"),
    ),
    Grammar(
        "dates",
        date_fault,
        (),
        ("Mon, 23 Nov 2026 12:00:00 +0000 (UTC)", "31 Feb 99 25:61:61 EST", "1 Jan 2026 0:0 Z"),
    ),
    Grammar(
        "lists of addresses",
        list_fault,
        (),
        (
            '"Anna, B." <anna@a.example>, g: b@b.example, c@c.example;',
            "(x (y)) a@b, <@r:a@b>",
            "=?utf-8?q?=C3?= <a@b>",
        ),
    ),
    Grammar("queue ids", parse_id, (QueueIdError,), ("35DCJWTKB6BR", "0" * 12)),
]

OCTETS = [
    ("base64", decode_line, (b"AGFubmEAc2VjcmV0", b"=", b"QQ==")),
    ("PLAIN", parse_plain, (b"\0anna\0secret", b"anna\0anna\0secret")),
    ("GS2", parse_gs2, (b"n,,", b"p=tls-unique,a=anna,", b"y,a=a=2Cb,rest")),
    ("OAUTHBEARER", parse_oauthbearer, (b"n,a=anna,\x01host=x\x01auth=Bearer abc.def\x01\x01",)),
    ("XOAUTH2", parse_xoauth2, (b"user=anna\x01auth=Bearer abc.def\x01\x01",)),
    ("SCRAM, first", parse_first, (b"n,,n=anna,r=fyko+d2lbbFgONRv9qkxdawL", b"p=tls-unique,,n=a=3Db,r=abc")),
    (
        "SCRAM, last",
        parse_final,
        (b"c=biws,r=fyko+d2lbbFgONRv9,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",),
    ),
]

MESSAGES = (
    b"From: a@b.example\r\nSubject: " + b"word " * 250 + b"\r\n\r\n" + b"x" * 1200 + b"\r\n",
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa4\r\n--b\r\n\r\n" + b"y" * 1100 + b"\r\n--b--\r\n",
    b"Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/signed; boundary=s\r\n\r\n"
    b"--s\r\n\r\nx\r\n--s--\r\n",
    b"From: "
    + b", ".join(b"u%d@b.example" % n for n in range(90))
    + b"\r\nDKIM-Signature: v=1; h=from; b=\r\n\r\n",
    b"Content-Transfer-Encoding: base64\r\n\r\n" + b"QUJD" * 300 + b"\r\n",
)


@pytest.mark.parametrize("grammar", TEXTS, ids=lambda grammar: grammar.name)
def test_text_is_parsed_or_refused_as_documented(grammar: Grammar) -> None:
    @given(mutated(grammar.seeds))
    @EXAMPLES
    def holds(text: str) -> None:
        assert refused(lambda: grammar.parse(text), *grammar.refusals).isprintable()

    holds()


@pytest.mark.parametrize(("parse", "seeds"), [each[1:] for each in OCTETS], ids=[each[0] for each in OCTETS])
def test_a_login_is_read_or_refused_as_documented(
    parse: Callable[[bytes], object], seeds: tuple[bytes, ...]
) -> None:
    @given(mutated_octets(seeds))
    @EXAMPLES
    def holds(octets: bytes) -> None:
        assert refused(lambda: parse(octets), SaslError).isprintable()

    holds()


@given(
    mutated_octets(
        [b'{"verb": "list", "filter": {"to": "a@b", "state": "held", "older_than": 5}}', b'{"verb": 1}']
    )
)
@EXAMPLES
def test_a_request_at_the_local_door_is_read_or_refused(line: bytes) -> None:
    assert refused(lambda: queue_filter(parse_request(line)), BadRequest).isprintable()


@given(
    mutated_octets([b"250-mx.example\r\n250-SIZE 1000\r\n250 PIPELINING\r\n", b"421 4.3.0 bye\r\n354 Go\r\n"])
)
@EXAMPLES
def test_replies_that_are_nearly_right_are_printable_or_a_violation(octets: bytes) -> None:
    parser = ReplyParser()
    for reply in parser.feed(octets):
        assert 200 <= reply.code < 600
        assert all(line.isprintable() for line in reply.lines)
    assert parser.violation is None or parser.violation.text.isprintable()


def _folds(head: bytes) -> None:
    folded = fold(head)
    assert not has_long_line(folded)
    assert [field.name for field in fields(folded)] == [field.name for field in fields(head)]


@given(mutated_octets(MESSAGES), st.booleans(), st.booleans())
@EXAMPLES
def test_any_message_is_judged_folded_and_mended_or_refused(octets: bytes, eight: bool, utf8: bool) -> None:
    octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")
    head, body = split(octets)
    for finding in lint(Content(head, body, True, eight), LintFacts(smtputf8=utf8)):
        assert str(finding).isprintable()
    assert refused(lambda: _folds(head), CannotFold).isprintable()
    try:
        found = regions(head, body)
    except TooComplex:
        found = []
    assert all(0 <= region.start <= region.end <= len(body) for region in found)
    mended = mend(head, body, long_lines=True, downgrade=eight)
    if isinstance(mended, Reply):
        assert mended.code >= 500
        assert mended.text.isprintable()
    else:
        made = mended.head + b"".join(edited(body, mended.edits))
        assert not has_long_line(made)
        assert eight or mended.eight_bit or made.isascii() or not octets.isascii()
