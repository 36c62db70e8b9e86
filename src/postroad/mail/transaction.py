"""One mail transaction (RFC 5321 3.3), sans I/O: which bytes come next, which reply belongs to whom.

`Exchange` is given replies and answers with bytes; it never waits, reads or
writes. With PIPELINING (RFC 2920) all commands are one write, else each waits
for the reply to the one before; the results are the same. `DotStuffer` makes
the content transparent (RFC 5321 4.5.2) piece by piece. Binary content goes as one
chunk (RFC 3030) once a recipient is accepted; all else by DATA, which every receiver
knows best.
"""

from __future__ import annotations

import re

from postroad.mail.address import Address
from postroad.mail.frozen import dataclass
from postroad.mail.message import Body, Envelope, EnvelopeRecipient, Handling, Notify
from postroad.mail.outcome import Fault, Stage, Trouble
from postroad.mail.reply import Reply

_LONE_DOT = b".\r\n"
_START_INPUT = 354
_SERVICE_CLOSING = 421

_DOMAIN = re.compile(r"[\w.-]+|\[[\w.:-]+\]")
_ATOM = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
_USUAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@[a-zA-Z0-9._-]+").fullmatch
_PARAMETER = re.compile(r"[!-<>-~]+")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the peer's last EHLO offered and the engine uses. `size` 0: no limit stated.

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
    size_offered: bool = False
    binary: bool = False
    requiretls: bool = False
    mt_priority: bool = False


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


# --- commands --------------------------------------------------------------------


def path(address: Address | None) -> str:
    """The address between angle brackets, local part quoted where it must be (RFC 5321 4.1.2).

    Raises Unsendable when it holds what must never reach a command line.
    """
    if address is None:
        return "<>"
    usual = f"{address.local}@{address.domain}"
    if _USUAL(usual):
        return f"<{usual}>"
    if not address.local.isprintable() or not _DOMAIN.fullmatch(address.domain):
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


# --- content ---------------------------------------------------------------------


class DotStuffer:
    """Dot transparency over chunks: knows, across their edges, whether a line has just begun.

    With `dotted` False (no line starts with a dot) chunks pass through uncopied.
    """

    __slots__ = ("_dotted", "_tail")
    left = 0

    def __init__(self, dotted: bool) -> None:
        self._dotted = dotted
        self._tail = b"\r\n"

    def feed(self, chunk: bytes) -> bytes:
        """The octets to write for this piece of content."""
        if not chunk:
            return chunk
        tail = self._tail
        self._tail = chunk[-2:] if len(chunk) > 1 else tail[-1:] + chunk
        if not self._dotted:
            return chunk
        stuffed = chunk.replace(b"\n.", b"\n..")
        if chunk[:1] == b"." and tail[-1:] == b"\n":
            return b"." + stuffed
        return stuffed

    def finish(self) -> bytes:
        """The final dot, after the line end that the content may lack."""
        return _LONE_DOT if self._tail == b"\r\n" else b"\r\n" + _LONE_DOT


class ChunkFramer:
    """One chunk of announced `size` (RFC 3030 4.2): nothing is changed. `left` octets are still to come."""

    __slots__ = ("_command", "left")

    def __init__(self, size: int) -> None:
        self._command = bdat_command(size)
        self.left = size

    def feed(self, chunk: bytes) -> bytes:
        self.left -= len(chunk)
        command, self._command = self._command, b""
        return command + chunk if command else chunk

    def finish(self) -> bytes:
        return b""


def bdat_command(size: int) -> bytes:
    return b"BDAT %d LAST\r\n" % size


def framed(head: bytes, body: bytes, dotted: bool) -> bytes:
    """A whole small message as it goes over the wire, final dot and all."""
    if not dotted and body[-2:] == b"\r\n":
        return b"".join((head, body, _LONE_DOT))
    stuffer = DotStuffer(dotted)
    return stuffer.feed(head + body) + stuffer.finish()


# --- the transaction ---------------------------------------------------------------


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
        return _LONE_DOT
