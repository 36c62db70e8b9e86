"""The commands of a transaction with one receiver, and whether it can take the message at all.

What the peer's EHLO did not offer is not said to it.
"""

from __future__ import annotations

import re

from postroad.mail.address import Address
from postroad.mail.frozen import dataclass
from postroad.mail.message import Body, Envelope, EnvelopeRecipient, Handling, Notify
from postroad.mail.outcome import Fault, Stage, Trouble
from postroad.mail.printable import is_text

_DOMAIN = re.compile(r"[\w.-]+|\[[\w.:-]+\]")
_ATOM = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
_USUAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@[a-zA-Z0-9._-]+").fullmatch
_PARAMETER = re.compile(r"[!-<>-~]+")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the peer's last EHLO offered and the engine uses. `size` 0: no limit stated.

    `rcpt_max` recipients a transaction, `mail_max` transactions and `rcpt_domain_max` domains
    of recipients a session (RFC 9422); 0: no limit stated.
    `binary`: CHUNKING and BINARYMIME both. `requiretls`: offered over TLS with a verified
    certificate, for nothing else counts (RFC 8689 2).
    """

    pipelining: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    dsn: bool = False
    size: int = 0
    rcpt_max: int = 0
    mail_max: int = 0
    rcpt_domain_max: int = 0
    size_offered: bool = False
    binary: bool = False
    requiretls: bool = False
    mt_priority: bool = False


class Unsendable(Exception):
    """The message cannot go to this peer at all; nothing was sent. `trouble` says why."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.text)
        self.trouble = trouble


def check(envelope: Envelope, capabilities: Capabilities, size: int) -> bool:
    """Raise Unsendable where the peer's EHLO already says that it cannot take this message.

    Answers whether SMTPUTF8 is needed: the envelope says so, or an address is not ASCII.
    """
    if 0 < capabilities.size < size:
        _refuse(Fault.SIZE, f"message of {size} octets; the receiver takes {capabilities.size}")
    if envelope.body is Body.EIGHT_BIT and not capabilities.eight_bit:
        _refuse(Fault.NO_8BITMIME, "the receiver does not offer 8BITMIME")
    if envelope.body is Body.BINARY and not capabilities.binary:
        _refuse(Fault.NO_BINARYMIME, "the receiver does not offer CHUNKING and BINARYMIME")
    if envelope.handling is not None and not may_go(envelope, capabilities):
        _refuse(Fault.NO_REQUIRETLS, "the receiver does not offer REQUIRETLS")
    sender = envelope.sender
    utf8 = envelope.smtputf8 or not (sender is None or sender.local.isascii())
    for recipient in envelope.recipients:
        utf8 = utf8 or not recipient.address.local.isascii()
    if utf8 and not capabilities.smtputf8:
        _refuse(Fault.NO_SMTPUTF8, "the receiver does not offer SMTPUTF8")
    return utf8


def may_go(envelope: Envelope, capabilities: Capabilities) -> bool:
    """Whether REQUIRETLS is met, if asked for; a notification is not stopped by it (RFC 8689 5)."""
    handling = envelope.handling
    if handling is None or not handling.requiretls or envelope.sender is None:
        return True
    return capabilities.requiretls


def _refuse(fault: Fault, text: str) -> None:
    raise Unsendable(Trouble(Stage.MAIL, fault, text))


def path(address: Address | None) -> str:
    """The address between angle brackets, local part quoted where it must be (RFC 5321 4.1.2).

    Raises Unsendable when it holds what must never reach a command line.
    """
    if address is None:
        return "<>"
    usual = f"{address.local}@{address.domain}"
    if _USUAL(usual):
        return f"<{usual}>"
    if not is_text(address.local) or not _DOMAIN.fullmatch(address.domain):
        _refuse(Fault.INTERNAL, "an address not fit for a command")
    return f"<{address}>"


def mail_command(envelope: Envelope, capabilities: Capabilities, size: int, utf8: bool) -> bytes:
    """MAIL with SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), SMTPUTF8 (RFC 6531), RET, ENVID (RFC 3461),
    REQUIRETLS (RFC 8689) and MT-PRIORITY (RFC 6710), as offered.
    """
    command = "MAIL FROM:" + path(envelope.sender)
    if capabilities.size_offered:
        command += f" SIZE={size}"
    if envelope.body is Body.EIGHT_BIT and capabilities.eight_bit:
        command += " BODY=8BITMIME"
    elif envelope.body is Body.BINARY:
        command += " BODY=BINARYMIME"
    if utf8:
        command += " SMTPUTF8"
    if capabilities.dsn and envelope.ret is not None:
        command += f" RET={envelope.ret}"
    if capabilities.dsn and envelope.envid is not None:
        command += " ENVID=" + _parameter(envelope.envid)
    if envelope.handling is not None:
        command += _handling(envelope.handling, capabilities)
    return (command + "\r\n").encode()


def _handling(handling: Handling, capabilities: Capabilities) -> str:
    required = " REQUIRETLS" if handling.requiretls and capabilities.requiretls else ""
    if handling.priority is None or not capabilities.mt_priority:
        return required
    return f"{required} MT-PRIORITY={handling.priority}"


def rcpt_command(recipient: EnvelopeRecipient, dsn: bool) -> bytes:
    """RCPT, with NOTIFY and ORCPT (RFC 3461) when the peer offers DSN."""
    command = "RCPT TO:" + path(recipient.address)
    if dsn and recipient.notify is not None:
        command += " NOTIFY=" + _notify(recipient.notify)
    # What RFC 6533 writes in UTF-8 is left out: it would ask SMTPUTF8 of the whole transaction.
    if dsn and recipient.orcpt is not None and recipient.orcpt.isascii():
        command += " ORCPT=" + _parameter(recipient.orcpt)
    return (command + "\r\n").encode()


def _notify(notify: Notify) -> str:
    if not notify:
        return "NEVER"
    return ",".join(
        flag.name or "" for flag in (Notify.SUCCESS, Notify.FAILURE, Notify.DELAY) if flag in notify
    )


def _parameter(value: str) -> str:
    if not _PARAMETER.fullmatch(value):
        _refuse(Fault.INTERNAL, "ENVID or ORCPT not fit for a command")
    return value
