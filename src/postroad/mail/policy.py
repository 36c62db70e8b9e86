"""What a content policy is shown, and what it may answer.

A hook is any callable that takes a `View` and returns a `Verdict`, or None for "as it is":

    from postroad.mail.policy import Verdict, View, hold, refuse

    def check(view: View) -> Verdict | None:
        if view.account == "newsletter" and view.header("List-Unsubscribe") is None:
            return refuse("Newsletters need List-Unsubscribe")
        return None
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final

from postroad.mail.address import AddressError, parse_address
from postroad.mail.admission import consider_recipient
from postroad.mail.completion import DROPPED
from postroad.mail.folding import CannotFold, encoded_words, folded_field
from postroad.mail.frozen import dataclass
from postroad.mail.headers import CRLF, fields
from postroad.mail.message import Envelope, EnvelopeRecipient, Instant, Lane, Peer
from postroad.mail.mime import WINDOW, Octets, pieces
from postroad.mail.reply import Reply

_NAME = re.compile(r"[!-9;-~]{1,76}")
# Ours to write, and never a policy's.
_OURS: Final = DROPPED | {b"received", b"dkim-signature"}
MAX_HEADERS: Final = 100


@dataclass(frozen=True, slots=True)
class View:
    """A submission as it would be sent, without our trace field: completed and encoded, not yet signed.

    `size` counts the octets of head and body. The body is read by `body` (which blocks:
    for hooks that are plain functions) or `chunks` (for those that are async).
    """

    id: str
    envelope: Envelope
    account: str
    lane: Lane
    peer: Peer
    received_at: Instant
    head: bytes
    size: int
    opened: Callable[[], AbstractContextManager[Octets]]
    slice: Callable[[int, int], Awaitable[bytes]]

    def headers(self) -> list[tuple[str, str]]:
        """Names and values in order, unfolded; octets that are no UTF-8 as U+FFFD."""
        return [
            (
                field.raw.partition(b":")[0].rstrip().decode("latin-1"),
                field.raw.partition(b":")[2].replace(CRLF, b"").strip().decode("utf-8", "replace"),
            )
            for field in fields(self.head)
            if field.name
        ]

    def header(self, name: str) -> str | None:
        """The value of the first field of this name, in whatever case."""
        wanted = name.lower()
        return next((value for found, value in self.headers() if found.lower() == wanted), None)

    def body(self) -> Iterator[bytes]:
        with self.opened() as octets:
            yield from pieces(octets, 0, len(octets))

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, self.size - len(self.head), WINDOW):
            yield await self.slice(start, start + WINDOW)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy wants; the empty one lets the message pass as it is.

    `refusal`: the client is told this, 4yz or 5yz, and nothing else counts. `hold`: the
    message is taken and held in the queue, for this reason. `recipients` take the place of
    the envelope's. `remove`: header fields of these names go; then `add` comes on top.
    """

    refusal: Reply | None = None
    hold: str | None = None
    recipients: tuple[str, ...] | None = None
    remove: tuple[str, ...] = ()
    add: tuple[tuple[str, str], ...] = ()


PASS: Final = Verdict()


def refuse(text: str, code: int = 550, enhanced: str = "5.7.1") -> Verdict:
    """Refuse for good, or for now with a code from 400 on and a status of class 4."""
    return Verdict(refusal=Reply(code, (text,), enhanced))


def hold(reason: str) -> Verdict:
    return Verdict(hold=reason)


class BadVerdict(ValueError):
    """A verdict that cannot be carried out; the text is printable and says why."""


def checked(verdict: object) -> Verdict:
    """What a policy answered, if it is a verdict; BadVerdict."""
    if verdict is None:
        return PASS
    if not isinstance(verdict, Verdict):
        raise BadVerdict(f"answered with {type(verdict).__name__}, not a Verdict")
    refusal = verdict.refusal
    if refusal is not None:
        text, enhanced = refusal.text, refusal.enhanced or ""
        if refusal.kind not in (4, 5) or not (text.isascii() and text.isprintable() and len(text) <= 400):
            raise BadVerdict("refuses with a reply that is not 4yz or 5yz and short printable ASCII")
        if not re.fullmatch(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}", enhanced) or int(enhanced[0]) != refusal.kind:
            raise BadVerdict("refuses with an enhanced code that does not fit")
    if verdict.hold is not None and not (verdict.hold and verdict.hold.isprintable()):
        raise BadVerdict("holds without a printable reason")
    return verdict


def with_headers(head: bytes, verdict: Verdict, *, smtputf8: bool) -> bytes:
    """The head after the verdict. Raises BadVerdict for a header that must not be written."""
    if len(verdict.add) > MAX_HEADERS:
        raise BadVerdict(f"adds more than {MAX_HEADERS} headers")
    gone = {_name(name).lower() for name in verdict.remove}
    added = b"".join(_field(_name(name), value, smtputf8=smtputf8) for name, value in verdict.add)
    if not gone:
        return added + head
    found = fields(head)
    kept = b"".join(field.raw for field in found if field.name not in gone)
    return added + kept + head[sum(len(field.raw) for field in found) :]


def _name(name: str) -> bytes:
    if not _NAME.fullmatch(name):
        raise BadVerdict(f"names a header {ascii(name)[:60]}")
    octets = name.encode("ascii")
    if octets.lower() in _OURS:
        raise BadVerdict(f"would write {name}")
    return octets


def _field(name: bytes, value: str, *, smtputf8: bool) -> bytes:
    # A value may come folded.
    value = re.sub(r"\r?\n(?=[ \t])", "", value)
    if any((character < " " and character != "\t") or character == "\x7f" for character in value):
        raise BadVerdict(f"gives {name.decode()} a value with control characters")
    octets = value.encode("utf-8", "replace")
    if not octets.isascii() and not smtputf8:
        octets = b" ".join(encoded_words(value))
    try:
        return folded_field(name, octets)
    except CannotFold as cannot:
        raise BadVerdict(f"adds a header that cannot be folded, {cannot.name}") from None


def with_recipients(envelope: Envelope, recipients: tuple[str, ...], most: int) -> Envelope:
    """The envelope for these; who was in it keeps NOTIFY and ORCPT. Raises BadVerdict."""
    if not 0 < len(recipients) <= most:
        raise BadVerdict(f"leaves {len(recipients)} recipients; refuse or hold the message instead")
    known = {str(to.address): to for to in envelope.recipients}
    made: dict[str, EnvelopeRecipient] = {}
    for text in recipients:
        try:
            address = parse_address(text, smtputf8=envelope.smtputf8)
        except AddressError as error:
            raise BadVerdict(f"names a recipient that is none: {error}") from None
        if consider_recipient(address) is not None:
            raise BadVerdict(f"names a recipient that is none: {address}")
        made.setdefault(str(address), known.get(str(address)) or EnvelopeRecipient(address))
    return replace(envelope, recipients=tuple(made.values()))
