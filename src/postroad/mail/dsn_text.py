"""What a notification tells people: who, why, and what to do about it."""

from __future__ import annotations

import re
import textwrap

from postroad.mail.headers import rfc5322_date, value
from postroad.mail.message import Instant, Recipient
from postroad.mail.notice import Notice, Report
from postroad.mail.outcome import Outcome, Reason
from postroad.mail.reply import Reply

_UNFIT = re.compile(r"[^ -~]")
_UNFIT_OR_BACKSLASH = re.compile(r"[^ -\[\]-~]")
_MOST_REPLY_LINES = 30

_SUBJECTS = {
    Report.FAILED: "Undelivered mail",
    Report.DELAYED: "Delayed mail, still being tried",
    Report.RELAYED: "Mail handed on",
    Report.EXPANDED: "Mail sent on to several",
}
_OPENINGS = {
    Report.FAILED: "could not be delivered to the recipients below, and will not be tried again for them.",
    Report.DELAYED: "has not been delivered yet to the recipients below.",
    Report.RELAYED: "was handed on for the recipients below, to a server that sends no reports of its own.",
    Report.EXPANDED: "was sent on to the addresses that the recipients below stand for. "
    "You will be told if that fails for one of them.",
}
_ADVICE = {
    Reason.INVALID: "Check the address: the receiving server does not know it.",
    Reason.INACTIVE: "This mailbox is not in use any more. Ask the recipient for another address.",
    Reason.BAD_DOMAIN: "Check what follows the @ sign: that domain does not exist or takes no mail.",
    Reason.FULL: "The mailbox is full. Reach the recipient another way, or send again later.",
    Reason.TOO_BIG: "The message is too large for the receiving server. Send less, or a link to it.",
    Reason.SPAM: "The receiving server takes the message for unwanted mail. Change its content, "
    "or ask the recipient to let you through.",
    Reason.BLOCK: "The receiving server blocks mail from our servers. Show this report to your postmaster.",
    Reason.POLICY: "The rules of the receiving server forbid this message. Ask its postmaster, "
    "or show this report to yours.",
    Reason.UNSUPPORTED: "The receiving server cannot take this kind of message, for example an "
    "internationalised address. Write to a plain address if there is one.",
    Reason.EXPIRED: "It was tried again and again, in vain. If it still matters, send it once more "
    "or reach the recipient another way.",
    Reason.CANCELLED: "An operator of this mail system returned it. Ask your postmaster.",
}
_OTHERWISE = "If you cannot see why, show this report to your postmaster."


def escape(text: str) -> str:
    r"""Foreign text as printable ASCII on one line; what is not becomes "\x{HEX}" (RFC 6533 3).

    Nothing is lost: where something had to be escaped, so are the backslashes; text
    that needs nothing stays as it is. White space at the ends counts as unfit.
    """
    inner = text.strip(" ")
    if inner == text and not _UNFIT.search(text) and "\\x{" not in text:
        return text
    head, tail = text[: len(text) - len(text.lstrip(" "))], text[len(text.rstrip(" ")) :]
    ends = ("\\x{20}" * len(head), "\\x{20}" * len(tail) if inner else "")
    return _UNFIT_OR_BACKSLASH.sub(_escaped, inner).join(ends)


def subject(notice: Notice) -> str:
    """One line; names the recipient where there is one and it fits."""
    recipients = notice.recipients
    whom = str(recipients[0].address) if len(recipients) == 1 else f"{len(recipients)} recipients"
    if not whom.isascii() or len(whom) > 60:
        whom = "1 recipient"
    return f"{_SUBJECTS[notice.report]}: {whom}"


def explanation(notice: Notice) -> str:
    """The text part, lines ended by "\\n"; ASCII but for internationalised addresses."""
    report, message = notice.report, notice.message
    arrived = rfc5322_date(message.received_at)
    about = f"Your message of {arrived}{_titled(notice.head)} {_OPENINGS[report]}"
    parts = [f"This is the mail system at {notice.hostname}.", _wrapped(about)]
    if report is Report.DELAYED:
        parts.append(_wrapped(_patience(notice.until)))
    parts += [_about(notice, recipient) for recipient in notice.recipients]
    parts.append(f"Our reference for your message is {message.id}.")
    return "\n\n".join(parts) + "\n"


def _titled(head: bytes) -> str:
    """The subject, where it can be shown without decoding it."""
    text = " ".join((value(head, b"subject") or b"").decode("latin-1").split())
    if not text or "=?" in text or len(text) > 200 or _UNFIT.search(text):
        return ""
    return f', with the subject "{text}",'


def _patience(until: Instant | None) -> str:
    end = "" if until is None else f" until {rfc5322_date(until)}"
    return f"You need not send it again: it will be tried{end}. You will be told if that fails."


def _about(notice: Notice, recipient: Recipient) -> str:
    lines = [f"  <{recipient.address}>"]
    if recipient.last is not None:
        lines += _reason(notice, recipient.last)
    return "\n".join(lines)


def _reason(notice: Notice, outcome: Outcome) -> list[str]:
    limit = notice.quote_limit
    lines = [_wrapped(escape(outcome.text[:limit]), "    ")] if outcome.text else []
    if outcome.reply is not None and notice.report is not Report.RELAYED:
        host = escape(outcome.host or "the next server")
        lines.append(_wrapped(f"In the words of {host}:", "    "))
        lines += _quoted(outcome.reply, limit)
    if notice.report is Report.FAILED:
        lines.append(_wrapped(_ADVICE.get(outcome.reason, _OTHERWISE), "    "))
    return lines


def _quoted(reply: Reply, limit: int) -> list[str]:
    """The reply line by line as it was sent, at most `limit` characters and some lines of it."""
    prefix = f"{reply.code} {reply.enhanced} " if reply.enhanced else f"{reply.code} "
    shown = []
    for line in (reply.lines or ("",))[:_MOST_REPLY_LINES]:
        shown.append(_wrapped(escape((prefix + line)[:limit].strip()), "    > "))
        limit -= len(prefix + line)
        if limit <= 0:
            break
    return shown


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text,
        76,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=True,
        break_on_hyphens=False,
    )


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{{{ord(match[0]):02X}}}"
