"""The queue as Postfix's own programs print it: `postqueue -p` (mailq) and `postqueue -j`."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence

from postroad.adapters.maildrop_view import MAILDROP
from postroad.mail.lifecycle import State
from postroad.mail.message import Message, Recipient
from postroad.mail.printable import printable

# Those of long queue ids: ours have twelve characters.
HEADING = "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------"
NULL_SENDER = "MAILER-DAEMON"
# Where Postfix lets a reason end.
_REASON_END = 76
_MARKS = {"active": "*", "hold": "!"}

Pair = tuple[Message, Recipient]


async def whole(pages: AsyncIterator[Sequence[Pair]]) -> AsyncIterator[tuple[Message, list[Recipient]]]:
    """Message by message, each with all its recipients, however the pages cut them."""
    message: Message | None = None
    recipients: list[Recipient] = []
    async for page in pages:
        for owner, recipient in page:
            if message is not None and owner.id != message.id:
                yield message, recipients
                recipients = []
            message = owner
            recipients.append(recipient)
    if message is not None:
        yield message, recipients


def queue_of(state: State, *, fresh: bool) -> str:
    """The queue of Postfix in which a recipient would lie; `fresh`: nothing was tried or known yet."""
    if state is State.ACTIVE:
        return "active"
    if state is State.HELD:
        return "hold"
    return "incoming" if fresh else "deferred"


def queue_name(recipients: Sequence[Recipient]) -> str:
    """That of a message: the busiest of its recipients decides, and one held before one that waits."""
    if recipients[0].hop == MAILDROP:
        return "maildrop"
    found = {queue_of(each.state, fresh=not each.attempts and each.last is None) for each in recipients}
    return next(name for name in ("active", "hold", "deferred", "incoming") if name in found)


def refused_note(number: int, directory: str) -> str:
    """What is said beside a list of files that were refused when they were taken up."""
    files = "1 file" if number == 1 else f"{number} files"
    return f"{files} in {directory} refused: postroad spool check says why"


class Listing:
    """The lines of mailq, message by message."""

    def __init__(self) -> None:
        self._octets = 0
        self._count = 0

    def message(self, message: Message, recipients: Sequence[Recipient]) -> Iterator[str]:
        """Id with its mark, size, arrival in local time, sender; each recipient below why it waits."""
        yield "" if self._count else HEADING
        self._count += 1
        self._octets += message.size
        mark = _MARKS.get(queue_name(recipients), "")
        arrival = time.asctime(time.localtime(message.received_at))[:19]
        yield f"{message.id + mark:<17} {message.size:8d} {arrival} {printable(_sender(message))}"
        said = ""
        for recipient in recipients:
            reason = printable(recipient.reason or "")
            # Said once for those in a row to whom it happened.
            if reason and reason != said:
                yield " " * max(0, _REASON_END - len(reason)) + f"({reason})"
            said = reason
            yield " " * 47 + printable(str(recipient.address))

    def end(self) -> Iterator[str]:
        if not self._count:
            yield "Mail queue is empty"
            return
        yield ""
        plural = "" if self._count == 1 else "s"
        yield f"-- {self._octets // 1024} Kbytes in {self._count} Request{plural}."


def as_json(message: Message, recipients: Sequence[Recipient]) -> str:
    """One message as `postqueue -j` has it, on a line."""
    found = {
        "queue_name": queue_name(recipients),
        "queue_id": message.id,
        "arrival_time": int(message.received_at),
        "message_size": message.size,
        "forced_expire": False,
        "sender": _sender(message),
        "recipients": [_recipient(each) for each in recipients],
    }
    return json.dumps(found)


def _recipient(recipient: Recipient) -> dict[str, str]:
    reason = {} if recipient.reason is None else {"delay_reason": recipient.reason}
    return {"address": str(recipient.address), **reason}


def _sender(message: Message) -> str:
    return NULL_SENDER if message.sender is None else str(message.sender)
