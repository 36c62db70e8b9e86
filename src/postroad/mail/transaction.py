"""One mail transaction (RFC 5321 3.3), sans I/O: which bytes come next, which reply belongs to whom.

`Exchange` is given replies and answers with bytes; it never waits, reads or
writes. With PIPELINING (RFC 2920) all commands are one write, else each waits
for the reply to the one before; the results are the same. Binary content goes as one
chunk (RFC 3030) once a recipient is accepted; all else by DATA, which every receiver
knows best. What is said is worded in `commands`, how content travels in `framing`.
"""

from __future__ import annotations

from postroad.mail.commands import Capabilities, check, mail_command, rcpt_command
from postroad.mail.framing import LONE_DOT
from postroad.mail.frozen import dataclass
from postroad.mail.message import Body, Envelope
from postroad.mail.outcome import Fault, Stage, Trouble
from postroad.mail.reply import Reply

_START_INPUT = 354
_SERVICE_CLOSING = 421


@dataclass(frozen=True, slots=True)
class Transaction:
    """What one mail transaction (RFC 5321 3.3) brought: every reply that came, by stage.

    `rcpts` runs parallel to the recipients sent; None where no reply came. `dot` is
    the reply to the final dot. `trouble`: what ended the session early, if something did.
    """

    mail: Reply | None
    rcpts: tuple[Reply | None, ...]
    data: Reply | None = None
    dot: Reply | None = None
    trouble: Trouble | None = None


class Exchange:
    """A transaction while it runs.

    Write `begin()`, give every reply to `receive` and write what it answers.
    When `content_due`, write the content (`binary`: as one chunk) and then call `dot_sent`. Until `done`;
    then `result` is the transaction, `in_step` says whether the session may go on
    and `needs_reset` whether RSET must come before the next MAIL.

    Nothing counts as delivered but a 2xx that came after the final dot had left.
    """

    __slots__ = (
        "_accepted",
        "_commands",
        "_count",
        "_data",
        "_dot",
        "_dot_sent",
        "_lone",
        "_mail",
        "_next",
        "_pipelining",
        "_quick",
        "_rcpts",
        "_reset",
        "_trouble",
        "binary",
        "content_due",
        "done",
        "in_step",
    )

    def __init__(
        self, envelope: Envelope, capabilities: Capabilities, size: int, *, reset: bool = False
    ) -> None:
        """Raises Unsendable, before anything was sent, when this message cannot go to this peer."""
        utf8 = check(envelope, capabilities, size)
        dsn, recipients = capabilities.dsn, envelope.recipients
        self.binary = envelope.body is Body.BINARY
        self._commands: list[bytes] = [
            *((b"RSET\r\n",) if reset else ()),
            mail_command(envelope, capabilities, size, utf8),
            *[rcpt_command(recipient, dsn) for recipient in recipients],
            *((b"DATA\r\n",) if not self.binary else ()),
        ]
        self._pipelining = capabilities.pipelining
        self._quick = self._pipelining and not self.binary
        self._reset = int(reset)
        self._next = 0
        self._accepted = 0
        self._mail: Reply | None = None
        self._count = len(recipients)
        self._rcpts: list[Reply | None] = [None] * self._count
        self._data: Reply | None = None
        self._dot: Reply | None = None
        self._trouble: Trouble | None = None
        self._lone = False
        self._dot_sent = False
        self.content_due = False
        self.done = False
        self.in_step = True

    @property
    def stage(self) -> Stage:
        """Whose reply is awaited; DATA while the content is on its way."""
        index = self._next - self._reset
        if index <= 0:
            return Stage.MAIL
        if index <= self._count:
            return Stage.RCPT
        if index == self._count + 1 or self.content_due:
            return Stage.DATA
        return Stage.DOT

    @property
    def resetting(self) -> bool:
        """Whether the reply awaited is the one to RSET."""
        return self._next < self._reset

    @property
    def answered(self) -> int:
        """How many recipients have had their reply."""
        return min(max(self._next - self._reset - 1, 0), self._count)

    @property
    def needs_reset(self) -> bool:
        """Whether the message was not taken."""
        return self._dot is None or not 200 <= self._dot.code < 300

    @property
    def refused(self) -> tuple[int, ...]:
        """Places in the envelope of those who had no 2xx to RCPT."""
        if self._accepted == self._count:
            return ()
        return tuple(n for n, reply in enumerate(self._rcpts) if reply is None or reply.kind != 2)

    @property
    def result(self) -> Transaction:
        return Transaction(self._mail, tuple(self._rcpts), self._data, self._dot, self._trouble)

    def begin(self) -> bytes:
        return b"".join(self._commands) if self._pipelining else self._commands[0]

    def dot_sent(self) -> None:
        """The final dot was handed to the transport: from here the receiver may own the message."""
        self.content_due = False
        self._dot_sent = True

    def fail(self, fault: Fault, text: str) -> None:
        """The session ended, or must end, in the middle."""
        self._trouble = Trouble(self.stage, fault, text, self._dot_sent)
        self.done = True
        self.in_step = False

    def receive(self, reply: Reply) -> bytes:
        """Take the next reply in order; what to write now, often nothing."""
        index = self._next - self._reset
        if self._quick and 200 <= reply.code < 300 and 0 <= index <= self._count:
            # Most replies are these: short for what follows.
            if index:
                self._rcpts[index - 1] = reply
                self._accepted += 1
            else:
                self._mail = reply
            self._next += 1
            return b""
        if reply.code == _SERVICE_CLOSING:
            self._store(index, reply)
            self.done = True
            self.in_step = False
            return b""
        if self.content_due:
            self._violated("before the end of the message", reply)
            return b""
        at_data = index == self._count + 1
        agreed = reply.code == _START_INPUT if at_data else 200 <= reply.code < 300
        if not agreed and reply.kind < 4:
            self._violated(f"to {self.stage.upper()}", reply)
            return b""
        self._store(index, reply)
        self._next += 1
        return self._go_on(index, reply, at_data)

    def _violated(self, where: str, reply: Reply) -> None:
        self.fail(Fault.PROTOCOL, f"reply out of place, {where}: {reply}"[:300])

    def _store(self, index: int, reply: Reply) -> None:
        recipients = self._count
        if index < 0:
            # The reply to RSET says nothing about this message, but for its 421.
            if reply.code == _SERVICE_CLOSING:
                self._mail = reply
        elif index == 0:
            self._mail = reply
        elif index <= recipients:
            self._rcpts[index - 1] = reply
            self._accepted += reply.kind == 2
        elif index == recipients + 1:
            self._data = reply
        elif not self._lone:
            self._dot = reply

    def _go_on(self, index: int, reply: Reply, at_data: bool) -> bytes:
        """What follows from a reply that was in its place."""
        recipients = self._count
        if index > recipients + 1:
            self.done = True
        elif at_data and reply.code == _START_INPUT:
            return self._start_content()
        elif at_data:
            self.done = True
        elif self.binary and index == recipients:
            self._start_chunk()
        elif not self._pipelining:
            if (index == 0 and reply.kind != 2) or (index == recipients and not self._accepted):
                self.done = True
            else:
                return self._commands[self._next]
        return b""

    def _start_chunk(self) -> None:
        """Where DATA would be said there is nothing to say: the chunk itself comes next."""
        if self._accepted and self._mail is not None and self._mail.kind == 2:
            self._next += 1
            self.content_due = True
        else:
            self.done = True

    def _start_content(self) -> bytes:
        if self._accepted and self._mail is not None and 200 <= self._mail.code < 300:
            self.content_due = True
            return b""
        # RFC 2920 3.1: DATA was pipelined and accepted although nobody is there to
        # receive: end it at once, and whatever the reply, nothing was delivered.
        self._lone = True
        return LONE_DOT
