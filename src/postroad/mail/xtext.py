"""xtext, the encoding of ENVID and ORCPT values (RFC 3461 4), and ORCPT itself (4.2, RFC 6533 3)."""

from __future__ import annotations

import re

from postroad.mail.printable import is_text

MAX_ENVID = 100
MAX_ORCPT = 500

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
_ADDR_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")


class XtextError(ValueError):
    """Not xtext, or not an ORCPT value; the text is printable."""


def encode(data: bytes) -> str:
    """Any octets as xtext: printable ASCII but "+" and "=" as they are, the rest as "+HH"."""
    return "".join(chr(o) if 33 <= o <= 126 and o not in b"+=" else f"+{o:02X}" for o in data)


def is_xtext(text: str) -> bool:
    """Whether `text` follows the grammar; hexadecimal digits must be upper-case, as the RFC says."""
    return _XTEXT.fullmatch(text) is not None


def decode(text: str) -> bytes:
    """The octets that xtext stands for, controls included: escape before they are shown or sent."""
    if not is_xtext(text):
        raise XtextError("not xtext (RFC 3461 section 4)")
    return _HEXCHAR.sub(lambda match: chr(int(match[1], 16)), text).encode("latin-1")


def split_orcpt(text: str, *, smtputf8: bool = False) -> tuple[str, str]:
    """ORCPT "addr-type;address" -> the type in lower case and the decoded address.

    A "utf-8" address may carry its characters as "\\x{HEX}" or, with SMTPUTF8, as
    themselves. Octets that are no UTF-8 come out as replacement characters.
    Raises XtextError.
    """
    kind, semicolon, value = text.partition(";")
    if not semicolon or not _ADDR_TYPE.fullmatch(kind) or not value:
        raise XtextError("not an original recipient (RFC 3461 section 4.2)")
    if kind.lower() != "utf-8":
        return kind.lower(), decode(value).decode("utf-8", "replace")
    if not value.isascii() and not (smtputf8 and is_text(value) and " " not in value):
        raise XtextError("an original recipient that needs SMTPUTF8")
    if value.isascii():
        value = decode(value).decode("utf-8", "replace")
    return "utf-8", _EMBEDDED.sub(_character, value)


def _character(match: re.Match[str]) -> str:
    point = int(match[1], 16)
    return chr(point) if point <= 0x10FFFF and not 0xD800 <= point <= 0xDFFF else "\N{REPLACEMENT CHARACTER}"
