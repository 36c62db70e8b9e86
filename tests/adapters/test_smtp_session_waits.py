"""How long a session waits, on a clock that is moved by hand, with a transport in memory."""

from __future__ import annotations

import asyncio

import pytest

from postroad.adapters.smtp_dots import DotsInFlight
from postroad.adapters.smtp_session import SmtpSession, Timeouts
from postroad.mail.address import Address
from postroad.mail.commands import Capabilities
from postroad.mail.message import Envelope, EnvelopeRecipient
from postroad.mail.outcome import Fault, Stage
from postroad.mail.routing import Endpoint
from postroad.mail.transaction import Transaction
from tests.support.hand_loop import HandLoop, run_by_hand
from tests.support.memory_spool import MemoryStored
from tests.support.witnesses import Told

STORED = MemoryStored(b"Subject: hello\r\n\r\n", b"Good morning.\r\n", False)
ENVELOPE = Envelope(None, (EnvelopeRecipient(Address("b", "example.org")),))


class Wire(asyncio.Transport):
    """Keeps what is written; `stuck`: it never finishes closing by itself."""

    def __init__(self, stuck: bool = False) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False
        self.closed = False
        self._stuck = stuck
        self.session: SmtpSession | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed and not self._stuck:
            self._gone()
        self.closed = True

    def abort(self) -> None:
        self.aborted = True
        if not self.closed or self._stuck:
            self._gone()
        self.closed = True

    def _gone(self) -> None:
        if self.session is not None:
            asyncio.get_running_loop().call_soon(self.session.connection_lost, None)


class Line:
    """A session, its wire and its loop; `send` is under way."""

    def __init__(self, pipelining: bool, stuck: bool = False) -> None:
        self.loop = HandLoop.running()
        self.wire = Wire(stuck)
        endpoint = Endpoint("mx", "192.0.2.1", 25)
        self.session = SmtpSession(
            self.wire, endpoint, Capabilities(pipelining), None, Timeouts(), DotsInFlight()
        )
        self.wire.session = self.session

    async def send(self) -> asyncio.Task[Transaction]:
        """A transaction under way, its first commands written."""
        task = asyncio.create_task(self.session.send(ENVELOPE, STORED, 33, False, Told()))
        await asyncio.sleep(0)
        return task

    async def hear(self, octets: bytes) -> None:
        self.session.data_received(octets)
        await asyncio.sleep(0)


WAITS = [
    (b"", Stage.MAIL, 300),
    (b"250 Ok\r\n", Stage.RCPT, 300),
    (b"250 Ok\r\n250 Ok\r\n", Stage.DATA, 120),
    (b"250 Ok\r\n250 Ok\r\n354 Go on\r\n", Stage.DOT, 600),
]


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize(("said", "stage", "seconds"), WAITS)
def test_each_stage_is_waited_for_as_long_as_rfc_5321_wants_and_no_longer(
    said: bytes, stage: Stage, seconds: float, pipelining: bool
) -> None:
    async def test() -> None:
        line = Line(pipelining)
        sending = await line.send()
        for reply in said.splitlines(keepends=True) if not pipelining else [said]:
            await line.hear(reply)
        await line.loop.move(seconds - 1)
        assert not sending.done()
        await line.loop.move(2)
        result = await sending
        assert result.trouble is not None
        assert (result.trouble.stage, result.trouble.fault) == (stage, Fault.TIMEOUT)
        assert result.trouble.dot_sent is (stage is Stage.DOT)
        assert line.wire.aborted

    run_by_hand(test)


def test_a_reply_in_the_last_second_after_the_dot_is_heard() -> None:
    async def test() -> None:
        line = Line(pipelining=True)
        sending = await line.send()
        await line.hear(b"250 Ok\r\n250 Ok\r\n354 Go on\r\n")
        await line.loop.move(599)
        await line.hear(b"250 Queued\r\n")
        result = await sending
        assert result.dot is not None
        assert line.session.usable

    run_by_hand(test)


def test_a_reply_of_one_octet_a_second_is_tolerated() -> None:
    async def test() -> None:
        line = Line(pipelining=True)
        sending = await line.send()
        for octet in b"250 Ok\r\n250 Ok\r\n354 Go on\r\n":
            await line.hear(bytes([octet]))
            await line.loop.move(1)
        await line.hear(b"250 Queued\r\n")
        assert (await sending).dot is not None

    run_by_hand(test)


def test_each_line_starts_the_wait_anew_but_a_reply_ends_after_twice_its_time() -> None:
    async def test() -> None:
        line = Line(pipelining=True)
        sending = await line.send()
        for _ in range(2):
            await line.hear(b"250-wait\r\n")
            await line.loop.move(299)
            assert not sending.done()
        await line.hear(b"250-wait\r\n")
        await line.loop.move(3)
        trouble = (await sending).trouble
        assert trouble is not None
        assert trouble.fault is Fault.TIMEOUT

    run_by_hand(test)


def test_octets_without_a_line_end_do_not_prolong_the_wait() -> None:
    async def test() -> None:
        line = Line(pipelining=True)
        sending = await line.send()
        await line.loop.move(299)
        await line.hear(b"250-wai")
        await line.loop.move(2)
        assert (await sending).trouble is not None

    run_by_hand(test)


def test_reset_is_waited_for_twenty_seconds() -> None:
    async def test() -> None:
        line = Line(pipelining=False)
        refused = await line.send()
        await line.hear(b"550 No\r\n")
        await refused
        sending = await line.send()
        await line.loop.move(21)
        assert line.wire.written.endswith(b"RSET\r\n")
        trouble = (await sending).trouble
        assert trouble is not None
        assert trouble.fault is Fault.TIMEOUT

    run_by_hand(test)


def test_an_idle_session_has_no_deadline() -> None:
    async def test() -> None:
        line = Line(pipelining=True)
        sending = await line.send()
        await line.hear(b"250 Ok\r\n250 Ok\r\n354 Go on\r\n")
        await line.hear(b"250 Queued\r\n")
        await sending
        await line.loop.move(10_000)
        assert line.session.usable
        sending = await line.send()
        await line.hear(b"250 Ok\r\n250 Ok\r\n354 Go on\r\n")
        await line.hear(b"250 Queued\r\n")
        assert (await sending).dot is not None

    run_by_hand(test)


def test_a_connection_that_does_not_close_after_quit_is_cut_off_after_five_seconds() -> None:
    async def test() -> None:
        line = Line(pipelining=True, stuck=True)
        line.session.close()
        assert line.wire.written == b"QUIT\r\n"
        await line.loop.move(4)
        assert not line.wire.aborted
        await line.loop.move(2)
        assert line.wire.aborted

    run_by_hand(test)


def test_a_dot_that_could_not_be_written_was_not_sent() -> None:
    async def test() -> None:
        line = Line(pipelining=True)
        sending = await line.send()
        line.wire.abort()
        line.session.data_received(b"250 Ok\r\n250 Ok\r\n354 Go on\r\n")
        trouble = (await sending).trouble
        assert trouble is not None
        assert (trouble.stage, trouble.fault, trouble.dot_sent) == (Stage.DATA, Fault.LOST, False)

    run_by_hand(test)
