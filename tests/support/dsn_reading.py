"""A notification as a mail program reads it: taken apart by the `email` package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message as Parsed
from typing import Any, cast

from postroad.mail.message import Content


@dataclass(frozen=True)
class Read:
    """The parts of a multipart/report: `groups` are the per-recipient fields."""

    octets: bytes
    top: Parsed[str, str]
    types: list[str]
    text: str
    about_message: Parsed[str, str]
    groups: Sequence[Parsed[str, str]]
    defects: list[Any]


def read(content: Content) -> Read:
    """AssertionError where it is not a report of three parts."""
    assert isinstance(content.body, bytes)
    octets = content.head + content.body
    top: Parsed[str, str] = message_from_bytes(octets)
    parts = _children(top)
    assert len(parts) == 3
    text, status, _ = parts
    payload = text.get_payload(decode=True)
    assert isinstance(payload, bytes)
    # The package knows RFC 3464's type; RFC 6533's is read the same way.
    fields = status if status.get_content_subtype() == "delivery-status" else _as_delivery_status(status)
    about, *groups = _children(fields)
    defects = [defect for part in top.walk() for defect in part.defects]
    types = [part.get_content_type() for part in parts]
    return Read(octets, top, types, payload.decode().replace("\r\n", "\n"), about, groups, defects)


def _children(part: Parsed[str, str]) -> list[Parsed[str, str]]:
    children = part.get_payload()
    assert isinstance(children, list)
    return cast("list[Parsed[str, str]]", children)


def _as_delivery_status(part: Parsed[str, str]) -> Parsed[str, str]:
    octets = part.as_bytes().replace(b"message/global-delivery-status", b"message/delivery-status", 1)
    return message_from_bytes(octets)
