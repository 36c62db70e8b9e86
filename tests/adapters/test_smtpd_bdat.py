"""BDAT with large messages, time and clients that vanish; what is said is in `tests/dialogues`."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.config.model import SubmissionConfig
from postroad.demo.process import HANGS_AFTER
from postroad.mail.canonical import relaxed_body_hash
from postroad.mail.events import InternalError
from postroad.mail.message import Body, StagedBody
from tests.support.door import Client, House, client, house
from tests.support.hand_loop import HandLoop, by_hand

BINARY = b"\0\r\n.\r\n\r\r\n\n.\n..\r\nQUIT\r\n\xff" * 40
HEAD = b"Subject: octets\r\nContent-Transfer-Encoding: binary\r\n\r\n"
SMALL_SPILL = SubmissionConfig(spill_threshold=100)


async def begun(one: Client, parameters: str = "") -> None:
    """A transaction with one recipient."""
    await one.reply()
    await one.say("EHLO c")
    one.send(f"MAIL FROM:<a@x.example>{parameters}\r\nRCPT TO:<b@y.example>")
    assert [(await one.reply())[:3], (await one.reply())[:3]] == ["250", "250"]


def chunked(content: bytes, size: int) -> bytes:
    """The content as chunks of that size, the last one empty."""
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"BDAT %d\r\n%b" % (len(piece), piece) for piece in pieces) + b"BDAT 0 LAST\r\n"


async def is_empty(place: House) -> None:
    """Nothing of a message that was given up is left."""
    async with asyncio.timeout(HANGS_AFTER):
        while place.spool.unfinished or place.spool.waiting or place.doors.sessions:
            await asyncio.sleep(0)


@pytest.mark.parametrize("config", [SubmissionConfig(), SMALL_SPILL], ids=["memory", "disk"])
@pytest.mark.parametrize("size", [7, 64, 5000])
async def test_a_binary_message_arrives_octet_for_octet(config: SubmissionConfig, size: int) -> None:
    async with house(tls="off", auth="off", config=config) as place, client(place) as one:
        await begun(one, " BODY=BINARYMIME")
        one.send(chunked(HEAD + BINARY, size) + b"NOOP\r\n")
        replies = [await one.reply() for _ in range(-(-len(HEAD + BINARY) // size) + 2)]
        assert replies[-2:] == ["250 2.0.0 Queued as 000000000001", "250 2.0.0 OK"]
        (submission,) = place.intake.submissions
        assert place.body(submission) == HEAD + BINARY
        assert submission.envelope.body is Body.BINARY
        body = submission.content.body
        if isinstance(body, StagedBody):
            assert body.relaxed_hash == relaxed_body_hash(BINARY)
        assert isinstance(body, StagedBody) == (config is SMALL_SPILL)


async def test_a_bare_newline_in_the_header_of_a_binary_message_is_refused_from_disk_too() -> None:
    async with house(tls="off", auth="off", config=SMALL_SPILL) as place, client(place) as one:
        await begun(one, " BODY=BINARYMIME")
        one.send(chunked(b"Subject: a\nBcc: b\r\n\r\n" + BINARY, 10_000))
        assert (await one.reply())[:3] == "250"
        assert await one.reply() == "554 5.6.0 The header has a CR or LF that stands alone"
        await is_empty_of_mail(place)


async def is_empty_of_mail(place: House) -> None:
    async with asyncio.timeout(HANGS_AFTER):
        while place.spool.unfinished or place.spool.waiting:
            await asyncio.sleep(0)
    assert place.intake.submissions == []


@pytest.mark.parametrize(
    "last_words", [b"", b"RSET\r\n", b"EHLO c\r\n", b"BDAT 50\r\nabc", b"BDAT x\r\n", b"DATA\r\n"]
)
async def test_what_came_in_part_is_forgotten(last_words: bytes) -> None:
    async with house(tls="off", auth="off", config=SMALL_SPILL) as place:
        async with client(place) as one:
            await begun(one)
            one.send(b"BDAT 200\r\n" + b"A: b\r\n\r\n".ljust(200, b"c"))
            assert await one.reply() == "250 2.0.0 200 octets received"
            assert place.spool.unfinished
            one.send(last_words)
            if last_words[:4] in (b"RSET", b"EHLO", b"DATA"):
                await one.reply()
                await is_empty_of_mail(place)
        await is_empty(place)
        assert place.intake.submissions == []
        assert place.events.of(InternalError) == []


@by_hand
async def test_a_client_that_sends_nothing_between_chunks_or_in_one_is_told_so() -> None:
    config = SubmissionConfig(idle_timeout=50.0, spill_threshold=10)
    for words in (b"BDAT 5\r\nabcde", b"BDAT 5\r\nabc"):
        async with house(tls="off", auth="off", config=config) as place:
            async with client(place) as one:
                await begun(one)
                one.send(words)
                told = await HandLoop.running().until(asyncio.create_task(one.rest()))
                assert told.endswith(b"421 4.4.2 Timed out\r\n")
            await is_empty(place)


@by_hand
async def test_all_chunks_of_a_message_share_its_time() -> None:
    config = SubmissionConfig(data_timeout=10.0)
    async with house(tls="off", auth="off", config=config) as place, client(place) as one:
        await begun(one)
        said = ""
        while not said.startswith("421"):
            one.send(b"BDAT 2\r\na")
            await HandLoop.running().after(3.0)
            one.send(b"b")
            said = await one.reply()
        assert said == "421 4.4.2 Timed out"


async def test_a_message_of_countless_small_chunks_ends_the_session() -> None:
    async with house(tls="off", auth="off") as place, client(place) as one:
        await begun(one)
        one.send(b"BDAT 0\r\n" * 1001)
        assert (await one.rest()).endswith(b"421 4.7.0 Too many small chunks\r\n")


async def test_a_stranger_cannot_have_much_thrown_away() -> None:
    async with house(tls="off", auth="off", config=SubmissionConfig(trusted_networks=())) as place:
        async with client(place) as one:
            await one.reply()
            one.send(b"BDAT 2000000\r\n")
            assert (await one.rest()).endswith(b"421 4.3.0 Message far too large, closing\r\n")


async def test_a_full_disk_is_told_and_the_chunks_stay_in_step() -> None:
    async with house(tls="off", auth="off", config=SMALL_SPILL) as place, client(place) as one:
        await begun(one)
        place.spool.full = True
        one.send(chunked(b"A: b\r\n\r\n" + b"x" * 400, 204))
        replies = [await one.reply() for _ in range(3)]
        assert replies[0].startswith("452 4.3.1")
        assert [reply[:3] for reply in replies[1:]] == ["503", "503"]
        assert await one.say("NOOP") == "250 2.0.0 OK"


LOOKALIKES = [b"\r\n.\r\n", b"MAIL FROM:<e@x.example>\r\n", b"QUIT\r\n", b"\n", b"\r", b"\0"]
MAIL, RCPT = b"MAIL FROM:<a@x.example>\r\n", b"RCPT TO:<b@y.example>\r\n"
OPENINGS = [b"", b"MAIL FROM:<@>\r\n" + RCPT, MAIL, MAIL + b"RCPT TO:<@>\r\n", MAIL + RCPT]


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(st.sampled_from(LOOKALIKES) | st.binary(max_size=9), max_size=8),
    opening=st.sampled_from(OPENINGS),
)
def test_nothing_in_a_chunk_is_ever_a_command(chunks: list[bytes], opening: bytes) -> None:
    """However the message fares, each BDAT has one reply, and what follows the last is understood."""
    train = b"".join(b"BDAT %d\r\n%b" % (len(chunk), chunk) for chunk in chunks)

    async def talk() -> str:
        config = SubmissionConfig(max_errors=100)
        async with house(tls="off", auth="off", config=config) as place, client(place) as one:
            await one.reply()
            await one.say("EHLO c")
            one.send(opening + train + b"BDAT 0 LAST\r\nHELP\r\n")
            replies = [await one.reply() for _ in range(opening.count(b"\n") + len(chunks) + 2)]
            assert len(place.intake.submissions) <= (opening == OPENINGS[-1])
            assert place.events.of(InternalError) == []
            return replies[-1]

    assert asyncio.run(talk()).startswith("214")
