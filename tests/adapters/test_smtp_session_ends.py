"""How a session ends: the peer goes, stops or says nothing, or we leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from postroad.mail.outcome import Fault, Stage
from tests.support.hand_loop import HandLoop, by_hand
from tests.support.memory_spool import MemoryStored
from tests.support.scripted_smtp import ALL_OFFERED, Peer, accepting
from tests.support.transacting import HEAD, PIPELINED_GROUP, send, session, trouble


@dataclass(frozen=True)
class Cut:
    """Where the peer goes away, and how."""

    dialogue: str
    stage: Stage
    dot_sent: bool


CUTS = [
    Cut(PIPELINED_GROUP, Stage.MAIL, False),
    Cut(PIPELINED_GROUP + "S: 250 Ok", Stage.RCPT, False),
    Cut(PIPELINED_GROUP + "S: 250 Ok\nS: 250 Ok\nS: 354 Go on\nC: .", Stage.DOT, True),
]


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: str(cut.stage))
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_lost_before_the_dot_is_told_from_one_lost_after_it(cut: Cut, how: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.play(cut.dialogue)
        if how == "reset":
            await peer.flush()
            peer.reset()

    async with session(script) as made:
        found = trouble(await send(made))
        assert found.fault is Fault.LOST
        assert found.dot_sent is cut.dot_sent
        # A reset may overtake what was said before it.
        assert found.stage is cut.stage or how == "reset"
        assert not made.usable


async def test_a_peer_that_goes_in_the_middle_of_the_content_has_not_got_the_message() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.play(PIPELINED_GROUP + "S: 250 Ok\nS: 250 Ok\nS: 354 Go on")

    async with session(script) as made:
        found = trouble(await send(made, stored=MemoryStored(HEAD, b"x\r\n" * 5_000_000, True)))
        assert (found.stage, found.fault, found.dot_sent) == (Stage.DATA, Fault.LOST, False)


@pytest.mark.parametrize(
    ("said", "fault"), [("552 5.3.4 Too big", Fault.PROTOCOL), ("421 4.3.2 Closing", None)]
)
async def test_a_reply_in_the_middle_of_the_content_stops_it(said: str, fault: Fault | None) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.play(PIPELINED_GROUP + "S: 250 Ok\nS: 250 Ok\nS: 354 Go on")
        await peer.hear()
        peer.say(said)
        await peer.closed()

    async with session(script) as made:
        result = await send(made, stored=MemoryStored(HEAD, b"x\r\n" * 20_000_000, True))
        if fault is None:
            assert result.dot is not None
            assert (result.dot.code, result.trouble) == (421, None)
        else:
            assert (trouble(result).fault, result.dot) == (fault, None)
            assert "5.3.4 Too big" in trouble(result).text
        assert not made.usable


@pytest.mark.parametrize(
    ("dialogue", "stage"),
    [("", Stage.MAIL), ("S: 250 Ok", Stage.RCPT), ("S: 250 Ok\nS: 250 Ok\nS: 354 Go on\nC: .", Stage.DOT)],
)
@by_hand
async def test_a_silent_peer_is_waited_for_no_longer_than_its_time(dialogue: str, stage: Stage) -> None:
    silent = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.play(PIPELINED_GROUP + dialogue)
        silent.set()
        await peer.closed()

    async with session(script) as made:
        sending = asyncio.create_task(send(made))
        await silent.wait()
        found = trouble(await HandLoop.running().until(sending))
        assert (found.stage, found.fault) == (stage, Fault.TIMEOUT)
        assert found.dot_sent is (stage is Stage.DOT)


async def talk_on(peer: Peer) -> None:
    while True:
        peer.say("250-one moment")
        await asyncio.sleep(100.0)


@by_hand
async def test_a_reply_that_never_ends_is_cut_off_although_each_line_comes_in_time() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.play(PIPELINED_GROUP)
        talking = asyncio.create_task(talk_on(peer))
        await peer.closed()
        talking.cancel()

    async with session(script) as made:
        sending = asyncio.create_task(send(made))
        assert trouble(await HandLoop.running().until(sending)).fault is Fault.TIMEOUT


@by_hand
async def test_a_peer_that_stops_reading_the_content_is_given_up() -> None:
    done = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.play(PIPELINED_GROUP + "S: 250 Ok\nS: 250 Ok\nS: 354 Go on")
        peer.stop_reading()
        await done.wait()

    async with session(script) as made:
        stored = MemoryStored(HEAD, b"x\r\n" * 20_000_000, True)
        found = trouble(await HandLoop.running().until(asyncio.create_task(send(made, stored=stored))))
        assert (found.stage, found.fault, found.dot_sent) == (Stage.DATA, Fault.TIMEOUT, False)
        done.set()


async def test_a_message_that_cannot_be_read_is_cut_off_not_ended() -> None:
    received: list[bytes] = []

    class Broken(MemoryStored):
        async def chunks(self) -> AsyncIterator[bytes]:
            yield b"half of it\r\n"
            raise OSError(5, "Input/output error")

    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.play(PIPELINED_GROUP + "S: 250 Ok\nS: 250 Ok\nS: 354 Go on")
        received.append(await peer.closed())

    async with session(script) as made:
        found = trouble(await send(made, stored=Broken(HEAD, b"", True)))
        assert (found.stage, found.fault, found.dot_sent) == (Stage.DATA, Fault.INTERNAL, False)
    assert not received[0].endswith(b".\r\n")


async def test_an_idle_session_notices_that_the_peer_closes() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()

    async with session(script) as made:
        await made.wait_closed()
        assert not made.usable
        found = trouble(await send(made))
        assert (found.stage, found.fault, found.dot_sent) == (Stage.MAIL, Fault.LOST, False)


@pytest.mark.parametrize("unasked", ["421 4.4.2 Idle too long", "250 Hello?", "25"])
async def test_an_idle_session_ends_when_the_peer_speaks_unasked(unasked: str) -> None:
    idle = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        await idle.wait()
        peer.raw(unasked.encode() + (b"\r\n" if len(unasked) > 2 else b""))
        await peer.closed()

    async with session(script) as made:
        idle.set()
        await made.wait_closed()
        assert not made.usable


async def test_leaving_says_quit_and_does_not_wait_for_the_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.expect("QUIT")
        assert await peer.closed() == b""

    async with session(script):
        pass


async def test_a_cancelled_transaction_cuts_the_connection_without_ending_the_message() -> None:
    received: list[bytes] = []
    waiting = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet("PIPELINING")
        await peer.play(PIPELINED_GROUP)
        waiting.set()
        received.append(await peer.closed())

    async with session(script) as made:
        task = asyncio.create_task(send(made))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not made.usable
    assert received == [b""]


async def test_a_second_transaction_at_the_same_time_is_a_bug() -> None:
    async with session(accepting(*ALL_OFFERED)) as made:
        first = asyncio.create_task(send(made))
        await asyncio.sleep(0)
        assert not made.usable
        with pytest.raises(RuntimeError):
            await send(made)
        assert (await first).dot is not None
