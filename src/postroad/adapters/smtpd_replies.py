"""What the door says, word by word, and its form on the wire (RFC 5321 4.2, RFC 2034, RFC 3463)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from postroad.mail.reply import Reply

TEXT_LONGEST = 400
"""Characters of text in one reply line; with code and CRLF well below RFC 5321's 512 octets."""

_NOT_ASCII_TEXT: Final = re.compile(r"[^ -~]")


def said(code: int, enhanced: str | None, *lines: str) -> Reply:
    return Reply(code, lines, enhanced)


# By identity: the octets of the replies below, which live as long as the process.
_wire: dict[int, bytes] = {}


def encode(reply: Reply) -> bytes:
    """A reply as octets: every line with code and enhanced code, nothing but printable ASCII in the text."""
    return _wire.get(id(reply)) or _encoded(reply)


def _encoded(reply: Reply) -> bytes:
    status = f"{reply.enhanced} " if reply.enhanced else ""
    if len(reply.lines) == 1:
        return f"{reply.code} {status}{_clean(reply.lines[0])}\r\n".encode("ascii")
    lines = [_clean(line) for line in reply.lines] or [""]
    rows = [f"{reply.code}-{status}{line}\r\n" for line in lines[:-1]]
    rows.append(f"{reply.code} {status}{lines[-1]}\r\n")
    return "".join(rows).encode("ascii")


def _clean(text: str) -> str:
    if len(text) > TEXT_LONGEST:
        text = text[:TEXT_LONGEST]
    if text.isascii() and text.isprintable():
        return text
    return _NOT_ASCII_TEXT.sub("?", text)


# The session as a whole.
BYE = said(221, "2.0.0", "Bye")
TOO_MANY_CONNECTIONS = said(421, "4.3.2", "Too many connections, try again later")
SHED = said(421, "4.3.2", "Too many connections, and others need this one, try again later")
TOO_MANY_FROM_YOU = said(421, "4.7.0", "Too many connections from your address")
NO_BALANCER = said(421, "4.7.0", "Only balancers that are named here may connect")
SHUTTING_DOWN = said(421, "4.3.2", "Shutting down, try again later")
TIMED_OUT = said(421, "4.4.2", "Timed out")
TOO_MANY_TRANSACTIONS = said(421, "4.7.0", "Too many messages in one session, connect again")
SESSION_TOO_LONG = said(421, "4.7.0", "This session has lasted too long, connect again")
TOO_MANY_OF_ACCOUNT = said(421, "4.7.0", "Too many connections of your account")
TOO_MANY_ERRORS = said(421, "4.7.0", "Too many errors")
TOO_MANY_LOGINS = said(421, "4.7.0", "Too many failed logins")
OUT_OF_STEP = said(421, "4.3.0", "Internal error, closing")
INTERNAL = said(451, "4.3.0", "Internal error, try again later")
NOT_SMTP = said(421, "4.7.0", "This is not SMTP")


def help_with(verbs: Sequence[str]) -> Reply:
    """What is honoured here and now."""
    return said(214, "2.0.0", f"Commands: {' '.join(verbs)}")


def bad_xclient(why: str) -> Reply:
    """The argument of XCLIENT is none."""
    return said(501, "5.5.4", f"Syntax: XCLIENT attribute=value...: {why}")


def bad_header(why: str) -> Reply:
    """What a balancer is told that does not begin as it must."""
    return said(421, "4.7.0", f"A PROXY header was expected: {why}")


# Any command.
OK = said(250, "2.0.0", "OK")
BARE_NEWLINE = said(500, "5.5.2", "A line ends with CR LF, not with LF alone")
CONTROLS = said(500, "5.5.2", "Control characters are not allowed")
NOT_UTF8 = said(500, "5.5.2", "Neither ASCII nor printable UTF-8")
LINE_TOO_LONG = said(500, "5.5.2", "Line too long")
UNKNOWN = said(500, "5.5.1", "Unknown command")
NOT_OFFERED = said(502, "5.5.1", "Not offered")
NO_ARGUMENT = said(501, "5.5.4", "No argument is allowed")
HELLO_SYNTAX = said(501, "5.5.4", "Syntax: EHLO hostname")
HELLO_FIRST = said(503, "5.5.1", "Send EHLO first")
VRFY_SYNTAX = said(501, "5.5.4", "Syntax: VRFY address")
NOT_VERIFIED = said(252, "2.5.0", "Not verified; mail for it will be tried")

# XCLIENT, as Postfix answers it.
NO_ACCOUNT = said(535, "5.7.8", "LOGIN names no account that is known here")
ACCOUNT_DISABLED = said(550, "5.7.13", "LOGIN names an account that is disabled")
XCLIENT_IN_TRANSACTION = said(503, "5.5.1", "Not during a mail transaction")

# LMTP (RFC 2033).
HELLO_FIRST_LMTP = said(503, "5.5.1", "Send LHLO first")
NO_RECIPIENTS_LMTP = said(503, "5.5.1", "No valid recipients")

# STARTTLS (RFC 3207).
TLS_READY = said(220, "2.0.0", "Ready to start TLS")
TLS_ON = said(503, "5.5.1", "TLS is already on")
TLS_UNAVAILABLE = said(454, "4.7.0", "TLS is not available")
TLS_PIPELINED = said(421, "4.7.0", "Nothing may follow STARTTLS before TLS is on")

# AUTH (RFC 4954).
LOGGED_IN = said(235, "2.7.0", "Authenticated")
LOGIN_INVALID = said(535, "5.7.8", "Name or password is wrong")
LOGIN_CANCELLED = said(501, "5.7.0", "Cancelled")
LOGIN_NOT_DECODED = said(501, "5.5.2", "Not base64")
EXCHANGE_TOO_LONG = said(500, "5.5.6", "Authentication exchange line is too long")
TOO_MANY_GUESSES = said(454, "4.7.0", "Too many failed logins, try again later")
LOGIN_SYNTAX = said(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]")
LOGIN_UNAVAILABLE = said(454, "4.7.0", "Authentication is not available now")
LOGIN_TWICE = said(503, "5.5.1", "Already authenticated")
LOGIN_IN_TRANSACTION = said(503, "5.5.1", "Not during a mail transaction")
MECHANISM_UNKNOWN = said(504, "5.5.4", "Mechanism not offered")
ENCRYPTION_REQUIRED = said(538, "5.7.11", "Encryption required for authentication")

# The mail transaction.
STARTTLS_FIRST = said(530, "5.7.0", "Must issue a STARTTLS command first")
LOGIN_FIRST = said(530, "5.7.0", "Authentication required")
RELAY_DENIED = said(550, "5.7.1", "Relaying denied")
MAIL_TWICE = said(503, "5.5.1", "A transaction is open already")
MAIL_FIRST = said(503, "5.5.1", "Send MAIL first")
RCPT_FIRST = said(503, "5.5.1", "Send RCPT first")
NO_RECIPIENTS = said(554, "5.5.1", "No valid recipients")
SENDER_OK = said(250, "2.1.0", "Sender OK")
SENDER_UNQUALIFIED = said(554, "5.1.8", "Sender address: the domain needs to be a full name")
RECIPIENT_UNQUALIFIED = said(554, "5.1.2", "Recipient address: the domain needs to be a full name")
RECIPIENT_OK = said(250, "2.1.5", "Recipient OK")
TOO_MANY_RECIPIENTS = said(452, "4.5.3", "Too many recipients")
BDAT_SYNTAX = said(501, "5.5.4", "Syntax: BDAT size [LAST]")
BDAT_AFTER_ERROR = said(503, "5.5.1", "The message was refused already; send RSET")
DATA_AFTER_BDAT = said(503, "5.5.1", "Not DATA and BDAT in one transaction; send RSET")
RCPT_AFTER_BDAT = said(503, "5.5.1", "Not after BDAT; send RSET")
BINARY_BY_DATA = said(503, "5.5.1", "BODY=BINARYMIME is sent with BDAT")
TOO_MANY_CHUNKS = said(421, "4.7.0", "Too many small chunks")
BARE_NEWLINE_IN_HEADER = said(554, "5.6.0", "The header has a CR or LF that stands alone")
GO_AHEAD = said(354, None, "End data with <CR><LF>.<CR><LF>")
TOO_LARGE = said(552, "5.3.4", "Message too large")
FAR_TOO_LARGE = said(421, "4.3.0", "Message far too large, closing")
HEADER_TOO_LARGE = said(552, "5.3.4", "Header too large")
BARE_NEWLINE_IN_DATA = said(554, "5.6.0", "Message has a CR or LF that stands alone")
NUL_IN_DATA = said(554, "5.6.0", "Message has a NUL octet")
STORAGE_FULL = said(452, "4.3.1", "Insufficient system storage")

_wire.update({id(reply): _encoded(reply) for reply in list(globals().values()) if isinstance(reply, Reply)})
