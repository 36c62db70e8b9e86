from __future__ import annotations

from dataclasses import replace

import pytest

from postroad.engine.packing import Packer, Place, Start
from postroad.mail.address import Address
from postroad.mail.backoff import RetryPolicy
from postroad.mail.lifecycle import State
from postroad.mail.message import Body, Content, Envelope, Instant, Lane, Message, Notify, Recipient, Ret
from postroad.mail.routing import Hop, Route
from tests.support.build import BODY, HEAD, HOUR, NOW, content, deferred, envelope_recipient, queue_id
from tests.support.loop import virtual
from tests.support.memory_spool import MemorySpool

SENDER = Address("a", "example.com")
ID = queue_id(1)


class StampSigner:
    """Signs for one domain with a field that is easily seen."""

    def __init__(self, domain: str) -> None:
        self._domain = domain

    def domain_for(self, from_domain: str) -> str | None:
        return self._domain if from_domain == self._domain else None

    async def sign(self, domain: str, content: Content) -> bytes:
        return b"DKIM-Signature: d=%s\r\n" % domain.encode()


def waiting(hop: Hop, lane: Lane, now: Instant) -> Start:
    return Start(State.WAITING, now)


async def pack(
    envelope: Envelope,
    octets: Content | None = None,
    *,
    spool: MemorySpool | None = None,
    signs_for: str = "nobody.example",
    routes: tuple[Route, ...] = (),
    lane: Lane = Lane.NORMAL,
    place: Place = waiting,
) -> tuple[Message, tuple[Recipient, ...]]:
    packer = Packer(spool or MemorySpool(), StampSigner(signs_for), routes, RetryPolicy())
    return await packer.pack(
        ID, envelope, octets or content(), account="user", lane=lane, now=NOW, place=place
    )


@virtual
async def test_what_is_spooled_is_what_the_index_is_given() -> None:
    spool = MemorySpool()
    envelope = Envelope(SENDER, (envelope_recipient(),), ret=Ret.HDRS, envid="x+20y")
    message, recipients = await pack(envelope, spool=spool)
    record = spool.records[message.location]
    assert record.recipients == recipients
    assert replace(record.message, location=message.location) == message
    assert (message.sender, message.ret, message.envid, message.account) == (
        SENDER,
        Ret.HDRS,
        "x+20y",
        "user",
    )


@virtual
async def test_a_signature_goes_on_top_and_counts_into_the_size() -> None:
    spool = MemorySpool()
    message, _ = await pack(Envelope(SENDER, (envelope_recipient(),)), spool=spool, signs_for="example.com")
    stored = await spool.read(message.location)
    assert stored.head == b"DKIM-Signature: d=example.com\r\n" + HEAD
    assert message.size == len(stored.head) + len(BODY)


@virtual
async def test_without_a_key_for_the_author_nothing_is_signed() -> None:
    spool = MemorySpool()
    message, _ = await pack(Envelope(SENDER, (envelope_recipient(),)), spool=spool)
    assert (await spool.read(message.location)).head == HEAD


@virtual
async def test_recipients_of_one_hop_begin_alike_and_their_place_is_asked_for_once() -> None:
    asked: list[Hop] = []

    def place(hop: Hop, lane: Lane, now: Instant) -> Start:
        asked.append(hop)
        return Start(State.ACTIVE, now + 300) if hop.name == "one.example" else Start(State.WAITING, now)

    to = ("a@one.example", "b@two.example", "c@one.example")
    _, rows = await pack(Envelope(SENDER, tuple(map(envelope_recipient, to))), place=place)
    assert asked == [Hop("mx", "one.example"), Hop("mx", "two.example")]
    assert [(row.state, row.due, row.attempts) for row in rows] == [
        (State.ACTIVE, NOW + 300, 1),
        (State.WAITING, NOW, 0),
        (State.ACTIVE, NOW + 300, 1),
    ]


@virtual
async def test_a_site_in_trouble_tells_why_from_the_beginning() -> None:
    why = deferred()
    _, (row,) = await pack(
        Envelope(SENDER, (envelope_recipient(),)),
        place=lambda hop, lane, now: Start(State.WAITING, now + 60, why),
    )
    assert (row.last, row.due, row.attempts) == (why, NOW + 60, 0)


@virtual
async def test_the_first_matching_route_says_the_hop() -> None:
    routes = (
        Route("inside", ("*.example.org",), ("relay.example", 2626)),
        Route("rest", ("*",), ("2001:db8::1", 25)),
    )
    to = ("a@sub.example.org", "b@example.org")
    _, rows = await pack(Envelope(SENDER, tuple(map(envelope_recipient, to))), routes=routes)
    assert [row.hop for row in rows] == [Hop("inside", "relay.example:2626"), Hop("rest", "[2001:db8::1]:25")]


@virtual
async def test_dsn_parameters_stay_with_their_recipient() -> None:
    to = (replace(envelope_recipient(notify=Notify.NEVER), orcpt="rfc822;b@x.example"), envelope_recipient())
    _, rows = await pack(Envelope(SENDER, to))
    assert [(row.n, row.notify, row.orcpt) for row in rows] == [
        (0, Notify.NEVER, "rfc822;b@x.example"),
        (1, None, None),
    ]


@pytest.mark.parametrize(
    ("sender", "lane", "expires", "warns"),
    [
        (SENDER, Lane.NORMAL, 120 * HOUR, 4 * HOUR),
        (SENDER, Lane.TRANSACTIONAL, 24 * HOUR, None),
        (SENDER, Lane.BULK, 48 * HOUR, None),
        (None, Lane.NORMAL, 24 * HOUR, None),
    ],
    ids=["normal", "transactional", "bulk", "notification"],
)
def test_how_long_a_message_may_take(
    sender: Address | None, lane: Lane, expires: float, warns: float | None
) -> None:
    @virtual
    async def check() -> None:
        message, _ = await pack(Envelope(sender, (envelope_recipient(),)), lane=lane)
        assert message.expires_at == NOW + expires
        assert message.warn_at == (None if warns is None else NOW + warns)

    check()


@pytest.mark.parametrize(
    ("body", "eight_bit", "dotted"),
    [(b"plain\r\n", False, False), (b".\r\n", False, True), (b"gr\xc3\xbc\xc3\x9fe\r\n", True, False)],
)
def test_what_the_next_hop_must_know_of_the_octets(body: bytes, eight_bit: bool, dotted: bool) -> None:
    @virtual
    async def check() -> None:
        message, _ = await pack(Envelope(SENDER, (envelope_recipient(),)), content(body=body))
        assert message.body is (Body.EIGHT_BIT if eight_bit else Body.SEVEN_BIT)
        assert message.dotted is dotted

    check()
