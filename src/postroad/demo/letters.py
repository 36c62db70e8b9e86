"""What the demonstration sends: real messages of several shapes, with what must become of each.

Every letter is complete (Date, Message-ID, From), so that what arrives must be
what was sent, octet for octet, below the lines that a relay adds on top.
"""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import localtime, make_msgid
from enum import StrEnum

from postroad.demo.process import HANGS_AFTER

HARBOUR = "harbour.example"
PATIENCE = "patience.example"
CLOSED = "closed.example"
DAWN = "dawn.example"

SENDER = f"anna@{HARBOUR}"
BERT = f"bert@{HARBOUR}"
ZOE = f"zoe@{HARBOUR}"
GWEN = f"gwen@{PATIENCE}"
NOBODY = f"nobody@{CLOSED}"
DORA = f"dora@{DAWN}"


class End(StrEnum):
    """How it ought to end for a recipient."""

    DELIVERED = "delivered"
    AFTER_GREYLISTING = "delivered after greylisting"
    AFTER_OUTAGE = "delivered once the site answered"
    BOUNCED = "refused, and the sender told"


ENDS = {
    BERT: End.DELIVERED,
    ZOE: End.DELIVERED,
    GWEN: End.AFTER_GREYLISTING,
    DORA: End.AFTER_OUTAGE,
    NOBODY: End.BOUNCED,
}


@dataclass(frozen=True, slots=True)
class Letter:
    """One message: a short title for the table, who gets it, its octets with CRLF."""

    title: str
    recipients: tuple[str, ...]
    octets: bytes
    message_id: str
    eight_bit: bool


def _letter(title: str, recipients: tuple[str, ...], text: str, *, html: bool = False) -> Letter:
    eight_bit = not text.isascii()
    message = EmailMessage(policy=SMTP_POLICY)
    message["From"] = f"Anna <{SENDER}>"
    message["To"] = ", ".join(recipients)
    message["Subject"] = title
    message["Date"] = localtime()
    message["Message-ID"] = make_msgid(domain=HARBOUR)
    message.set_content(text, cte="8bit" if eight_bit else "7bit")
    if html:
        message.add_alternative(f"<p>{text}</p>", subtype="html")
        message.add_attachment(
            bytes(range(256)) * 120, maintype="application", subtype="octet-stream", filename="chart.bin"
        )
    return Letter(title, recipients, bytes(message), str(message["Message-ID"]), eight_bit)


def letters() -> tuple[Letter, ...]:
    """The letters of one run, in the order they are sent."""
    return (
        _letter("Dots on their own", (BERT,), "Lines that begin with dots:\n.\n..\n.hidden\nThe end.\n"),
        _letter("With an attachment", (BERT,), "The chart is attached.\n", html=True),
        _letter("Grüße, 8-bit", (ZOE,), "Schöne Grüße, ещё раз, 你好.\n"),
        _letter("To a patient site", (GWEN,), "You will ask me to come back later.\n"),
        _letter("To nobody", (NOBODY,), "Is anybody there?\n"),
        _letter("Before dawn", (DORA,), "Your server is down, it will be up soon.\n"),
        _letter("To everybody", (BERT, GWEN, NOBODY, DORA), "One message, four fates.\n"),
    )


class SubmissionRefused(Exception):
    """The daemon did not take a letter; the text is its reply."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where and as whom to submit."""

    port: int
    name: str
    password: str
    roots: str


def submit(letter: Letter, door: Door) -> str:
    """Hand a letter in as a mail client does: STARTTLS, AUTH, one transaction. Answers the 250 line.

    Blocks; raises SubmissionRefused or what smtplib raises.
    """
    context = ssl.create_default_context(cadata=door.roots)
    with smtplib.SMTP("localhost", door.port, timeout=HANGS_AFTER) as client:
        client.starttls(context=context)
        client.login(door.name, door.password)
        client.ehlo_or_helo_if_needed()
        _expect(client.mail(SENDER, ["BODY=8BITMIME"] if letter.eight_bit else []), "MAIL")
        for recipient in letter.recipients:
            _expect(client.rcpt(recipient), f"RCPT {recipient}")
        return _expect(client.data(letter.octets), "DATA")


def _expect(reply: tuple[int, bytes], stage: str) -> str:
    code, text = reply
    if code // 100 != 2:
        raise SubmissionRefused(f"{stage}: {code} {text.decode('utf-8', 'replace')}")
    return text.decode("utf-8", "replace")
