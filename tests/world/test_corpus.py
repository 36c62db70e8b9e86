"""Messages that others collected, well formed or not, through the whole daemon: octet for octet."""

from __future__ import annotations

import asyncio
import re

from postroad.demo.world import Site, World
from tests.support.corpus import messages
from tests.support.daemon import Daemon
from tests.support.submitting import Client

# What a submission server adds on top (RFC 6409 8, RFC 5321 4.4), and what it must not pass on.
ADDED = {b"received", b"date", b"message-id", b"from"}
DROPPED = {b"bcc", b"resent-bcc", b"return-path", b"content-length"}
LINE = re.compile(rb"[^\n]*\n|[^\n]+")
HEADER_LINE = re.compile(rb"[!-9;-~]+[ \t]*:|[ \t]+\S")
FIELD = re.compile(rb"(?<=\n)(?![ \t])")
# Addresses without a domain: the daemon completes them.
BARE = re.compile(rb"^((?:From|To): (?:foo|baz|XX))(?=\r\n)", re.MULTILINE)


def name(field: bytes) -> bytes:
    return field.partition(b":")[0].strip().lower()


def kept(octets: bytes) -> bytes:
    """What of a message must arrive unchanged, as the end of what arrives.

    A first line of an mbox file is no part of it; a header without the empty line
    that ends it gets one where the first line stands that is no field.
    """
    lines = LINE.findall(octets)
    if lines[0].startswith(b"From "):
        del lines[0]
    body = next((n for n, line in enumerate(lines) if not HEADER_LINE.match(line)), len(lines))
    head = b"".join(field for field in FIELD.split(b"".join(lines[:body])) if name(field) not in DROPPED)
    head = BARE.sub(rb"\1@mail.sender.example", head)
    gap = b"" if lines[body : body + 1] == [b"\r\n"] else b"\r\n"
    message = head + gap + b"".join(lines[body:])
    return message if message.endswith(b"\r\n") else message + b"\r\n"


def hand_in_all(port: int, corpus: dict[str, bytes]) -> dict[str, str]:
    """Each to a recipient of its own name, over one connection; the replies."""
    with Client(port) as client:
        return {
            key: client.transact("anna@sender.example", [f"{key}@harbour.example"], octets, " BODY=8BITMIME")
            for key, octets in corpus.items()
        }


def difference(octets: bytes, arrived: bytes) -> str:
    """What is wrong with what arrived of a message; empty when nothing is."""
    tail = kept(octets)
    if not arrived.endswith(tail):
        return "its octets changed"
    prefix = arrived.removesuffix(tail)
    surplus = {name(field) for field in FIELD.split(prefix) if field} - ADDED
    return f"{surplus} were added" if surplus else ""


async def test_messages_of_the_email_packages_own_tests_arrive_octet_for_octet() -> None:
    corpus = {file.removesuffix(".txt"): octets for file, octets in messages()}
    async with World([Site("harbour.example")]) as world:
        site = world["harbour.example"]
        async with Daemon({"harbour.example": site.port}) as daemon:
            replies = await asyncio.to_thread(hand_in_all, daemon.port, corpus)
            assert {key: reply for key, reply in replies.items() if not reply.startswith("250")} == {}
            await daemon.until(lambda: len(daemon.events("removed")) == len(corpus), what="all removed")
        arrived = {arrival.recipients[0].partition("@")[0]: arrival.octets for arrival in site.arrivals}
    assert len(site.arrivals) == len(corpus) > 40
    assert arrived.keys() == corpus.keys()
    found = {key: difference(octets, arrived[key]) for key, octets in corpus.items()}
    assert {key: text for key, text in found.items() if text} == {}
