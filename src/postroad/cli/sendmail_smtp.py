"""`sendmail -bs`: SMTP on standard input and output (RFC 5321), for programs that know no other way.

Each accepted message goes the way of any other. One client, who is known and sits
on this machine: no TLS, no AUTH, no limits but those of memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO

from postroad.cli import sendmail_door as door
from postroad.cli.sendmail_message import joined, split, unified, without_blind_copies
from postroad.cli.sendmail_options import Usage, notify_words
from postroad.cli.sendmail_settings import Settings
from postroad.mail import xtext

MAX_LINE = 1 << 16
MAX_RECIPIENTS = 10_000
MAX_ERRORS = 20
EXTENSIONS = ("8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")

_PATH = re.compile(r"(FROM|TO):[ ]*(<[^<>]*>|[^ <>]+)((?: +[^ ]+)*) *", re.IGNORECASE)

Reply = tuple[int, str]


class _Dialogue:
    """One session; `quit` ends it."""

    def __init__(self, lines: BinaryIO, settings: Settings) -> None:
        self.lines = lines
        self.settings = settings
        self.sender: str | None = None
        self.recipients: list[str] = []
        # Of each recipient what RCPT said of notifications: NOTIFY, ORCPT.
        self.asked: list[list[object] | None] = []
        self.wishes: dict[str, object] = {}
        self.errors = 0
        self.quit = False

    def answer(self, line: bytes) -> Reply:
        """The reply to one command line."""
        if len(line) > MAX_LINE or not line.endswith(b"\n"):
            self.quit = True
            return 500, "5.5.2 Line too long"
        try:
            command = line.rstrip(b"\r\n").decode()
        except UnicodeDecodeError:
            return 500, "5.5.2 Neither ASCII nor UTF-8"
        verb, _, rest = command.partition(" ")
        known = _COMMANDS.get(verb.upper())
        return (500, "5.5.2 Command not known") if known is None else known(self, rest.strip())

    def hello(self, rest: str) -> Reply:
        self.reset(rest)
        return 250, self.settings.hostname

    def extended_hello(self, rest: str) -> Reply:
        self.reset(rest)
        size = self.settings.max_message_size
        return 250, "\n".join((self.settings.hostname, "PIPELINING", f"SIZE {size}", *EXTENSIONS))

    def mail(self, rest: str) -> Reply:
        if self.sender is not None:
            return 503, "5.5.1 There is a sender already"
        found = _PATH.fullmatch(rest)
        if found is None or found[1].upper() != "FROM":
            return 501, "5.5.4 MAIL FROM:<address>"
        wishes: dict[str, object] = {}
        for parameter in found[3].split():
            reply = self._parameter(parameter, wishes)
            if reply is not None:
                return reply
        self.sender, self.wishes = found[2].strip("<>"), wishes
        return 250, "2.1.0 Ok"

    def _parameter(self, parameter: str, wishes: dict[str, object]) -> Reply | None:
        """One of MAIL's (RFC 1870, 6152, 6531, 3461); the refusal, if it is refused."""
        key, _, value = parameter.partition("=")
        key = key.upper()
        if key == "SIZE" and value.isdigit():
            too_large = int(value[:18]) > self.settings.max_message_size
            return (552, "5.3.4 Message too large") if too_large else None
        if key == "BODY" and value.upper() in ("7BIT", "8BITMIME"):
            wishes["body"] = value.upper()
        elif key == "SMTPUTF8" and not value:
            wishes["smtputf8"] = True
        elif key == "RET" and value.lower() in ("full", "hdrs"):
            wishes["ret"] = value.lower()
        elif key == "ENVID" and value:
            try:
                wishes["envid"] = xtext.decode(value).decode("ascii")
            except (xtext.XtextError, UnicodeDecodeError):
                return 501, "5.5.4 ENVID is xtext (RFC 3461 4.4)"
        else:
            return 555, "5.5.4 Parameter not known"
        return None

    def rcpt(self, rest: str) -> Reply:
        if self.sender is None:
            return 503, "5.5.1 MAIL first"
        found = _PATH.fullmatch(rest)
        address = found[2].strip("<>") if found is not None and found[1].upper() == "TO" else ""
        if not address:
            return 501, "5.1.3 RCPT TO:<address>"
        asked: list[object] = [None, None]
        for parameter in found[3].split() if found is not None else ():
            key, _, value = parameter.partition("=")
            if key.upper() == "NOTIFY" and value:
                try:
                    asked[0] = notify_words(value)
                except Usage:
                    return 501, "5.5.4 NOTIFY is NEVER, or a list of SUCCESS, FAILURE, DELAY"
            elif key.upper() == "ORCPT" and value:
                asked[1] = value
            else:
                return 555, "5.5.4 Parameter not known"
        if len(self.recipients) >= MAX_RECIPIENTS:
            return 452, "4.5.3 Too many recipients"
        self.recipients.append(address)
        self.asked.append(asked if any(asked) else None)
        return 250, "2.1.5 Ok"

    def data(self, rest: str) -> Reply:
        if not self.recipients:
            return 503, "5.5.1 RCPT first"
        return 354, "End data with <CR><LF>.<CR><LF>"

    def take(self) -> Reply:
        """Read the message and hand it over; the reply to its final dot."""
        content = self._content()
        sender, recipients, wishes = self.sender or "", self.recipients, self.wishes
        if any(self.asked):
            wishes["dsn"] = self.asked
        self.reset("")
        if content is None:
            return 552, "5.3.4 Message too large"
        fields, text = split(unified(content))
        request = door.envelope(sender, recipients) | wishes
        try:
            answer = door.submit(
                self.settings.state_directory, request, joined(without_blind_copies(fields), text)
            )
        except door.Refused as refused:
            return _reply_of(str(refused), refused.exit)
        return 250, f"2.0.0 {answer.get('text') or 'Ok'}"

    def _content(self) -> bytes | None:
        """Up to the final dot, dots unstuffed (RFC 5321 4.5.2); None when it was too large."""
        kept: list[bytes] = []
        size = 0
        while (line := self.lines.readline(MAX_LINE)) not in (b".\r\n", b".\n"):
            if not line:
                # The client left in the middle: what it sent is no message.
                raise EOFError
            if line.startswith(b".") and (not kept or kept[-1].endswith(b"\n")):
                line = line[1:]
            size += len(line)
            if size <= self.settings.max_message_size:
                kept.append(line)
        return b"".join(kept) if size <= self.settings.max_message_size else None

    def reset(self, rest: str) -> Reply:
        self.sender, self.recipients, self.asked, self.wishes = None, [], [], {}
        return 250, "2.0.0 Ok"

    def noop(self, rest: str) -> Reply:
        return 250, "2.0.0 Ok"

    def verify(self, rest: str) -> Reply:
        return 252, "2.1.5 Send it and see"

    def end(self, rest: str) -> Reply:
        self.quit = True
        return 221, "2.0.0 Bye"


_COMMANDS: dict[str, Callable[[_Dialogue, str], Reply]] = {
    "HELO": _Dialogue.hello,
    "EHLO": _Dialogue.extended_hello,
    "MAIL": _Dialogue.mail,
    "RCPT": _Dialogue.rcpt,
    "DATA": _Dialogue.data,
    "RSET": _Dialogue.reset,
    "NOOP": _Dialogue.noop,
    "VRFY": _Dialogue.verify,
    "QUIT": _Dialogue.end,
}


def converse(lines: BinaryIO, replies: BinaryIO, settings: Settings) -> int:
    """Serve one session until QUIT or the end of the input; exit code 0, or 65 after too many errors."""
    dialogue = _Dialogue(lines, settings)
    _say(replies, (220, f"{settings.hostname} ESMTP Postroad"))
    try:
        while not dialogue.quit and (line := lines.readline(MAX_LINE + 1)):
            reply = dialogue.answer(line)
            _say(replies, reply)
            if reply[0] == 354:
                _say(replies, dialogue.take())
            dialogue.errors += reply[0] >= 500
            if dialogue.errors > MAX_ERRORS:
                _say(replies, (421, "4.7.0 Too many errors"))
                return 65
    except EOFError:
        return 65
    return 0


def _reply_of(text: str, exit: int) -> Reply:
    """The daemon's own reply where it gave one, else one that says whether to try again."""
    code, _, rest = text.partition(" ")
    if len(code) == 3 and code.isdigit() and code[0] in "45":
        return int(code), rest
    return (451, f"4.3.0 {text}") if exit == door.EX_TEMPFAIL else (554, f"5.3.0 {text}")


def _say(replies: BinaryIO, reply: Reply) -> None:
    code, text = reply
    *first, last = text.split("\n")
    lines = [f"{code}-{line}\r\n" for line in first] + [f"{code} {last}\r\n"]
    replies.write("".join(lines).encode("utf-8", "replace"))
    replies.flush()
