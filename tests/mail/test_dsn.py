from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail import xtext
from postroad.mail.address import Address
from postroad.mail.dsn import compose
from postroad.mail.headers import split
from postroad.mail.lifecycle import State
from postroad.mail.message import Body, Handling, Message, Recipient, Ret
from postroad.mail.notice import Notice, Report
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.mail.reply import Reply
from tests.support import build
from tests.support.dsn_reading import Read, read

HEAD = b"Received: from x\r\nFrom: a@example.com\r\nSubject: hello\r\nMessage-ID: <1@example.com>\r\n\r\n"
BODY = b"Good morning.\r\n"
UNKNOWN = Outcome(
    Kind.FAILED,
    Scope.RECIPIENT,
    Reason.INVALID,
    "5.1.1",
    "the receiving server does not know this address",
    Stage.RCPT,
    Reply(550, ("no such user", "see https://example.org/help"), "5.1.1"),
    "mx.example.org[192.0.2.1]:25",
)
REFUSED = Outcome(
    Kind.DEFERRED,
    Scope.HOST,
    Reason.NETWORK,
    "4.4.1",
    "connection refused",
    Stage.CONNECT,
    None,
    "mx.example.org[192.0.2.1]:25",
)
PASSED = replace(
    UNKNOWN,
    kind=Kind.DELIVERED,
    reason=Reason.OK,
    status="2.0.0",
    text="accepted",
    reply=Reply(250, ("Ok",), "2.0.0"),
)


def message(**fields: Any) -> Message:
    return replace(build.message(), sender=Address("ann", "example.com"), size=len(HEAD + BODY), **fields)


def recipient(n: int = 0, outcome: Outcome | None = UNKNOWN, **fields: Any) -> Recipient:
    address = fields.pop("address", Address(f"bob{n}", "example.org"))
    return Recipient(
        build.queue_id(1),
        n,
        address,
        build.hop(),
        State.FAILED,
        build.NOW,
        1,
        last=outcome,
        last_attempt_at=build.NOW,
        **fields,
    )


def notice(*recipients: Recipient, **fields: Any) -> Notice:
    usual: dict[str, Any] = {
        "report": Report.FAILED,
        "message": message(),
        "recipients": recipients or (recipient(),),
        "head": HEAD,
        "body": BODY,
        "hostname": "mail.example.com",
        "id": "DSN000000001",
        "date": "Mon, 23 Nov 2026 01:15:12 +0000",
        "boundary": "k3Jx92mQpLs7vTz0Ab4C",
    }
    return Notice(**{**usual, **fields})


def composed(*recipients: Recipient, **fields: Any) -> Read:
    return read(compose(notice(*recipients, **fields)))


def test_a_notification_has_three_parts_a_mail_program_can_read() -> None:
    found = composed()
    assert found.types == ["text/plain", "message/delivery-status", "message/rfc822"]
    assert found.top.get_content_type() == "multipart/report"
    assert found.top.get_param("report-type") == "delivery-status"
    assert found.defects == []


def test_it_says_from_whom_it_is_and_that_a_machine_wrote_it() -> None:
    top = composed().top
    assert top["From"] == "Mail Delivery System <MAILER-DAEMON@mail.example.com>"
    assert top["To"] == "<ann@example.com>"
    assert top["Auto-Submitted"] == "auto-replied"
    assert top["Message-ID"] == "<DSN000000001@mail.example.com>"
    assert top["In-Reply-To"] == top["References"] == "<1@example.com>"
    assert top["Subject"] == "Undelivered mail: bob0@example.org"


def test_each_recipient_has_a_group_of_its_own() -> None:
    found = composed(recipient(0), recipient(1, REFUSED), recipient(2))
    assert len(found.groups) == 3
    assert [group["Final-Recipient"] for group in found.groups] == [
        f"rfc822; bob{n}@example.org" for n in range(3)
    ]
    assert found.top["Subject"] == "Undelivered mail: 3 recipients"
    assert all(f"<bob{n}@example.org>" in found.text for n in range(3))


def test_a_message_that_was_held_says_what_its_sender_asked() -> None:
    held = message(handling=Handling(hold_until=1_795_000_000.0))
    asked = composed(recipient(), message=held).about_message["Future-Release-Request"]
    assert asked == "until;2026-11-18T11:06:40Z"
    held = message(handling=Handling(hold_until=1_795_000_000.0, hold_for=3600.0))
    asked = composed(recipient(), message=held).about_message["Future-Release-Request"]
    assert asked == "for;3600"


def test_the_groups_say_what_happened_where_and_when() -> None:
    found = composed(recipient(orcpt="rfc822;robert@example.net"), message=message(envid="QQ314159"))
    assert dict(found.about_message.items()) == {
        "Original-Envelope-Id": "QQ314159",
        "Reporting-MTA": "dns; mail.example.com",
        "Arrival-Date": "Wed, 18 Nov 2026 11:06:40 +0000",
    }
    assert dict(found.groups[0].items()) == {
        "Original-Recipient": "rfc822; robert@example.net",
        "Final-Recipient": "rfc822; bob0@example.org",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.org",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user see https://example.org/help",
        "Last-Attempt-Date": "Wed, 18 Nov 2026 11:06:40 +0000",
        "Final-Log-Id": build.queue_id(1),
    }


def test_what_only_we_say_is_no_diagnostic_code() -> None:
    group = composed(recipient(outcome=REFUSED)).groups[0]
    assert "Diagnostic-Code" not in group
    assert group["Remote-MTA"] == "dns; mx.example.org"


def test_a_recipient_that_was_never_tried_has_a_group_too() -> None:
    group = composed(replace(recipient(outcome=None), last_attempt_at=None)).groups[0]
    assert dict(group.items()) == {
        "Final-Recipient": "rfc822; bob0@example.org",
        "Action": "failed",
        "Status": "5.0.0",
        "Final-Log-Id": build.queue_id(1),
    }


@pytest.mark.parametrize(
    ("report", "status", "told"),
    [
        (Report.FAILED, "5.1.1", "5.1.1"),
        (Report.FAILED, "4.4.7", "4.4.7"),
        (Report.FAILED, "2.0.0", "5.0.0"),
        (Report.FAILED, "", "5.0.0"),
        (Report.FAILED, "5.1.1\r\nX: y", "5.0.0"),
        (Report.DELAYED, "4.2.1", "4.2.1"),
        (Report.DELAYED, "5.7.1", "4.0.0"),
        (Report.RELAYED, "2.1.5", "2.1.5"),
        (Report.RELAYED, "4.0.0", "2.0.0"),
    ],
)
def test_the_class_of_the_status_fits_the_action(report: Report, status: str, told: str) -> None:
    group = composed(recipient(outcome=replace(UNKNOWN, status=status)), report=report).groups[0]
    assert (group["Action"], group["Status"]) == (report.value, told)


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("mx.example.org[192.0.2.1]:25", "dns; mx.example.org"),
        ("mx.example.org:25", "dns; mx.example.org"),
        ("[192.0.2.1]:25", "dns; [192.0.2.1]"),
        ("mx\r\nX: y[192.0.2.1]:25", "dns; mx\\x{0D}\\x{0A}X"),
        (None, None),
    ],
)
def test_the_remote_mta_is_a_name(host: str | None, told: str | None) -> None:
    assert composed(recipient(outcome=replace(UNKNOWN, host=host))).groups[0]["Remote-MTA"] == told


def test_a_delay_says_until_when_it_will_be_tried_and_returns_the_header_alone() -> None:
    found = composed(recipient(outcome=REFUSED), report=Report.DELAYED, until=build.NOW + 86400)
    assert found.groups[0]["Will-Retry-Until"] == "Thu, 19 Nov 2026 11:06:40 +0000"
    assert found.types[2] == "text/rfc822-headers"
    assert found.top["Subject"].startswith("Delayed mail, still being tried")
    assert "need not send it again" in found.text
    assert "until Thu, 19 Nov 2026 11:06:40 +0000" in " ".join(found.text.split())


def test_a_relay_report_quotes_no_failure() -> None:
    found = composed(recipient(outcome=PASSED), report=Report.RELAYED)
    assert found.groups[0]["Action"] == "relayed"
    assert found.types[2] == "text/rfc822-headers"
    assert "handed on" in found.text
    assert "In the words of" not in found.text


def test_a_name_that_stood_for_several_is_reported_as_expanded() -> None:
    outcome = replace(PASSED, reason=Reason.EXPANDED, status="2.1.5", text="sent on by its alias", reply=None)
    found = composed(recipient(outcome=replace(outcome, host=None)), report=Report.EXPANDED)
    assert (found.groups[0]["Action"], found.groups[0]["Status"]) == ("expanded", "2.1.5")
    assert "Remote-MTA" not in found.groups[0]
    assert found.types[2] == "text/rfc822-headers"
    assert "sent on by its alias" in found.text


def test_the_text_tells_who_why_and_what_to_do() -> None:
    text = composed().text
    assert 'with the subject "hello"' in " ".join(text.split())
    assert "<bob0@example.org>" in text
    assert "    > 550 5.1.1 no such user\n    > 550 5.1.1 see https://example.org/help\n" in text
    assert "Check the address" in text
    assert max(map(len, text.splitlines())) <= 78


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_comes_with_advice(reason: Reason) -> None:
    text = composed(recipient(outcome=replace(UNKNOWN, reason=reason))).text
    assert re.search(r"see https://example\.org/help\n    [A-Z].*\.\n", text, re.DOTALL)


@pytest.mark.parametrize(
    "subject",
    [b"=?utf-8?q?x?=", b"\xfc", b"", b"a\x1b[2Jb", b"x" * 201],
    ids=["encoded", "8-bit", "empty", "escape", "long"],
)
def test_a_subject_that_cannot_be_shown_plainly_is_left_out_of_the_text(subject: bytes) -> None:
    text = composed(head=HEAD.replace(b"hello", subject)).text
    assert "with the subject" not in text
    assert text.isascii()


def test_a_small_failed_message_comes_back_whole_and_unchanged() -> None:
    head = HEAD[:-2] + b"X-Odd :  \t x\r\n folded \r\n\r\n"
    whole = compose(notice(head=head, body=b"a\tb  \r\n\r\n\r\n"))
    assert isinstance(whole.body, bytes)
    assert b"message/rfc822\r\n\r\n" + head + b"a\tb  \r\n\r\n\r\n\r\n--" in whole.body


@pytest.mark.parametrize(
    "fields",
    [
        {"message": message(ret=Ret.HDRS)},
        {"message": replace(message(), size=50_001)},
        {"full_limit": 100},
        {"body": None},
    ],
    ids=["asked for", "large", "own limit", "not at hand"],
)
def test_otherwise_the_header_alone_comes_back(fields: dict[str, Any]) -> None:
    found = composed(**fields)
    assert found.types[2] == "text/rfc822-headers"
    assert b"Good morning" not in found.octets


def test_an_outsized_header_comes_back_in_part_in_whole_fields() -> None:
    head = HEAD[:-2] + b"X: " + b"y" * 60_000 + b"\r\n\r\n"
    found = composed(head=head, body=None)
    assert HEAD[:-2] in found.octets
    assert b"yyy" not in found.octets


def test_eight_bit_originals_make_an_eight_bit_notification() -> None:
    content = compose(notice(body=b"Gr\xc3\xbc\xc3\x9fe\r\n"))
    assert content.eight_bit
    assert read(content).top["Content-Transfer-Encoding"] == "8bit"
    assert not compose(notice()).eight_bit


@pytest.mark.parametrize(("body", "dotted"), [(b".a\r\n", True), (b"a\r\n.\r\n", True), (b"a.\r\n", False)])
def test_lines_that_start_with_a_dot_are_announced(body: bytes, dotted: bool) -> None:
    assert compose(notice(body=body)).dotted is dotted


def test_a_boundary_that_occurs_in_the_message_is_made_longer() -> None:
    found = composed(body=b"--k3Jx92mQpLs7vTz0Ab4C--\r\n--k3Jx92mQpLs7vTz0Ab4C0\r\n")
    assert found.top.get_boundary() == "k3Jx92mQpLs7vTz0Ab4C00"
    assert len(found.types) == 3


def test_nobody_is_told_about_a_message_from_nobody() -> None:
    with pytest.raises(ValueError, match="null sender"):
        compose(notice(message=replace(message(), sender=None)))


@pytest.mark.parametrize("octet", range(256))
def test_every_octet_of_an_envelope_id_can_be_read_back(octet: int) -> None:
    envid = bytes([97, octet, 98])
    shown = composed(message=message(envid=xtext.encode(envid))).about_message["Original-Envelope-Id"]
    assert shown.isprintable()
    assert unescaped(shown) == envid


@pytest.mark.parametrize("octet", range(128))
def test_every_character_of_an_original_recipient_can_be_read_back(octet: int) -> None:
    address = bytes([97, octet, 98])
    shown = composed(recipient(orcpt="rfc822;" + xtext.encode(address))).groups[0]["Original-Recipient"]
    assert shown.isprintable()
    assert unescaped(shown.removeprefix("rfc822; ")) == address


@pytest.mark.parametrize(("envid", "orcpt"), [("a b+zz", "no semicolon"), ("a\r\nX: y", "rfc822;a\r\nX: y")])
def test_broken_parameters_are_shown_escaped(envid: str, orcpt: str) -> None:
    found = composed(recipient(orcpt=orcpt), message=message(envid=envid))
    assert found.about_message["Original-Envelope-Id"].isprintable()
    assert found.groups[0]["Original-Recipient"].startswith("unknown; ")
    assert "X" not in found.about_message
    assert "X" not in found.groups[0]


JOERG = Address("j\u00f6rg", "example.org")


def test_internationalised_mail_is_reported_in_its_own_types() -> None:
    found = composed(
        recipient(address=JOERG, orcpt="utf-8;j\\x{F6}rg@example.net"),
        message=message(smtputf8=True),
        head=HEAD.replace(b"hello", "gr\u00fc\u00dfe".encode()),
    )
    assert found.types == ["text/plain", "message/global-delivery-status", "message/global"]
    assert found.top.get_param("report-type") == "global-delivery-status"
    assert "Final-Recipient: utf-8; j\u00f6rg@example.org\r\n".encode() in found.octets
    assert "Original-Recipient: utf-8; j\u00f6rg@example.net\r\n".encode() in found.octets
    assert "  <j\u00f6rg@example.org>" in found.text
    assert found.top["Subject"] == "Undelivered mail: 1 recipient"


def test_an_address_that_is_not_ascii_in_other_mail_is_written_in_ascii() -> None:
    found = composed(recipient(address=JOERG))
    assert found.types[1] == "message/delivery-status"
    assert found.groups[0]["Final-Recipient"] == "utf-8; j\\x{F6}rg@example.org"


def test_a_broken_original_recipient_makes_no_report_internationalised() -> None:
    found = composed(recipient(orcpt="j\u00f6rg"), message=message(smtputf8=True))
    assert found.groups[0]["Original-Recipient"] == "unknown; j\\x{F6}rg"


def test_internationalised_headers_alone_have_their_own_type_too() -> None:
    head = HEAD.replace(b"hello", "gr\u00fc\u00dfe".encode())
    assert composed(message=message(smtputf8=True), head=head, body=None).types[1:] == [
        "message/delivery-status",
        "message/global-headers",
    ]


def test_a_report_that_need_not_be_internationalised_is_not() -> None:
    found = composed(recipient(orcpt="utf-8;j\\x{F6}rg@example.net"))
    assert found.groups[0]["Original-Recipient"] == "utf-8; j\\x{F6}rg@example.net"
    assert found.octets.isascii()


HOSTILE = st.text(st.sampled_from("ab:\r\n\t\x00\x1b\x7f\x85\u2028\u00fc\\x{}-. "), max_size=30)


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.sampled_from(Report))
@settings(max_examples=150, deadline=None)
def test_what_strangers_wrote_never_leaves_its_place(
    said: str, host: str, envid: str, orcpt: str, report: Report
) -> None:
    outcome = replace(UNKNOWN, text=said, reply=Reply(550, (said, said), None), host=host)
    content = compose(
        notice(
            recipient(outcome=outcome, orcpt=orcpt), report=report, message=message(envid=envid), body=None
        )
    )
    assert isinstance(content.body, bytes)
    whole = content.head + content.body
    assert whole.isascii()
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n", whole)
    found = read(content)
    assert found.types == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
    assert len(found.groups) == 1
    assert set(found.groups[0].keys()) <= GROUP_FIELDS
    assert max(map(len, whole.split(b"\r\n"))) <= 998


GROUP_FIELDS = {
    "Original-Recipient",
    "Final-Recipient",
    "Action",
    "Status",
    "Remote-MTA",
    "Diagnostic-Code",
    "Last-Attempt-Date",
    "Final-Log-Id",
}


def test_a_long_reply_stays_within_the_length_of_lines() -> None:
    outcome = replace(UNKNOWN, reply=Reply(550, ("word " * 800, "x" * 4000)))
    content = compose(notice(recipient(outcome=outcome)))
    assert isinstance(content.body, bytes)
    assert max(map(len, content.body.split(b"\r\n"))) <= 998
    assert len(content.body) < 20_000


def test_a_thousand_long_replies_stay_a_letter() -> None:
    outcome = replace(UNKNOWN, text="t" * 4000, reply=Reply(550, ("x" * 4000,) * 100))
    content = compose(notice(*(recipient(n, outcome) for n in range(1000))))
    assert content.size < 2_000_000
    assert len(read(content).groups) == 1000


def test_the_head_is_one_a_receiver_splits_where_we_did() -> None:
    content = compose(notice())
    assert isinstance(content.body, bytes)
    assert split(content.head + content.body) == (content.head, content.body)


def unescaped(shown: str) -> bytes:
    if "\\x{" not in shown:
        return shown.encode("ascii")
    return re.sub(r"\\x\{([0-9A-F]{2})\}", lambda match: chr(int(match[1], 16)), shown).encode("latin-1")


@pytest.mark.parametrize("fields", [{"body": Body.BINARY}, {"handling": Handling(requiretls=True)}])
def test_binary_and_private_messages_come_back_as_their_header_alone(fields: dict[str, Any]) -> None:
    content = compose(notice(message=message(**fields)))
    assert isinstance(content.body, bytes)
    assert b"text/rfc822-headers" in content.body
    assert BODY not in content.body
