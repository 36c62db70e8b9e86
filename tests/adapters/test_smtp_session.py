"""Transactions over a real connection: what is written, and what the replies mean."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postroad.adapters.smtp import SmtpTransport
from postroad.adapters.smtp_session import WHOLE
from postroad.mail.message import Body
from postroad.mail.outcome import Fault, Stage
from postroad.mail.reply import Reply
from postroad.mail.routing import Endpoint
from postroad.mail.tls import Requirement, TlsLevel
from tests.support.memory_spool import MemoryStored
from tests.support.scripted_smtp import ALL_OFFERED, Mail, Peer, ScriptedSmtp, accepting
from tests.support.transacting import HEAD, PIPELINED_GROUP, STORED, envelope, send, session, trouble
from tests.support.witnesses import Told


@pytest.mark.parametrize("offered", [ALL_OFFERED, ALL_OFFERED[1:], ("SMTPUTF8",)])
async def test_messages_arrive_as_they_were_and_each_reply_finds_its_recipient(
    offered: tuple[str, ...],
) -> None:
    mails: list[Mail] = []
    refusal = {"RCPT TO:<c@": "550 5.1.1 No such user"}
    async with session(accepting(*offered, replies=refusal, into=mails)) as made:
        for body in (b"", b"one", b".two\r\n..three\r\n", b"x\r\n" * 100_000):
            result = await send(made, "b", "c", "d", stored=MemoryStored(HEAD, body, False), dotted=True)
            assert [reply and reply.code for reply in result.rcpts] == [250, 550, 250]
            assert result.dot == Reply(250, ("Queued",), "2.0.0")
            assert mails[-1].content == HEAD + body + (b"\r\n" if body == b"one" else b"")
            assert mails[-1].recipients == ["<b@example.org>", "<d@example.org>"]
    assert len(mails) == 4


@pytest.mark.parametrize("staged", [True, False])
async def test_a_large_message_is_streamed_in_pieces_dots_and_all(staged: bool) -> None:
    mails: list[Mail] = []
    body = b"." * (WHOLE - len(HEAD) - 1) + b"\n" + b"..\r\n.\r\n" * 200_000
    async with session(accepting(*ALL_OFFERED, into=mails)) as made:
        result = await send(
            made, stored=MemoryStored(HEAD, body.replace(b".\n", b"\r\n"), staged), dotted=True
        )
    assert result.dot is not None
    assert mails[0].content == HEAD + body.replace(b".\n", b"\r\n")


async def test_a_clean_transaction_needs_no_reset_and_a_failed_one_is_reset_in_front_of_the_next() -> None:
    async with ScriptedSmtp(accepting(*ALL_OFFERED, replies={"RCPT TO:<c@": "550 No"})) as server:
        transport = SmtpTransport("client.example.com")
        endpoint = Endpoint("mx", "127.0.0.1", server.port)
        async with transport.connect(endpoint, Requirement(TlsLevel.NONE), None) as made:
            for to in ("b", "c", "b", "b"):
                await send(made, to)
    verbs = [line.partition(" ")[0] for line in server.peers[0].said]
    group = ["MAIL", "RCPT", "DATA"]
    assert verbs == ["EHLO", *group, *group, "RSET", *group, *group, "QUIT"]


async def test_data_accepted_for_nobody_is_ended_with_a_lone_dot() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.play(PIPELINED_GROUP + "S: 250 Ok\nS: 550 No\nS: 354 Go on")
        assert await peer.content() == b""
        peer.say("250 Queued nothing")
        await peer.expect("QUIT")

    async with session(script) as made:
        result = await send(made)
        assert (result.dot, result.trouble) == (None, None)
        assert made.usable


SPOKEN = [
    ("421 4.3.2 Closing", Stage.MAIL),
    ("250 Ok\r\n421 4.3.2 Closing", Stage.RCPT),
    ("250 Ok\r\n250 Ok\r\n421 4.3.2 Closing", Stage.DATA),
]


@pytest.mark.parametrize(("said", "stage"), SPOKEN)
async def test_421_is_reported_where_it_came_and_ends_the_session(said: str, stage: Stage) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.play(PIPELINED_GROUP)
        peer.say(*said.split("\r\n"))
        await peer.closed()

    async with session(script) as made:
        result = await send(made)
        heard = {Stage.MAIL: result.mail, Stage.RCPT: result.rcpts[0], Stage.DATA: result.data}[stage]
        assert heard == Reply(421, ("Closing",), "4.3.2")
        assert result.trouble is None
        assert not made.usable
        await made.wait_closed()


async def test_421_after_the_dot_is_its_reply() -> None:
    async with session(accepting(*ALL_OFFERED, replies={".": "421 4.3.2 Closing"})) as made:
        result = await send(made)
        assert result.dot is not None
        assert result.dot.code == 421
        assert not made.usable


PROTOCOL = [
    ("250 Ok\r\n250 Ok\r\n250 Ok\r\n", Stage.DATA),
    ("354 Go on\r\n", Stage.MAIL),
    ("799 What\r\n", Stage.MAIL),
    ("250-a\r\n550 b\r\n", Stage.MAIL),
    ("rubbish\r\n", Stage.MAIL),
    ("250 Ok\r\n250 Ok\r\n354 Go on\r\n250 Queued\r\n", Stage.DATA),
    ("250 Ok\r\n250 Ok\r\n354 Go on\r\n250 Que", Stage.DATA),
    ("250 Ok\r\n250 Ok\r\n354 Go on\r\nrubbish\r\n", Stage.DATA),
    ("2" * 10_000, Stage.MAIL),
    ("250-and on\r\n" * 1000, Stage.MAIL),
]


@pytest.mark.parametrize(("octets", "stage"), PROTOCOL)
async def test_what_is_out_of_place_or_no_reply_ends_the_session_and_delivers_nothing(
    octets: str, stage: Stage
) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.play(PIPELINED_GROUP)
        peer.raw(octets.encode())
        await peer.closed()

    async with session(script) as made:
        result = await send(made)
        assert (trouble(result).stage, trouble(result).fault) == (stage, Fault.PROTOCOL)
        assert not trouble(result).dot_sent
        assert trouble(result).text.isprintable()
        assert result.dot is None
        assert not made.usable


async def test_without_pipelining_a_reply_before_its_command_ends_the_session() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("SIZE")
        await peer.expect("MAIL")
        peer.say("250 Ok", "250 Ok")
        await peer.closed()

    async with session(script) as made:
        assert trouble(await send(made)).fault is Fault.PROTOCOL


@pytest.mark.parametrize("more", ["250 Queued again\r\n", "250 LMTP\r\n250 LMTP\r\n", "25", "rubbish\r\n"])
async def test_a_reply_too_many_after_the_dot_ends_the_session_but_the_message_is_delivered(
    more: str,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.play(PIPELINED_GROUP + "S: 250 Ok\nS: 250 Ok\nS: 354 Go on\nC: .")
        peer.raw(b"250 Queued\r\n" + more.encode())
        await peer.closed()

    async with session(script) as made:
        result = await send(made)
        assert result.dot == Reply(250, ("Queued",))
        assert result.trouble is None
        await made.wait_closed()
        assert not made.usable
        assert trouble(await send(made)).fault is Fault.LOST


@pytest.mark.parametrize(
    ("offered", "change", "fault"),
    [
        ("SIZE 10", {}, Fault.SIZE),
        ("PIPELINING", {"smtputf8": True}, Fault.NO_SMTPUTF8),
        ("PIPELINING", {"body": Body.EIGHT_BIT}, Fault.NO_8BITMIME),
    ],
)
async def test_what_the_peer_cannot_take_is_not_sent_and_leaves_the_session_usable(
    offered: str, change: dict[str, object], fault: Fault
) -> None:
    async with ScriptedSmtp(accepting(offered)) as server:
        endpoint = Endpoint("mx", "127.0.0.1", server.port)
        async with SmtpTransport("c").connect(endpoint, Requirement(TlsLevel.NONE), None) as made:
            result = await made.send(replace(envelope("b", "c"), **change), STORED, 1000, False, Told())  # type: ignore[arg-type]
            assert result.rcpts == (None, None)
            assert (trouble(result).stage, trouble(result).fault) == (Stage.MAIL, fault)
            assert made.usable
    assert server.peers[0].said == ["EHLO c", "QUIT"]


# --- binary content ----------------------------------------------------------------

OCTETS = b"\0\r\n.\r\n\r\r\n\n.\n..\r\nQUIT\r\n\xff"


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("times", [1, 50_000])
async def test_binary_content_arrives_octet_for_octet_in_one_chunk(times: int, staged: bool) -> None:
    content: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING", "CHUNKING", "BINARYMIME")
        for _ in range(2):
            await peer.expect("MAIL FROM:<a@example.com> BODY=BINARYMIME")
            await peer.expect("RCPT")
            peer.say("250 Ok", "250 Ok")
            content.append(await peer.chunk())
            peer.say("250 Ok")

    async with session(script) as made:
        stored = MemoryStored(HEAD, OCTETS * times, staged)
        asked = replace(envelope(), body=Body.BINARY)
        for _ in range(2):
            done = await made.send(asked, stored, len(HEAD) + len(stored.octets), False, Told())
            assert done.dot == Reply(250, ("Ok",))
        assert content == [HEAD + OCTETS * times] * 2


async def test_a_chunk_of_another_size_than_announced_is_broken_off() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("CHUNKING", "BINARYMIME")
        await peer.play("""
            C: MAIL
            S: 250 Ok
            C: RCPT
            S: 250 Ok
        """)
        await peer.closed()

    async with session(script) as made:
        stored = MemoryStored(HEAD, OCTETS * 50_000, True)
        done = await made.send(replace(envelope(), body=Body.BINARY), stored, 5_000_000, False, Told())
        assert trouble(done).fault is Fault.INTERNAL
        assert not made.usable
