"""Delivery status notifications (RFC 3461, RFC 3464, RFC 6522; RFC 6533 for internationalised mail).

One notification tells one sender of one kind of event about one message, with a
group of fields for every recipient it concerns. What others wrote (reply texts,
envelope ids, original recipients) is escaped wherever it enters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from postroad.mail.address import Address
from postroad.mail.dsn_text import escape, explanation, subject
from postroad.mail.headers import CRLF, fields, message_id, rfc5322_date
from postroad.mail.message import Content, Recipient
from postroad.mail.notice import Notice, Report, returns_full
from postroad.mail.outcome import Outcome
from postroad.mail.timestamps import rfc3339
from postroad.mail.xtext import XtextError, decode, split_orcpt

_HOST = re.compile(r"\[[^\]]*\]|[^\[\]:]+")
_STATUS = re.compile(r"[245](?:\.[0-9]{1,3}){2}")


def compose(notice: Notice) -> Content:
    """The notification, to be sent from the null sender to `message.sender`.

    It needs SMTPUTF8 exactly when that address does; `eight_bit` says whether it
    needs 8BITMIME. ValueError where the message has no sender.
    """
    if notice.message.sender is None:
        raise ValueError("a message from the null sender gets no notification")
    parts = [_text_part(notice), _status_part(notice), _original_part(notice)]
    boundary = notice.boundary.encode("ascii")
    while any(boundary in part for part in parts):
        boundary += b"0"
    mark = b"--" + boundary
    body = b"".join(mark + CRLF + part + CRLF for part in parts) + mark + b"--\r\n"
    head = _head(notice, notice.message.sender, boundary, body.isascii())
    return Content(
        head=head,
        body=body,
        dotted=b"\n." in body,
        eight_bit=not (head.isascii() and body.isascii()),
    )


def _head(notice: Notice, to: Address, boundary: bytes, seven_bit: bool) -> bytes:
    lines = [
        f"Date: {notice.date}",
        f"From: Mail Delivery System <MAILER-DAEMON@{notice.hostname}>",
        f"To: <{to}>",
        f"Subject: {subject(notice)}",
        f"Message-ID: <{notice.id}@{notice.hostname}>",
        *_thread(notice.head),
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f"Content-Type: multipart/report; report-type={_status_type(notice).partition('/')[2]};",
        f'\tboundary="{boundary.decode("ascii")}"',
        *(() if seven_bit else ("Content-Transfer-Encoding: 8bit",)),
    ]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def _thread(head: bytes) -> list[str]:
    original = message_id(head)
    return [f"In-Reply-To: {original}", f"References: {original}"] if original else []


def _text_part(notice: Notice) -> bytes:
    content = explanation(notice).replace("\n", "\r\n").encode()
    charset = "us-ascii" if content.isascii() else "utf-8"
    return _part(f"text/plain; charset={charset}", content, "Notification")


def _status_part(notice: Notice) -> bytes:
    groups = [list(_message_fields(notice))]
    groups += [list(_recipient_fields(notice, recipient)) for recipient in notice.recipients]
    text = "\r\n".join("".join(f"{line}\r\n" for line in group) for group in groups)
    return _part(_status_type(notice), text.encode(), "Delivery report")


def _message_fields(notice: Notice) -> Iterator[str]:
    message = notice.message
    if message.envid is not None:
        yield f"Original-Envelope-Id: {_decoded_envid(message.envid)}"
    yield f"Reporting-MTA: dns; {notice.hostname}"
    yield f"Arrival-Date: {rfc5322_date(message.received_at)}"
    asked = message.handling
    if asked is not None and asked.hold_until is not None:
        # As its sender said it (RFC 4865 5.1.2): it may be why this comes so late.
        until = f"until;{rfc3339(asked.hold_until)}"
        yield f"Future-Release-Request: {until if asked.hold_for is None else f'for;{asked.hold_for:.0f}'}"


def _recipient_fields(notice: Notice, recipient: Recipient) -> Iterator[str]:
    outcome = recipient.last
    if recipient.orcpt is not None:
        yield f"Original-Recipient: {_original_recipient(recipient.orcpt, _is_global(notice))}"
    yield f"Final-Recipient: {_final_recipient(recipient.address, _is_global(notice))}"
    yield f"Action: {notice.report}"
    yield f"Status: {_status(notice.report, outcome)}"
    if outcome is not None and (host := _host(outcome)):
        yield f"Remote-MTA: dns; {host}"
    if outcome is not None and outcome.reply is not None:
        yield f"Diagnostic-Code: smtp; {_folded(escape(str(outcome.reply)[: notice.quote_limit].strip()))}"
    if recipient.last_attempt_at is not None:
        yield f"Last-Attempt-Date: {rfc5322_date(recipient.last_attempt_at)}"
    yield f"Final-Log-Id: {notice.message.id}"
    if notice.report is Report.DELAYED and notice.until is not None:
        yield f"Will-Retry-Until: {rfc5322_date(notice.until)}"


def _original_part(notice: Notice) -> bytes:
    message = notice.message
    is_global = message.smtputf8 and not notice.head.isascii()
    if notice.body is not None and returns_full(message, notice.report, notice.full_limit):
        kind = "message/global" if is_global else "message/rfc822"
        return _part(kind, notice.head + notice.body, "Undelivered message")
    kind = "message/global-headers" if is_global else "text/rfc822-headers"
    return _part(kind, _bounded_head(notice.head, notice.full_limit), "Message headers")


def _part(content_type: str, content: bytes, description: str) -> bytes:
    encoding = "" if content.isascii() else "Content-Transfer-Encoding: 8bit\r\n"
    head = f"Content-Description: {description}\r\nContent-Type: {content_type}\r\n{encoding}\r\n"
    return head.encode("ascii") + content


def _bounded_head(head: bytes, limit: int) -> bytes:
    """The fields without the empty line; of an outsized header as many whole fields as fit."""
    kept = []
    for field in fields(head):
        limit -= len(field.raw)
        if limit < 0:
            break
        kept.append(field.raw)
    return b"".join(kept)


def _is_global(notice: Notice) -> bool:
    """Whether the report holds addresses that need RFC 6533's media types."""
    return notice.message.smtputf8 and any(
        not recipient.address.is_ascii or not _is_ascii_orcpt(recipient.orcpt)
        for recipient in notice.recipients
    )


def _status_type(notice: Notice) -> str:
    return "message/global-delivery-status" if _is_global(notice) else "message/delivery-status"


def _status(report: Report, outcome: Outcome | None) -> str:
    """The outcome's status where its class fits the action (RFC 3464 2.3.4), else that class unspecified."""
    fitting = {Report.FAILED: "54", Report.DELAYED: "4"}.get(report, "2")
    status = outcome.status if outcome is not None else ""
    if _STATUS.fullmatch(status) and status[0] in fitting:
        return status
    return f"{fitting[0]}.0.0"


def _host(outcome: Outcome) -> str:
    """The remote MTA's name, without the address and port of `Outcome.host`."""
    found = _HOST.match(outcome.host or "")
    return escape(found[0]) if found is not None else ""


def _folded(text: str) -> str:
    """At most 500 characters a line: a long reply stays within RFC 5322's limit."""
    return "\r\n ".join(text[start : start + 500].strip() for start in range(0, len(text), 500))


def _decoded_envid(envid: str) -> str:
    try:
        return escape(decode(envid).decode("latin-1"))
    except XtextError:
        return escape(envid)


def _final_recipient(address: Address, is_global: bool) -> str:
    if address.is_ascii:
        return f"rfc822; {address}"
    return f"utf-8; {address}" if is_global else f"utf-8; {escape(str(address))}"


def _original_recipient(orcpt: str, is_global: bool) -> str:
    try:
        kind, address = split_orcpt(orcpt, smtputf8=True)
    except XtextError:
        return f"unknown; {escape(orcpt)}"
    if kind == "utf-8" and is_global and address.isprintable():
        return f"utf-8; {address}"
    return f"{kind}; {escape(address)}"


def _is_ascii_orcpt(orcpt: str | None) -> bool:
    try:
        return orcpt is None or split_orcpt(orcpt, smtputf8=True)[1].isascii()
    except XtextError:
        return True
