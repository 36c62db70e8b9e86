"""What is wrong with a header as a client hands it in, each with a name that stays, and its cure.

| name | what it finds |
|---|---|
| missing-from | no From; the envelope sender is put in its place |
| repeated-header | a field that may stand once stands twice (RFC 5322 3.6) |
| bad-date | a Date that is none |
| bad-address-list | a field of addresses that holds something else |
| from-not-signed | an author whose domain no DKIM key can sign for |
| no-list-unsubscribe | bulk mail without List-Unsubscribe |
| no-one-click | bulk mail without List-Unsubscribe-Post and an https address (RFC 8058) |
| raw-8bit-header | octets above 127 without SMTPUTF8 |
| obsolete-folding | a folded line of nothing but white space, or white space before a colon (RFC 5322 4) |
| long-line | a line of more than 998 octets |
| broken-header | a line that is no field ends the header |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from postroad.mail.address_lists import list_fault
from postroad.mail.data import LONG_LINE, has_long_line
from postroad.mail.dates import date_fault
from postroad.mail.frozen import dataclass
from postroad.mail.headers import CRLF, Field, fields, from_domain
from postroad.mail.mailboxes import LONGEST
from postroad.mail.message import Content, Lane
from postroad.mail.printable import one_line
from postroad.mail.reply import Reply

MOST: Final = 20
_ONCE: Final = frozenset(
    b"date from sender reply-to to cc bcc message-id in-reply-to references subject mime-version".split()
    + b"content-type content-transfer-encoding list-unsubscribe list-unsubscribe-post".split()
)
_ADDRESSES: Final = {
    b"from": None,
    b"sender": 1,
    b"reply-to": None,
    b"to": None,
    b"cc": None,
    b"resent-from": None,
    b"resent-sender": 1,
    b"resent-to": None,
    b"resent-cc": None,
}
_DATES: Final = frozenset((b"date", b"resent-date"))
_BROKEN, _POLICY, _UNSIGNED = "5.6.0", "5.7.1", "5.7.20"


class Finding(NamedTuple):
    """One thing that is wrong: its name, the header it is in, what and its cure, the status of a refusal."""

    name: str
    header: str
    text: str
    status: str = _BROKEN

    def __str__(self) -> str:
        return f"{self.name}: {self.header} {self.text}"


@dataclass(frozen=True, slots=True)
class LintFacts:
    """What the header is judged by. `signs`: whether a DKIM key signs for a From domain; None: no keys."""

    lane: Lane = Lane.NORMAL
    smtputf8: bool = False
    signs: Callable[[str], bool] | None = None


def lint(content: Content, facts: LintFacts) -> list[Finding]:
    """All that is wrong with the header of a submission, `MOST` at most, in no order that matters."""
    found = fields(content.head)
    names = [field.name for field in found]
    made: list[Finding] = []
    for finding in _findings(content, found, names, facts):
        made.append(finding)
        if len(made) == MOST:
            break
    return made


def refusal(findings: list[Finding]) -> Reply:
    """The reply that refuses a message for the first of its findings."""
    first = findings[0]
    return Reply(550, (one_line(f"{first.header} {first.text} ({first.name})", 400),), first.status)


def _findings(
    content: Content, found: list[Field], names: list[bytes], facts: LintFacts
) -> Iterator[Finding]:
    if b"from" not in names:
        yield Finding("missing-from", "From", "is missing; add it with the address of the author")
    if len(set(names)) != len(names):
        for name in sorted(_ONCE.intersection(names)):
            if names.count(name) > 1:
                yield Finding("repeated-header", _shown(name), "stands more than once; send one")
    left = LONGEST
    for field in found:
        yield from _in_field(field, facts)
        if field.name in _ADDRESSES:
            left -= len(field.raw)
            if left >= 0:
                yield from _in_list(field)
            elif field.name == b"from":
                yield Finding("bad-address-list", "From", f"goes beyond {LONGEST} octets; shorten it")
    if content.long_lines and not has_long_line(content.head):
        yield Finding(
            "long-line", "The body", f"has a line of more than {LONG_LINE} octets; encode that part"
        )
    if found and content.body and not content.head.endswith(CRLF + CRLF):
        yield Finding(
            "broken-header", "The header", "ends at a line that is no field; put an empty line there"
        )
    yield from _about_policy(content.head, found, names, facts)


def _in_field(field: Field, facts: LintFacts) -> Iterator[Finding]:
    name, raw = field
    if not facts.smtputf8 and not raw.isascii():
        yield Finding("raw-8bit-header", _shown(name), "has octets above 127; encode them (RFC 2047)")
    if has_long_line(raw):
        yield Finding("long-line", _shown(name), f"has a line of more than {LONG_LINE} octets; fold it")
    if raw.count(CRLF) > 1 and any(not line.strip() for line in raw.removesuffix(CRLF).split(CRLF)):
        yield Finding("obsolete-folding", _shown(name), "has a line of nothing but white space; leave it out")
    elif raw[len(name) : len(name) + 1] in (b" ", b"\t"):
        yield Finding("obsolete-folding", _shown(name), "has white space before its colon; leave it out")
    if name in _DATES:
        fault = date_fault(_text(raw))
        if fault is not None:
            yield Finding("bad-date", _shown(name), f"{fault}; leave it out or write it right")


def _in_list(field: Field) -> Iterator[Finding]:
    name, raw = field
    fault = list_fault(_text(raw), most=_ADDRESSES[name])
    if fault is not None:
        yield Finding("bad-address-list", _shown(name), f"{fault}; write addresses, parted by commas")


def _about_policy(head: bytes, found: list[Field], names: list[bytes], facts: LintFacts) -> Iterator[Finding]:
    if facts.signs is not None:
        domain = from_domain(head)
        if domain is not None and not facts.signs(domain) and not _signed_by(found, domain):
            yield Finding(
                "from-not-signed",
                "From",
                f"names {domain}, for which there is no DKIM key; use a domain that has one",
                _UNSIGNED,
            )
    if facts.lane is not Lane.BULK:
        return
    if b"list-unsubscribe" not in names:
        yield Finding(
            "no-list-unsubscribe", "List-Unsubscribe", "is missing in bulk mail; add it (RFC 8058)", _POLICY
        )
        return
    values = {field.name: field.raw.lower() for field in found}
    one_click = b"list-unsubscribe=one-click" in values.get(b"list-unsubscribe-post", b"")
    if not one_click or b"<https:" not in values[b"list-unsubscribe"]:
        yield Finding(
            "no-one-click",
            "List-Unsubscribe",
            "offers no one click; add an https address and List-Unsubscribe-Post (RFC 8058)",
            _POLICY,
        )


def _signed_by(found: list[Field], domain: str) -> bool:
    """Whether the client brought a signature of the author's domain or one above it."""
    for field in found:
        if field.name == b"dkim-signature":
            for tag in b"".join(field.raw.partition(b":")[2].split()).lower().split(b";"):
                signer = tag.removeprefix(b"d=").decode("latin-1")
                if tag.startswith(b"d=") and (domain == signer or domain.endswith("." + signer)):
                    return True
    return False


def _text(raw: bytes) -> str:
    return raw.partition(b":")[2].replace(CRLF, b"").decode("utf-8", "surrogateescape")


def _shown(name: bytes) -> str:
    return name.decode("latin-1").title()[:60]
