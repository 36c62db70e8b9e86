"""What a DKIM signature covers, and the field that carries it (RFC 6376 3.5, 5.4; RFC 8463)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from postroad.mail.canonical import relaxed_header
from postroad.mail.headers import fields

# Signed once more often than they are there, so that nobody can add one (RFC 6376 8.15).
GUARDED = (
    b"from",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"reply-to",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
)
# Signed as often as they are there: what readers see or act upon (RFC 6376 5.4.1, RFC 8058).
COVERED = (
    b"sender",
    b"in-reply-to",
    b"references",
    b"content-id",
    b"content-description",
    b"content-language",
    b"resent-date",
    b"resent-from",
    b"resent-sender",
    b"resent-to",
    b"resent-cc",
    b"resent-message-id",
    b"list-id",
    b"list-help",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"list-subscribe",
    b"list-post",
    b"list-owner",
    b"list-archive",
    b"feedback-id",
)
_WANTED = frozenset(GUARDED + COVERED)
_WIDTH = 76


class Selection(NamedTuple):
    """`names` for the h= tag, in order; `signed` the octets of those fields in relaxed form."""

    names: tuple[bytes, ...]
    signed: bytes


def select(head: bytes) -> Selection:
    """The fields of a head that are signed, last instance first, as verifiers pick them (RFC 6376 5.4.2)."""
    instances: dict[bytes, list[bytes]] = {}
    for field in fields(head):
        if field.name in _WANTED:
            instances.setdefault(field.name, []).append(field.raw)
    names: list[bytes] = []
    signed: list[bytes] = []
    for name in GUARDED:
        found = instances.pop(name, [])
        names += [name] * (len(found) + 1)
        signed += [relaxed_header(raw) for raw in reversed(found)]
    for name, found in instances.items():
        names += [name] * len(found)
        signed += [relaxed_header(raw) for raw in reversed(found)]
    return Selection(tuple(names), b"".join(signed))


def opening(algorithm: str, domain: str, selector: str) -> bytes:
    """The part of the field that is the same in every signature of a key: "v=1; a=...; s=...;"."""
    names = f"d={domain}; s={selector};"
    if len(names) > _WIDTH:
        names = f"d={domain};\r\n\ts={selector};"
    return f"DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed;\r\n\t{names}".encode("ascii")


def unsigned_field(start: bytes, second: int, selection: Selection, body_hash: bytes) -> bytes:
    """The DKIM-Signature field up to and with "b=", folded, without a line end.

    `start` is an `opening`, `second` the time of signing.
    """
    names = b"\r\n\t".join(_names_lines(selection.names))
    return b"%b\r\n\tt=%d;\r\n\t%b\r\n\tbh=%b;\r\n\tb=" % (start, second, names, b64encode(body_hash))


def signed_octets(selection: Selection, field: bytes) -> bytes:
    """What the key signs (RFC 6376 3.7): the fields, then this one with an empty b= and no line end."""
    return selection.signed + relaxed_header(field).removesuffix(b"\r\n")


def signed_field(field: bytes, signature: bytes) -> bytes:
    """The whole field with its CRLF; the signature's base64 in lines of its own."""
    text = b64encode(signature)
    pieces = [text[start : start + _WIDTH - 4] for start in range(0, len(text), _WIDTH - 4)]
    return field + b"\r\n\t ".join(pieces) + b"\r\n"


def _names_lines(names: Sequence[bytes]) -> Iterator[bytes]:
    line = b"h=" + names[0]
    for name in names[1:]:
        if len(line) + len(name) + 2 > _WIDTH - 8:
            yield line + b":"
            line = b" " + name
        else:
            line += b":" + name
    yield line + b";"


def signing_domain(from_domain: str, domains: Collection[str]) -> str | None:
    """Of the domains that have a key that of a From domain: itself or the nearest parent."""
    domain = from_domain
    while domain and domain not in domains:
        domain = domain.partition(".")[2]
    return domain or None
