"""What intake gets of a session, and what becomes of a large message; the words are in `tests/dialogues`."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest

from postroad.config.model import SubmissionConfig
from postroad.mail.canonical import relaxed_body_hash
from postroad.mail.message import Body, Notify, Peer, Ret, StagedBody
from postroad.mail.reply import Reply
from tests.support.door import (
    ALICE,
    ENVELOPE,
    MESSAGE,
    NOW,
    FakeIntake,
    House,
    client,
    house,
    into_data,
)

# --- what intake gets ---


async def test_a_submission_says_who_what_and_how() -> None:
    async with house(tls="implicit") as place, client(place, tls=True) as one:
        await one.reply()
        await one.say("EHLO client.example")
        await one.say(ALICE)
        await one.say("MAIL FROM:<é@x.example> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=Q+2B1")
        await one.say("RCPT TO:<b@y.example> NOTIFY=DELAY ORCPT=rfc822;b@z.example")
        await one.say("DATA")
        await one.say("Subject: é\r\n\r\n..dot\r\n.")
        (submission,) = place.intake.submissions
        envelope, peer = submission.envelope, submission.peer
        assert (envelope.body, envelope.smtputf8, envelope.ret) == (Body.EIGHT_BIT, True, Ret.HDRS)
        assert envelope.envid == "Q+2B1"
        assert [(r.notify, r.orcpt) for r in envelope.recipients] == [(Notify.DELAY, "rfc822;b@z.example")]
        assert submission.content.head == "Subject: é\r\n\r\n".encode()
        assert submission.content.body == b".dot\r\n"
        assert (submission.content.dotted, submission.content.eight_bit) == (True, True)
        assert (submission.account, submission.received_at) == ("alice", NOW)
        assert peer.tls is not None
        port = one.writer.get_extra_info("sockname")[1]
        assert peer == Peer(
            "127.0.0.1", port, "client.example", "UTF8SMTPSA", peer.tls, login="alice", method="PLAIN"
        )
        assert peer.tls.startswith("TLSv1.")


@pytest.mark.parametrize(
    ("hello", "tls", "protocol"),
    [("HELO c", "off", "SMTP"), ("EHLO c", "off", "ESMTP"), ("EHLO c", "implicit", "ESMTPS")],
)
async def test_the_protocol_is_named_for_received(hello: str, tls: str, protocol: str) -> None:
    async with house(tls=tls, auth="optional") as place, client(place, tls=tls == "implicit") as one:
        await one.reply()
        await one.say(hello)
        one.send(ENVELOPE.partition(b"\r\n")[2])
        for _ in range(3):
            await one.reply()
        await one.say(MESSAGE)
        assert [submission.peer.protocol for submission in place.intake.submissions] == [protocol]


async def test_the_answer_of_intake_is_given_line_by_line_in_ascii() -> None:
    intake = FakeIntake(Reply(550, ("first é", "second\r\nthird" + "x" * 600), "5.7.1"))
    async with house(tls="off", auth="off", intake=intake) as place, client(place) as one:
        await into_data(one)
        said = await one.say(MESSAGE)
        assert said == "550-5.7.1 first ?\n550 5.7.1 second??third" + "x" * 387
        assert (await one.say("NOOP")).startswith("250 ")


async def test_smtplib_given_octets_with_lf_is_understood() -> None:
    """It sends them as they are, and stuffs the dots that follow LF."""

    def send(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, local_hostname="c") as one:
            one.sendmail("a@x.example", ["b@y.example"], b"Subject: s\n\n.\n..\n.c\n")

    async with house(tls="off", auth="off") as place:
        await asyncio.to_thread(send, place.port)
        (submission,) = place.intake.submissions
        assert place.body(submission).rstrip() == b"Subject: s\r\n\r\n.\r\n..\r\n.c"


# --- large messages ---


@pytest.fixture
async def small_memory() -> AsyncIterator[House]:
    config = SubmissionConfig(spill_threshold=1000, max_header_size=2000, max_message_size=2**20)
    async with house(tls="off", auth="off", config=config) as place:
        yield place


async def test_a_large_body_goes_to_the_spool_with_its_hash(small_memory: House) -> None:
    body = b"".join(b"line %d  \r\n" % number for number in range(20_000))
    async with client(small_memory) as one:
        await into_data(one)
        assert (await one.say(b"Subject: s\r\n\r\n" + body + b".\r\n")).startswith("250 ")
    (submission,) = small_memory.intake.submissions
    staged = submission.content.body
    assert isinstance(staged, StagedBody)
    assert submission.content.head == b"Subject: s\r\n\r\n"
    assert sha256(small_memory.spool.waiting[staged.name]).digest() == sha256(body).digest()
    assert staged.relaxed_hash == relaxed_body_hash(body)


@pytest.mark.parametrize("headers", [40, 400])
async def test_a_header_too_large_is_refused_in_step(small_memory: House, headers: int) -> None:
    async with client(small_memory) as one:
        await into_data(one)
        field = b"X: " + b"x" * 60 + b"\r\n"
        assert await one.say(field * headers + b"\r\nhi\r\n.\r\n") == "552 5.3.4 Header too large"
        assert (await one.say("NOOP")).startswith("250 ")


async def test_a_first_line_of_any_length_that_names_no_field_is_no_header(small_memory: House) -> None:
    async with client(small_memory) as one:
        await into_data(one)
        for _ in range(10):
            one.send(b"x" * 1000)
            await asyncio.sleep(0)
        assert (await one.say(b"\r\n.\r\n")).startswith("250 ")
    assert small_memory.intake.submissions[0].content.head == b""


async def test_a_header_may_be_larger_than_what_is_kept_in_memory(small_memory: House) -> None:
    async with client(small_memory) as one:
        await into_data(one)
        head = (b"X: " + b"x" * 60 + b"\r\n") * 25 + b"\r\n"
        for line in head.splitlines(keepends=True):
            one.send(line)
            await one.writer.drain()
        assert (await one.say(b"hi\r\n" * 1000 + b".\r\n")).startswith("250 ")
    (submission,) = small_memory.intake.submissions
    assert submission.content.head == head


async def test_a_large_message_without_a_header_is_all_body(small_memory: House) -> None:
    async with client(small_memory) as one:
        await into_data(one)
        assert (await one.say(b"just text\r\n" * 1000 + b".\r\n")).startswith("250 ")
    (submission,) = small_memory.intake.submissions
    assert submission.content.head == b""
    assert small_memory.body(submission) == b"just text\r\n" * 1000


async def test_what_intake_refuses_is_not_left_in_the_spool() -> None:
    config = SubmissionConfig(spill_threshold=10)
    intake = FakeIntake(Reply(550, ("no",), "5.7.1"))
    async with house(tls="off", auth="off", config=config, intake=intake) as place, client(place) as one:
        await into_data(one)
        assert (await one.say(b"Subject: s\r\n\r\nlong enough\r\n.\r\n")) == "550 5.7.1 no"
        assert place.spool.waiting == {}
