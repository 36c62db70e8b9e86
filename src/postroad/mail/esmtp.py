"""The arguments of MAIL and RCPT: path and ESMTP parameters (RFC 5321, 1870, 6152, 6531, 4954, 3461, 3030).

Those that ask something of the message's whole way are read in `handling`.

Input is one command's argument as text without control characters. Whatever is
wrong raises `EsmtpError` with the reply to give; no reply repeats what the
client said.
"""

from __future__ import annotations

import re

from postroad.mail import xtext
from postroad.mail.address import USUAL, Address, AddressError, parse_path, usual_address
from postroad.mail.frozen import dataclass
from postroad.mail.handling import PRIORITY, Asks, HandlingError, parse_asks
from postroad.mail.message import Body, EnvelopeRecipient, Notify, Ret
from postroad.mail.printable import is_text
from postroad.mail.reply import Reply


class EsmtpError(ValueError):
    """A command that cannot be obeyed; `reply` says why to the client."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.reply = Reply(code, (text,), enhanced)


@dataclass(frozen=True, slots=True)
class MailArguments:
    """MAIL FROM. `sender` None is the null reverse-path; `size` as declared, in octets.

    `envid` is xtext exactly as received. An AUTH parameter (RFC 4954 5) is checked and dropped:
    who submits is known from the login alone.
    """

    sender: Address | None
    size: int | None = None
    body: Body | None = None
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None
    asks: Asks | None = None


MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "SMTPUTF8", "AUTH", "RET", "ENVID"})
RCPT_PARAMETERS = frozenset({"NOTIFY", "ORCPT"})

_PATH = re.compile(r'<(?:[^<>"\\]|"(?:[^"\\]|\\.)*"|\\.)*>')
# As most clients write these commands. Whatever is written otherwise, or is wrong, takes the long way.
_USUAL_MAIL = re.compile(
    rf"FROM:<{USUAL}>((?: (?:SIZE|size)=([0-9]{{1,20}}))?(?: (?:BODY|body)=(7BIT|8BITMIME))?)"
)
_USUAL_RCPT = re.compile(rf"TO:<{USUAL}>")
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_SIZE = re.compile(r"[0-9]{1,20}")


def parse_mail(
    argument: str, *, extended: bool = True, known: frozenset[str] = MAIL_PARAMETERS
) -> MailArguments:
    """The argument of MAIL, "FROM:<path> [parameters]". `extended` False (HELO): parameters are refused.

    `known` are the parameters of what EHLO offered, upper-case.
    """
    usual = _USUAL_MAIL.fullmatch(argument)
    if usual is not None:
        local, domain, given, size, body = usual.groups()
        address = usual_address(local, domain)
        if address is not None and not given:
            return MailArguments(address)
        if address is not None and extended:
            return MailArguments(address, int(size) if size else None, Body(body) if body else None)
    return _parse_mail(argument, extended, known)


def _parse_mail(argument: str, extended: bool, known: frozenset[str]) -> MailArguments:
    path, parameters = _split("FROM:", argument, known, extended)
    smtputf8 = _flag(parameters, "SMTPUTF8")
    sender = _address(path, smtputf8, "5.1.7")
    if not parameters:
        return MailArguments(sender)
    _check_auth(parameters)
    return MailArguments(
        sender,
        size=_size(parameters["SIZE"]) if "SIZE" in parameters else None,
        body=_body(parameters),
        smtputf8=smtputf8,
        ret=_ret(parameters),
        envid=_envid(parameters["ENVID"]) if "ENVID" in parameters else None,
        asks=_asks(parameters),
    )


def parse_rcpt(argument: str, *, smtputf8: bool = False, extended: bool = True) -> EnvelopeRecipient:
    """The argument of RCPT, "TO:<path> [parameters]"; the null path is no recipient."""
    usual = _USUAL_RCPT.fullmatch(argument)
    if usual is not None and (plain := usual_address(usual[1], usual[2])) is not None:
        return EnvelopeRecipient(plain)
    path, parameters = _split("TO:", argument, RCPT_PARAMETERS, extended)
    # RFC 5321 4.1.1.3: the postmaster of this machine comes without a domain.
    address = _address(path, smtputf8, "5.1.3", default_domain="localhost")
    if address is None:
        raise EsmtpError(501, "5.1.3", "The null address is no recipient")
    return EnvelopeRecipient(
        address,
        _notify(parameters["NOTIFY"]) if "NOTIFY" in parameters else None,
        _orcpt(parameters["ORCPT"], smtputf8) if "ORCPT" in parameters else None,
    )


def _split(
    keyword: str, argument: str, known: frozenset[str], extended: bool
) -> tuple[str, dict[str, str | None]]:
    """Path and parameters by upper-case name. A space after the colon is common, and harmless."""
    verb = "MAIL" if keyword == "FROM:" else "RCPT"
    if argument[: len(keyword)].upper() != keyword:
        raise EsmtpError(501, "5.5.4", f"Syntax: {verb} {keyword}<address>")
    rest = argument[len(keyword) :].lstrip(" ")
    match = _PATH.match(rest)
    if match is None or rest[match.end() : match.end() + 1] not in ("", " "):
        raise EsmtpError(501, "5.5.4", f"Syntax: {verb} {keyword}<address>")
    words = rest[match.end() :].split()
    if words and not extended:
        raise EsmtpError(555, "5.5.4", "Parameters need EHLO")
    return match[0], _parameters(words, known)


def _parameters(words: list[str], known: frozenset[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not _KEYWORD.fullmatch(name) or (equals and not value):
            raise EsmtpError(501, "5.5.4", "A parameter is malformed")
        name = name.upper()
        if name not in known:
            raise EsmtpError(555, "5.5.4", "A parameter is not recognised or not implemented here")
        if name in found:
            # RFC 6710 4.1 and RFC 4865 4.2 each name the code for theirs.
            raise EsmtpError(501, "5.5.2" if name == PRIORITY else "5.5.4", f"{name} is given twice")
        if not word.isascii() and name != "ORCPT":
            raise EsmtpError(501, "5.5.4", f"{name} takes ASCII")
        found[name] = value if equals else None
    return found


def _address(path: str, smtputf8: bool, enhanced: str, default_domain: str | None = None) -> Address | None:
    if not smtputf8 and not path.isascii():
        raise EsmtpError(553, "5.6.7", "An address that is not ASCII needs SMTPUTF8")
    try:
        return parse_path(path, smtputf8=smtputf8, default_domain=default_domain)
    except AddressError as error:
        raise EsmtpError(553, enhanced, f"Bad address: {error}") from None


def _size(value: str | None) -> int:
    if value is None or not _SIZE.fullmatch(value):
        raise EsmtpError(501, "5.5.4", "SIZE is a number of octets")
    return int(value)


def _flag(parameters: dict[str, str | None], name: str) -> bool:
    if parameters.get(name) is not None:
        raise EsmtpError(501, "5.5.4", f"{name} takes no value")
    return name in parameters


def _body(parameters: dict[str, str | None]) -> Body | None:
    if "BODY" not in parameters:
        return None
    try:
        return Body((parameters["BODY"] or "").upper())
    except ValueError:
        raise EsmtpError(501, "5.5.4", "BODY is 7BIT, 8BITMIME or BINARYMIME") from None


def _asks(parameters: dict[str, str | None]) -> Asks | None:
    try:
        return parse_asks(parameters)
    except HandlingError as error:
        raise EsmtpError(501, error.enhanced, str(error)) from None


def _ret(parameters: dict[str, str | None]) -> Ret | None:
    if "RET" not in parameters:
        return None
    try:
        return Ret((parameters["RET"] or "").upper())
    except ValueError:
        raise EsmtpError(501, "5.5.4", "RET is FULL or HDRS") from None


def _check_auth(parameters: dict[str, str | None]) -> None:
    value = parameters.get("AUTH", "<>")
    if value is None or (value != "<>" and _printable(value) is None):
        raise EsmtpError(501, "5.5.4", "AUTH is xtext or <>")


def _envid(value: str | None) -> str:
    decoded = _printable(value or "")
    if value is None or decoded is None or len(decoded) > xtext.MAX_ENVID:
        raise EsmtpError(501, "5.5.4", f"ENVID is at most {xtext.MAX_ENVID} printable characters as xtext")
    return value


def _notify(value: str | None) -> Notify:
    words = (value or "").upper().split(",")
    if words == ["NEVER"]:
        return Notify.NEVER
    flags = Notify.NEVER
    for word in words:
        if word not in ("SUCCESS", "FAILURE", "DELAY"):
            raise EsmtpError(501, "5.5.4", "NOTIFY is NEVER, or a list of SUCCESS, FAILURE, DELAY")
        flags |= Notify[word]
    return flags


def _orcpt(value: str | None, smtputf8: bool) -> str:
    try:
        if value is not None and len(value) <= xtext.MAX_ORCPT:
            _, address = xtext.split_orcpt(value, smtputf8=smtputf8)
            if is_text(address):
                return value
    except xtext.XtextError:
        pass
    raise EsmtpError(501, "5.5.4", "ORCPT is an address type, a semicolon and an address as xtext")


def _printable(text: str) -> str | None:
    """What xtext stands for, or None where it is no xtext or hides what is not printable ASCII."""
    try:
        decoded = xtext.decode(text).decode("ascii")
    except (xtext.XtextError, UnicodeDecodeError):
        return None
    return decoded if decoded.isprintable() else None
