"""`sendmail -bs`: SMTP on standard input and output (RFC 5321), for programs that know no other way.

Each accepted message goes the way of any other. One client, who is known and sits
on this machine: no TLS, no AUTH, no limits of time. Paths, parameters and replies are
those of the listeners; only that a name without a domain is a name of this machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO, Final

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_replies import said
from postroad.cli import sendmail_door as door
from postroad.cli.sendmail_lines import BadLine, Gone, Lines, Source
from postroad.cli.sendmail_message import joined, split, unified, without_blind_copies
from postroad.cli.sendmail_settings import Settings
from postroad.mail import xtext
from postroad.mail.admission import consider_recipient, consider_sender
from postroad.mail.esmtp import EsmtpError, MailArguments, parse_mail, parse_rcpt
from postroad.mail.message import Body, EnvelopeRecipient, Notify
from postroad.mail.reply import Reply
from postroad.mail.verbs import COMMAND_LONGEST, LINE_LIMITS, NOT_OFFERED, is_hello_name, split_command

MAX_ERRORS: Final = 20
PARAMETERS: Final = frozenset({"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID"})
"""Of MAIL, those of what EHLO offers."""
NO_BINARY: Final = said(501, "5.5.4", "BODY is 7BIT or 8BITMIME")

# A name of this machine, as local programs write it.
_BARE = re.compile(r'((?:FROM|TO): *<)([^<>@"\s]+)(>.*)', re.IGNORECASE)
_DAEMONS = re.compile(r"([45][0-9]{2}) (?:([45]\.[0-9]{1,3}\.[0-9]{1,3}) )?(.*)", re.DOTALL)
_OFFERED_ELSEWHERE: Final = NOT_OFFERED | {"EXPN", "STARTTLS", "AUTH", "BDAT"}


class _Dialogue:
    """One session; `quit` ends it."""

    def __init__(self, lines: Lines, settings: Settings) -> None:
        self.lines = lines
        self.settings = settings
        self.hello = ""
        self.extended = False
        self.mail: MailArguments | None = None
        self.asked = 0
        # As the daemon is told: each with its path, and what RCPT said of notifications.
        self.recipients: list[tuple[str, EnvelopeRecipient]] = []
        self.quit = False
        self._verb = ""

    def answer(self) -> Reply:
        """Read one command and do it."""
        self._verb = ""
        try:
            line = self.lines.command()
        except BadLine as bad:
            return bad.reply
        verb, argument = split_command(line)
        if argument is None:
            return replies.NOT_UTF8
        self._verb = verb
        known = _COMMANDS.get(verb)
        if known is None:
            return replies.NOT_OFFERED if verb in _OFFERED_ELSEWHERE else replies.UNKNOWN
        if len(line) + 2 > LINE_LIMITS.get(verb, COMMAND_LONGEST):
            return replies.LINE_TOO_LONG
        try:
            return known(self, argument)
        except EsmtpError as error:
            return error.reply

    @property
    def listing(self) -> bool:
        """Whether the last command was one of a list of recipients, of which some may well be refused."""
        return self._verb == "RCPT" and self.asked <= 2 * self.settings.max_recipients

    def reset(self) -> None:
        self.mail, self.asked, self.recipients = None, 0, []

    # --- verbs ---

    def helo(self, argument: str) -> Reply:
        return self._hello(argument, extended=False) or Reply(250, (self.settings.hostname,))

    def ehlo(self, argument: str) -> Reply:
        settings = self.settings
        words = [f"SIZE {settings.max_message_size}", "8BITMIME", "SMTPUTF8", "PIPELINING"]
        words += ["ENHANCEDSTATUSCODES", "DSN", f"LIMITS RCPTMAX={settings.max_recipients}", "HELP"]
        return self._hello(argument, extended=True) or Reply(250, (settings.hostname, *words))

    def _hello(self, argument: str, *, extended: bool) -> Reply | None:
        if not is_hello_name(argument):
            return replies.HELLO_SYNTAX
        self.reset()
        self.hello, self.extended = argument, extended
        return None

    def mail_from(self, argument: str) -> Reply:
        if not self.hello:
            return replies.HELLO_FIRST
        if self.mail is not None:
            return replies.MAIL_TWICE
        self.asked = 0
        whole, _ = self._completed(argument)
        mail = parse_mail(whole, extended=self.extended, known=PARAMETERS)
        if mail.body is Body.BINARY:
            return NO_BINARY
        if (mail.size or 0) > self.settings.max_message_size:
            return replies.TOO_LARGE
        refusal = consider_sender(mail.sender) or self._not_own(mail)
        if refusal is None:
            self.mail = mail
        return refusal or replies.SENDER_OK

    def _not_own(self, mail: MailArguments) -> Reply | None:
        settings = self.settings
        if settings.local_sender == "own":
            try:
                door.check_own(str(mail.sender or ""), settings.origin, settings.hostname)
            except door.Refused as refused:
                return said(550, "5.7.1", str(refused))
        return None

    def rcpt_to(self, argument: str) -> Reply:
        self.asked += 1
        if self.mail is None:
            return replies.MAIL_FIRST
        if len(self.recipients) >= self.settings.max_recipients:
            return replies.TOO_MANY_RECIPIENTS
        whole, bare = self._completed(argument)
        recipient = parse_rcpt(whole, smtputf8=self.mail.smtputf8, extended=self.extended)
        refusal = consider_recipient(recipient.address)
        if refusal is not None:
            return refusal
        # What such a name means is the daemon's to say: an alias, or an address at `origin`.
        self.recipients.append((bare or str(recipient.address), recipient))
        return replies.RECIPIENT_OK

    def _completed(self, argument: str) -> tuple[str, str | None]:
        """The argument with a domain behind a name that has none, and that name."""
        found = _BARE.fullmatch(argument)
        if found is None:
            return argument, None
        return f"{found[1]}{found[2]}@{self.settings.origin}{found[3]}", found[2]

    def data(self, argument: str) -> Reply:
        if argument:
            return replies.NO_ARGUMENT
        if self.mail is None:
            return replies.MAIL_FIRST
        if not self.recipients:
            return replies.NO_RECIPIENTS if self.asked else replies.RCPT_FIRST
        return replies.GO_AHEAD

    def take(self) -> Reply:
        """Read the message and hand it over; the reply to its final dot."""
        content = self.lines.message(self.settings.max_message_size)
        request = self._request()
        self.reset()
        if isinstance(content, Reply):
            return content
        fields, text = split(unified(content))
        try:
            answer = door.submit(
                self.settings.state_directory, request, joined(without_blind_copies(fields), text)
            )
        except door.Refused as refused:
            return _reply_of(str(refused), refused.exit)
        return said(250, "2.0.0", str(answer.get("text") or "Ok"))

    def _request(self) -> dict[str, object]:
        mail = self.mail
        assert mail is not None
        recipients = [path for path, _ in self.recipients]
        request = door.envelope(
            str(mail.sender) if mail.sender is not None else "",
            recipients,
            ret=mail.ret,
            envid=xtext.decode(mail.envid).decode("ascii") if mail.envid is not None else None,
            body=mail.body,
        )
        asked = [_asked(recipient) for _, recipient in self.recipients]
        if any(asked):
            request["dsn"] = asked
        if mail.smtputf8:
            request["smtputf8"] = True
        return request | {"helo": self.hello, "extended": self.extended}

    def rset(self, argument: str) -> Reply:
        if argument:
            return replies.NO_ARGUMENT
        self.reset()
        return replies.OK

    def noop(self, argument: str) -> Reply:
        return replies.OK

    def help(self, argument: str) -> Reply:
        return replies.help_with(list(_COMMANDS))

    def vrfy(self, argument: str) -> Reply:
        return replies.NOT_VERIFIED if argument else replies.VRFY_SYNTAX

    def end(self, argument: str) -> Reply:
        if argument:
            return replies.NO_ARGUMENT
        self.quit = True
        return replies.BYE


_COMMANDS: dict[str, Callable[[_Dialogue, str], Reply]] = {
    "HELO": _Dialogue.helo,
    "EHLO": _Dialogue.ehlo,
    "MAIL": _Dialogue.mail_from,
    "RCPT": _Dialogue.rcpt_to,
    "DATA": _Dialogue.data,
    "RSET": _Dialogue.rset,
    "NOOP": _Dialogue.noop,
    "HELP": _Dialogue.help,
    "VRFY": _Dialogue.vrfy,
    "QUIT": _Dialogue.end,
}


def converse(source: Source, output: BinaryIO, settings: Settings) -> int:
    """Serve one session until QUIT or the end of the input; exit code 0, or 65 after too many errors."""
    dialogue = _Dialogue(Lines(source), settings)
    errors = 0
    in_message = False
    _say(output, Reply(220, (f"{settings.hostname} ESMTP Postroad",)))
    try:
        while not dialogue.quit:
            reply = dialogue.answer()
            _say(output, reply)
            if reply is replies.GO_AHEAD:
                in_message = True
                _say(output, dialogue.take())
                in_message = False
            errors += reply.kind == 5 and not dialogue.listing
            if errors > MAX_ERRORS:
                _say(output, replies.TOO_MANY_ERRORS)
                return 65
    except Gone:
        # What was sent of a message is none.
        return 65 if in_message else 0
    return 0


def _asked(recipient: EnvelopeRecipient) -> list[object] | None:
    """NOTIFY and ORCPT, as `adapters.local_request` reads them."""
    notify = recipient.notify
    if notify is None and recipient.orcpt is None:
        return None
    if notify is None:
        return [None, recipient.orcpt]
    return [[flag.name or "" for flag in Notify if flag in notify] if notify else ["never"], recipient.orcpt]


def _reply_of(text: str, exit: int) -> Reply:
    """The daemon's own reply where it gave one, else one that says whether to try again."""
    found = _DAEMONS.fullmatch(text)
    if found is not None:
        return Reply(int(found[1]), (found[3],), found[2])
    return Reply(451, (text,), "4.3.0") if exit == door.EX_TEMPFAIL else Reply(554, (text,), "5.3.0")


def _say(output: BinaryIO, reply: Reply) -> None:
    output.write(replies.encode(reply))
    output.flush()
