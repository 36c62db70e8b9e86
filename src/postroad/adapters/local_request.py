"""What a local program asks, read from one line of JSON and believed in nothing.

Everything here is checked for type and size: the socket is open to every user of
the machine.
"""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Mapping
from typing import Any, TypeVar

from postroad.mail import xtext
from postroad.mail.address import Address, AddressError, parse_address
from postroad.mail.data import has_long_line
from postroad.mail.frozen import dataclass
from postroad.mail.headers import split
from postroad.mail.lifecycle import State
from postroad.mail.local_names import LocalNames
from postroad.mail.message import Body, Content, Envelope, EnvelopeRecipient, Notify, Peer, Ret
from postroad.mail.operations import check_reason
from postroad.mail.printable import is_text
from postroad.mail.reply import Reply
from postroad.ports.queue import QueueFilter

MAX_WORD = 2048
MAX_LIST = 100_000
MAX_INSTANT = 1e12
OPERATIONS = ("retry", "hold", "release", "delete", "bounce")

_NOTIFY = {"success": Notify.SUCCESS, "failure": Notify.FAILURE, "delay": Notify.DELAY}
_Word = TypeVar("_Word", Body, Ret)
_OPEN_STATES = {state.name.lower() for state in State if state.is_open}


class BadRequest(Exception):
    """A request that nobody can serve; `exit` is of sysexits.h."""

    def __init__(self, text: str, exit: int = os.EX_PROTOCOL) -> None:
        super().__init__(text)
        self.exit = exit


class Unacceptable(Exception):
    """A submission that is refused before its content was read; `reply` says why."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.reply = Reply(code, (text,), enhanced)


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """An envelope and the announced size of the content in octets, line ends as they are.

    `gateway`: nothing is to be completed; `later`: no attempt before a queue run; `tag`: a
    word for the log. `helo`: how a client of `sendmail -bs` called itself, `protocol` what it spoke.
    """

    envelope: Envelope
    size: int
    follow: bool
    gateway: bool = False
    later: bool = False
    tag: str | None = None
    helo: str = ""
    protocol: str = "local"

    def peer(self, uid: int) -> Peer:
        return Peer(f"userid {uid}", helo=self.helo, protocol=self.protocol, tag=self.tag)


def parse_request(line: bytes) -> dict[str, Any]:
    """One line as a JSON object with a textual "verb"; BadRequest otherwise."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRequest("the request is not JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("verb"), str):
        raise BadRequest('the request is not an object with a "verb"')
    return request


def queue_filter(request: Mapping[str, Any]) -> QueueFilter:
    """The "filter" of an operation. One that names nothing needs "all": true."""
    given = request.get("filter") or {}
    if not isinstance(given, dict):
        raise BadRequest('"filter" is not an object')
    state = _optional_word(given, "state")
    if state is not None and state not in _OPEN_STATES:
        raise BadRequest(f"no such state; there are {', '.join(sorted(_OPEN_STATES))}", os.EX_USAGE)
    wanted = QueueFilter(
        ids=tuple(_words(given, "ids")),
        to=_optional_word(given, "to"),
        sender=_optional_word(given, "sender"),
        domain=_optional_word(given, "domain"),
        state=state,
        older_than=_instant(given),
        sites=tuple(_words(given, "sites")),
    )
    if wanted == QueueFilter() and request.get("all") is not True:
        raise BadRequest('nothing is named; the whole queue needs "all"', os.EX_USAGE)
    return wanted


def hold_reason(request: Mapping[str, Any]) -> str:
    """The "reason" of a hold, "" where none is given."""
    reason = _optional_word(request, "reason") or ""
    try:
        check_reason(reason)
    except ValueError as wrong:
        raise BadRequest(str(wrong), os.EX_USAGE) from None
    return reason


def submit_request(
    request: Mapping[str, Any], origin: str, max_size: int, names: LocalNames
) -> SubmitRequest:
    """The envelope of a submission; Unacceptable where a mail server would say no.

    `origin` completes a sender without a domain, `names` say what completes a recipient.
    """
    size = request.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise BadRequest('"size" is not a number of octets')
    if size > max_size:
        raise Unacceptable(552, "5.3.4", f"Message of {size} octets; at most {max_size} are taken")
    sender_text = word(request, "sender")
    sender = _address(sender_text, origin, "5.1.7") if sender_text not in ("", "<>") else None
    texts = _words(request, "recipients")
    recipients = tuple(
        EnvelopeRecipient(_address(text, domain, "5.1.3"), notify, orcpt)
        for text, (notify, orcpt) in zip(texts, _asked(request, len(texts)), strict=True)
        for domain in (origin if "@" in text else names.domain_for(text, origin),)
    )
    if not recipients:
        raise Unacceptable(554, "5.5.1", "No recipients")
    addresses = [recipient.address for recipient in recipients] + ([sender] if sender else [])
    envelope = Envelope(
        sender=sender,
        recipients=recipients,
        body=_body(request),
        smtputf8=request.get("smtputf8") is True or not all(address.is_ascii for address in addresses),
        ret=_member(request, "ret", Ret),
        envid=_envid(request),
    )
    return SubmitRequest(
        envelope,
        size,
        request.get("follow") is True,
        request.get("gateway") is True,
        request.get("later") is True,
        _optional_word(request, "tag"),
        *_spoken(request, envelope.smtputf8),
    )


def _spoken(request: Mapping[str, Any], smtputf8: bool) -> tuple[str, str]:
    """How a client that spoke SMTP called itself, and the word of RFC 3848 for what it spoke."""
    helo = _optional_word(request, "helo")
    if not helo:
        return "", "local"
    if request.get("extended") is not True:
        return helo, "SMTP"
    return helo, "UTF8SMTP" if smtputf8 else "ESMTP"


def canonical_content(raw: bytes) -> Content:
    """A program's message with CRLF line ends; a bare LF ends a line, and the last line gets its end.

    A bare CR is a space, as at the other doors, but in a text that has no other line ends. What was
    translated twice (CR CR LF) is one end. A NUL, which no receiver need take (RFC 5321 4.5.2), is a
    space, too: programs that mail what they got know nothing better to do, and ignore a refusal.
    """
    if b"\0" in raw:
        raw = raw.replace(b"\0", b" ")
    if raw.count(b"\r\n") != raw.count(b"\n") or raw.count(b"\r\n") != raw.count(b"\r"):
        raw = raw.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n")
        raw = raw.replace(b"\r", b" " if b"\n" in raw else b"\n").replace(b"\n", b"\r\n")
    if raw and not raw.endswith(b"\r\n"):
        raw += b"\r\n"
    head, body = split(raw)
    dotted = raw.startswith(b".") or b"\n." in raw
    return Content(head, body, dotted, not raw.isascii(), has_long_line(raw))


def _address(text: str, origin: str, enhanced: str) -> Address:
    try:
        return parse_address(text, smtputf8=True, default_domain=origin)
    except AddressError as error:
        raise Unacceptable(553, enhanced, f"Bad address: {error}") from None


def _asked(request: Mapping[str, Any], count: int) -> list[tuple[Notify | None, str | None]]:
    """NOTIFY and ORCPT of each: "notify" for all, or "dsn" with [notify, orcpt] or null for each."""
    given = request.get("dsn")
    if given is None:
        return [(_notify(request), None)] * count
    if not isinstance(given, list) or len(given) != count:
        raise BadRequest('"dsn" is not a list as long as the recipients')
    asked: list[tuple[Notify | None, str | None]] = []
    for each in given:
        if each is None:
            asked.append((None, None))
            continue
        if not isinstance(each, list) or len(each) != 2:
            raise BadRequest('"dsn" has an item that is not [notify, orcpt]')
        pair = {"notify": each[0], "orcpt": each[1]}
        asked.append((_notify(pair), _orcpt(pair)))
    return asked


def _orcpt(request: Mapping[str, Any]) -> str | None:
    """As it was written, still encoded (RFC 3461 4.2)."""
    orcpt = _optional_word(request, "orcpt")
    if orcpt is None:
        return None
    try:
        xtext.split_orcpt(orcpt, smtputf8=True)
    except xtext.XtextError as error:
        raise Unacceptable(501, "5.5.4", f"ORCPT: {error}") from None
    if len(orcpt) > xtext.MAX_ORCPT:
        raise Unacceptable(501, "5.5.4", f"ORCPT is longer than {xtext.MAX_ORCPT} characters")
    return orcpt


def check_own(wanted: SubmitRequest, uid: int, origin: str, names: LocalNames) -> None:
    """Unacceptable unless the sender is null, or the user by his login in a domain of ours. Blocks."""
    sender = wanted.envelope.sender
    if sender is None:
        return
    try:
        login = pwd.getpwuid(uid).pw_name
    except KeyError:
        login = f"uid-{uid}"
    if sender.local.casefold() != login.casefold() or sender.domain not in names.domains | {origin}:
        raise Unacceptable(
            550, "5.7.1", f"{login} may send as {login}@{origin} alone (submission.local_sender)"
        )


def _notify(request: Mapping[str, Any]) -> Notify | None:
    if request.get("notify") is None:
        return None
    words = [word.lower() for word in _words(request, "notify")]
    if words == ["never"]:
        return Notify.NEVER
    if not words or any(word not in _NOTIFY for word in words):
        raise Unacceptable(501, "5.5.4", "NOTIFY is never, or a list of success, failure, delay")
    flags = Notify.NEVER
    for word in words:
        flags |= _NOTIFY[word]
    return flags


def _envid(request: Mapping[str, Any]) -> str | None:
    envid = _optional_word(request, "envid")
    if envid is None:
        return None
    if not envid.isascii() or not envid.isprintable() or len(envid) > xtext.MAX_ENVID:
        raise Unacceptable(501, "5.5.4", f"ENVID is at most {xtext.MAX_ENVID} printable ASCII characters")
    return xtext.encode(envid.encode("ascii"))


def _member(request: Mapping[str, Any], key: str, kind: type[_Word]) -> _Word | None:
    word = _optional_word(request, key)
    if word is None:
        return None
    try:
        return kind(word.upper())
    except ValueError:
        known = " or ".join(member.value for member in kind)
        raise Unacceptable(501, "5.5.4", f"{key.upper()} is {known}") from None


def _body(request: Mapping[str, Any]) -> Body | None:
    """Not BINARYMIME: what comes by this door is text, and its line ends are mended."""
    body = _member(request, "body", Body)
    if body is Body.BINARY:
        raise Unacceptable(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
    return body


def word(given: Mapping[str, Any], key: str) -> str:
    """A text of the request; BadRequest where it is none, or not printable."""
    found = given.get(key)
    if not _is_word(found):
        raise BadRequest(f'"{key}" is not a printable text of at most {MAX_WORD} characters')
    return str(found)


def _optional_word(given: Mapping[str, Any], key: str) -> str | None:
    return None if given.get(key) is None else word(given, key)


def _words(given: Mapping[str, Any], key: str) -> list[str]:
    words = given.get(key, [])
    if not isinstance(words, list) or len(words) > MAX_LIST:
        raise BadRequest(f'"{key}" is not a list, or too long a one')
    if not all(map(_is_word, words)):
        raise BadRequest(f'"{key}" has an item that is not a printable text of at most {MAX_WORD} characters')
    return words


def _is_word(value: object) -> bool:
    # Lone surrogates, which JSON can spell, are not printable either.
    return isinstance(value, str) and len(value) <= MAX_WORD and is_text(value)


def _instant(given: Mapping[str, Any]) -> float | None:
    at = given.get("older_than")
    if at is None:
        return None
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= MAX_INSTANT:
        raise BadRequest('"older_than" is not a time in seconds since 1970')
    return float(at)
