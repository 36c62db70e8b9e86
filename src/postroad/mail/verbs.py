"""A command line of a client: its verb, its argument, how long it may be (RFC 5321 4.1.1, 4.5.3.1.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from postroad.mail.printable import is_text

COMMAND_LONGEST: Final = 512
"""Octets of a command with its CRLF, where no extension adds any."""
LINE_LIMITS: Final[Mapping[str, int]] = {
    # What each extension adds: SIZE 26, BODY 17, SMTPUTF8 10, AUTH 500,
    # RET and ENVID 116, REQUIRETLS 11, HOLDFOR or HOLDUNTIL 34, MT-PRIORITY 15; NOTIFY 28 and ORCPT 500.
    "MAIL": COMMAND_LONGEST + 26 + 17 + 10 + 500 + 116 + 11 + 34 + 15,
    "RCPT": COMMAND_LONGEST + 528,
    # RFC 4954 4: base64 of what a mechanism may say.
    "AUTH": 12288,
    # Eight attributes, three of them of up to 255 octets, as xtext.
    "XCLIENT": 2048,
}
NOT_OFFERED: Final = frozenset({"ETRN", "TURN", "ATRN", "SEND", "SOML", "SAML", "XCLIENT", "XFORWARD"})
"""Known verbs that are not implemented (502), where they are not."""

# What may stand in Received without changing its grammar.
_HELLO: Final = re.compile(r"[!#-'*+\-./0-9:=?A-Z\[\]^_`a-z{|}~]{1,255}")


def split_command(line: bytes) -> tuple[str, str | None]:
    """Upper-case verb and argument of a line without controls; the argument None where it is not text."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return "", None
    verb, _, argument = text.partition(" ")
    argument = argument.strip(" ")
    if not text.isascii() and not (verb.isascii() and is_text(argument)):
        # Some letters beyond ASCII have an upper case within it.
        return "", None
    return verb.upper(), argument


def is_hello_name(argument: str) -> bool:
    """Whether a client may call itself so in HELO, EHLO and LHLO: DNS is not asked (RFC 5321 4.1.4)."""
    return _HELLO.fullmatch(argument) is not None
