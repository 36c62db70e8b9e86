"""What one notification is to say, and whether anybody wants to hear it (RFC 3461 4)."""

from __future__ import annotations

from enum import StrEnum

from postroad.mail.frozen import dataclass
from postroad.mail.message import Body, Instant, Message, Notify, Recipient, Ret

# What all recipients' replies may take together in a report, each at least and at most.
_QUOTED, _QUOTED_LEAST, _QUOTED_MOST = 200_000, 300, 4096
# A larger message comes back as its header alone: the sender has the rest.
FULL_LIMIT = 50_000


class Report(StrEnum):
    """What happened, in the words of the Action field (RFC 3464 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class Notice:
    """All that one notification says.

    `message.sender` must not be None: nobody is told about a notification.
    `recipients` are those it is about, each with its `last` outcome. `head` and
    `body` are the message as stored; `body` None where only the header is at hand.
    `id` is the queue id of the notification, `date` its date (`rfc5322_date`),
    `boundary` some 20 unpredictable letters or digits. `until`, for delays: when we give up.
    """

    report: Report
    message: Message
    recipients: tuple[Recipient, ...]
    head: bytes
    body: bytes | None
    hostname: str
    id: str
    date: str
    boundary: str
    until: Instant | None = None
    full_limit: int = FULL_LIMIT

    @property
    def quote_limit(self) -> int:
        """How many characters of one recipient's reply are quoted: a thousand hostile ones stay a letter."""
        return min(_QUOTED_MOST, max(_QUOTED_LEAST, _QUOTED // max(1, len(self.recipients))))


def wants_failure(notify: Notify | None) -> bool:
    """RFC 3461 4.1: without NOTIFY, failures are told."""
    return notify is None or Notify.FAILURE in notify


def wants_delay(notify: Notify | None) -> bool:
    """Without NOTIFY the choice is ours: people like to know."""
    return notify is None or Notify.DELAY in notify


def wants_success(notify: Notify | None) -> bool:
    return notify is not None and Notify.SUCCESS in notify


def returns_full(message: Message, report: Report, full_limit: int = FULL_LIMIT) -> bool:
    """Whether the whole message goes back, so that its body is worth reading (RFC 3461 4.3).

    Not what only BDAT can carry: notifications go by DATA. Not what was to be kept private (RFC 8689 5).
    """
    if report is not Report.FAILED or message.ret is Ret.HDRS or message.size > full_limit:
        return False
    private = message.handling is not None and message.handling.requiretls
    return message.body is not Body.BINARY and not private
