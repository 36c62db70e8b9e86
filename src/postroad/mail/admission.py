"""May this submission enter, and if not, which reply refuses it (RFC 5321 3.3, 6.3; RFC 6531)."""

from __future__ import annotations

import re

from postroad.mail.address import Address
from postroad.mail.frozen import dataclass
from postroad.mail.headers import count_received
from postroad.mail.message import Content, Envelope
from postroad.mail.reply import Reply

_ALL_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """What a submission may have at most: octets in all, octets of header, Received fields, recipients."""

    max_message_size: int
    max_header_size: int
    max_received: int
    max_recipients: int


def consider(envelope: Envelope, content: Content, limits: AdmissionLimits) -> Reply | None:
    """None: welcome. Else the reply that refuses the whole message.

    Octets over 127 are no reason, whatever the envelope announced: the delivery knows
    from `Content.eight_bit` what it needs of the next hop.
    """
    if content.size > limits.max_message_size:
        return Reply(552, (f"Message larger than {limits.max_message_size} octets",), "5.3.4")
    if len(content.head) > limits.max_header_size:
        return Reply(552, (f"Header larger than {limits.max_header_size} octets",), "5.3.4")
    if count_received(content.head) > limits.max_received:
        return Reply(554, ("Too many Received fields: the message seems to loop",), "5.4.6")
    if b"\0" in content.head:
        return Reply(554, ("NUL octet in the header",), "5.6.0")
    return _consider_envelope(envelope, limits)


def consider_sender(sender: Address | None) -> Reply | None:
    """Whether a reverse-path can stand: one that nobody could ever answer cannot."""
    if sender is None or not _is_bare_ipv4(sender.domain):
        return None
    return Reply(501, ("Sender address: an IP address needs brackets",), "5.1.7")


def consider_recipient(recipient: Address) -> Reply | None:
    """Whether a forward-path can be routed at all; a domain without a dot is a matter for DNS and routes."""
    if not _is_bare_ipv4(recipient.domain):
        return None
    return Reply(501, ("Recipient address: an IP address needs brackets",), "5.1.3")


def _consider_envelope(envelope: Envelope, limits: AdmissionLimits) -> Reply | None:
    if not envelope.recipients:
        return Reply(554, ("No valid recipients",), "5.5.1")
    if len(envelope.recipients) > limits.max_recipients:
        return Reply(452, ("Too many recipients",), "4.5.3")
    addresses = [recipient.address for recipient in envelope.recipients]
    refused = consider_sender(envelope.sender)
    if refused is not None:
        return refused
    if not envelope.smtputf8:
        for address in (*addresses, envelope.sender or addresses[0]):
            if not address.is_ascii:
                return Reply(553, ("An internationalised address needs SMTPUTF8",), "5.6.7")
    for address in addresses:
        refused = consider_recipient(address)
        if refused is not None:
            return refused
    return None


def _is_bare_ipv4(domain: str) -> bool:
    """No top-level domain is all digits (RFC 3696 2), so "1.2.3.4" is a literal without its brackets."""
    # Nearly every name is told from its last character.
    return domain[-1:].isdigit() and _ALL_DIGITS.fullmatch(domain.rpartition(".")[2]) is not None
