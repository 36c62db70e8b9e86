"""The mail transaction without I/O: commands and replies in their places."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.commands import Capabilities, Unsendable
from postroad.mail.message import Body, Envelope
from postroad.mail.outcome import Fault, Stage
from postroad.mail.reply import Reply
from postroad.mail.transaction import Exchange, Transaction
from tests.support.build import envelope

ALL = Capabilities(pipelining=True, eight_bit=True, smtputf8=True, dsn=True, size_offered=True)
ONE_BY_ONE = replace(ALL, pipelining=False)
NOTHING = Capabilities()
BINARY = replace(ALL, binary=True)
OK, GO_ON, NO, LATER, CLOSING = (Reply(code) for code in (250, 354, 550, 450, 421))


def play(exchange: Exchange, *replies: Reply) -> bytes:
    """What was written, "<content>" where the content went."""
    written = exchange.begin()
    for reply in replies:
        written += exchange.receive(reply)
        if exchange.content_due:
            written += b"<content>"
            exchange.dot_sent()
    return written


# --- the dialogue ----------------------------------------------------------------


def test_with_pipelining_everything_up_to_data_is_one_write() -> None:
    exchange = Exchange(envelope("b", "c"), ALL, 10)
    assert exchange.begin() == (
        b"MAIL FROM:<a@example.com> SIZE=10\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n"
    )


def test_without_pipelining_each_command_waits_for_its_turn() -> None:
    exchange = Exchange(envelope(), ONE_BY_ONE, 10)
    assert exchange.begin() == b"MAIL FROM:<a@example.com> SIZE=10\r\n"
    assert exchange.receive(OK) == b"RCPT TO:<b@example.org>\r\n"
    assert exchange.receive(OK) == b"DATA\r\n"
    assert exchange.receive(GO_ON) == b""
    assert exchange.content_due


# What was said, and then: the transaction, whether in step, whether RSET comes next.
DIALOGUES = [
    ((OK, OK, NO, GO_ON, OK), Transaction(OK, (OK, NO), GO_ON, OK), True, False),
    ((OK, NO, OK, GO_ON, NO), Transaction(OK, (NO, OK), GO_ON, NO), True, True),
    (
        (OK, Reply(251), Reply(252), GO_ON, OK),
        Transaction(OK, (Reply(251), Reply(252)), GO_ON, OK),
        True,
        False,
    ),
    ((OK, OK, OK, LATER), Transaction(OK, (OK, OK), LATER), True, True),
    ((CLOSING,), Transaction(CLOSING, (None, None)), False, True),
    ((OK, CLOSING), Transaction(OK, (CLOSING, None)), False, True),
    ((OK, OK, CLOSING), Transaction(OK, (OK, CLOSING)), False, True),
    ((OK, OK, OK, CLOSING), Transaction(OK, (OK, OK), CLOSING), False, True),
    ((OK, OK, OK, GO_ON, CLOSING), Transaction(OK, (OK, OK), GO_ON, CLOSING), False, True),
]


@pytest.mark.parametrize("offered", [ALL, ONE_BY_ONE])
@pytest.mark.parametrize(("said", "result", "in_step", "needs_reset"), DIALOGUES)
def test_every_reply_belongs_to_its_command(
    said: tuple[Reply, ...], result: Transaction, in_step: bool, needs_reset: bool, offered: Capabilities
) -> None:
    exchange = Exchange(envelope("b", "c"), offered, 10)
    play(exchange, *said)
    assert exchange.done
    assert exchange.result == result
    assert (exchange.in_step, exchange.needs_reset) == (in_step, needs_reset)


@pytest.mark.parametrize("last", [OK, NO])
def test_data_accepted_for_nobody_is_ended_with_a_lone_dot_and_delivers_nothing(last: Reply) -> None:
    exchange = Exchange(envelope("b", "c"), ALL, 10)
    assert play(exchange, OK, NO, NO, GO_ON).endswith(b"DATA\r\n.\r\n")
    exchange.receive(last)
    assert exchange.done
    assert exchange.result == Transaction(OK, (NO, NO), GO_ON, None)
    assert exchange.needs_reset


def test_data_accepted_although_mail_was_refused_delivers_nothing() -> None:
    exchange = Exchange(envelope(), ALL, 10)
    assert play(exchange, NO, OK, GO_ON).endswith(b"DATA\r\n.\r\n")
    exchange.receive(OK)
    assert exchange.result.dot is None


def test_with_pipelining_the_replies_after_a_refused_mail_are_still_awaited() -> None:
    exchange = Exchange(envelope(), ALL, 10)
    play(exchange, NO, Reply(503))
    assert not exchange.done
    exchange.receive(Reply(503))
    assert exchange.done
    assert exchange.in_step


@pytest.mark.parametrize(("said", "asked"), [((NO,), b"MAIL"), ((OK, NO), b"RCPT")])
def test_without_pipelining_nothing_more_is_asked_once_nobody_can_receive(
    said: tuple[Reply, ...], asked: bytes
) -> None:
    exchange = Exchange(envelope(), ONE_BY_ONE, 10)
    written = play(exchange, *said)
    assert exchange.done
    assert written.splitlines()[-1].startswith(asked)


MISPLACED = [
    ((GO_ON,), Stage.MAIL),
    ((OK, GO_ON), Stage.RCPT),
    ((OK, OK, OK), Stage.DATA),
    ((OK, OK, Reply(334)), Stage.DATA),
    ((OK, OK, GO_ON, GO_ON), Stage.DOT),
]


@pytest.mark.parametrize("offered", [ALL, ONE_BY_ONE])
@pytest.mark.parametrize(("said", "stage"), MISPLACED)
def test_a_reply_of_the_wrong_kind_ends_the_session(
    said: tuple[Reply, ...], stage: Stage, offered: Capabilities
) -> None:
    exchange = Exchange(envelope(), offered, 10)
    play(exchange, *said)
    trouble = exchange.result.trouble
    assert trouble is not None
    assert (trouble.stage, trouble.fault) == (stage, Fault.PROTOCOL)
    assert trouble.dot_sent is (stage is Stage.DOT)
    assert exchange.result.dot is None
    assert not exchange.in_step


@pytest.mark.parametrize("early", [OK, NO, LATER])
def test_a_reply_before_the_final_dot_is_not_the_reply_to_it(early: Reply) -> None:
    exchange = Exchange(envelope(), ALL, 10)
    exchange.begin()
    for reply in (OK, OK, GO_ON, early):
        exchange.receive(reply)
    result = exchange.result
    assert result.dot is None
    assert result.trouble is not None
    assert (result.trouble.stage, result.trouble.fault) == (Stage.DATA, Fault.PROTOCOL)
    assert not result.trouble.dot_sent


def test_421_while_the_content_is_on_its_way_is_believed() -> None:
    exchange = Exchange(envelope(), ALL, 10)
    exchange.begin()
    for reply in (OK, OK, GO_ON, CLOSING):
        exchange.receive(reply)
    assert exchange.result == Transaction(OK, (OK,), GO_ON, CLOSING)
    assert not exchange.in_step


@pytest.mark.parametrize(
    ("said", "stage", "dot_sent"),
    [
        ((), Stage.MAIL, False),
        ((OK,), Stage.RCPT, False),
        ((OK, OK), Stage.DATA, False),
        ((OK, OK, GO_ON), Stage.DOT, True),
        ((OK, NO, GO_ON), Stage.DOT, False),
    ],
)
def test_a_lost_connection_says_where_and_whether_the_receiver_may_own_the_message(
    said: tuple[Reply, ...], stage: Stage, dot_sent: bool
) -> None:
    exchange = Exchange(envelope(), ALL, 10)
    play(exchange, *said)
    exchange.fail(Fault.LOST, "gone")
    trouble = exchange.result.trouble
    assert trouble is not None
    assert (trouble.stage, trouble.fault, trouble.dot_sent) == (stage, Fault.LOST, dot_sent)


def test_reset_goes_in_front_and_its_reply_says_nothing_about_the_message() -> None:
    exchange = Exchange(envelope(), ALL, 10, reset=True)
    assert exchange.begin().startswith(b"RSET\r\nMAIL FROM:")
    assert exchange.resetting
    for reply in (Reply(500), OK, OK, GO_ON):
        exchange.receive(reply)
    exchange.dot_sent()
    exchange.receive(OK)
    assert exchange.result == Transaction(OK, (OK,), GO_ON, OK)


def test_reset_without_pipelining_is_asked_alone() -> None:
    exchange = Exchange(envelope(), ONE_BY_ONE, 10, reset=True)
    assert exchange.begin() == b"RSET\r\n"
    assert exchange.receive(OK).startswith(b"MAIL")


def test_421_to_reset_stands_for_mail() -> None:
    exchange = Exchange(envelope(), ALL, 10, reset=True)
    play(exchange, CLOSING)
    assert exchange.result.mail == CLOSING
    assert not exchange.in_step


codes = st.sampled_from([200, 250, 251, 354, 334, 421, 450, 452, 500, 550, 554])


@given(st.lists(codes, max_size=9), st.booleans(), st.booleans(), st.integers(1, 3))
def test_nothing_is_delivered_but_by_2xx_after_the_final_dot(
    said: list[int], pipelining: bool, reset: bool, recipients: int
) -> None:
    exchange = Exchange(envelope(*"bcd"[:recipients]), replace(ALL, pipelining=pipelining), 10, reset=reset)
    exchange.begin()
    content_sent = False
    for code in said:
        if exchange.done:
            break
        exchange.receive(Reply(code))
        if exchange.content_due:
            content_sent = True
            exchange.dot_sent()
    result = exchange.result
    if result.dot is not None and result.dot.kind == 2:
        assert content_sent
        assert result.mail is not None
        assert result.mail.kind == 2
        assert any(reply is not None and reply.kind == 2 for reply in result.rcpts)
        assert result.trouble is None
    if content_sent:
        assert any(reply is not None and reply.kind == 2 for reply in result.rcpts)
    if result.trouble is not None:
        assert exchange.done
        assert not exchange.in_step


refusals = st.sampled_from([250, 250, 251, 450, 550])


@given(refusals, st.lists(refusals, min_size=1, max_size=4), st.sampled_from([354, 354, 451, 554]), refusals)
def test_pipelining_changes_the_round_trips_and_not_who_receives(
    mail: int, rcpts: list[int], data: int, dot: int
) -> None:
    received = []
    for offered in (ALL, ONE_BY_ONE):
        exchange = Exchange(envelope(*"bcde"[: len(rcpts)]), offered, 10)
        play_to_the_end(exchange, mail, rcpts, data, dot)
        result = exchange.result
        delivered = result.dot is not None and result.dot.kind == 2
        received.append([delivered and reply is not None and reply.kind == 2 for reply in result.rcpts])
        assert exchange.done
        assert exchange.in_step
    assert received[0] == received[1]


def play_to_the_end(exchange: Exchange, mail: int, rcpts: list[int], data: int, dot: int) -> None:
    exchange.begin()
    for code in (mail, *rcpts, data, dot):
        if exchange.done:
            return
        exchange.receive(Reply(code))
        if exchange.content_due:
            exchange.dot_sent()


# --- binary content ---------------------------------------------------------------


def binary(*to: str) -> Envelope:
    return replace(envelope(*to), body=Body.BINARY)


@pytest.mark.parametrize(
    "offered", [BINARY, replace(BINARY, pipelining=False)], ids=["pipelined", "one by one"]
)
@pytest.mark.parametrize(
    ("replies", "content", "dot"),
    [
        ((OK, OK, OK, OK), True, OK),
        ((OK, NO, OK, LATER), True, LATER),
        ((OK, OK, OK, NO), True, NO),
        ((OK, NO, LATER), False, None),
    ],
)
def test_binary_content_is_one_chunk_once_a_recipient_is_accepted(
    offered: Capabilities, replies: tuple[Reply, ...], content: bool, dot: Reply | None
) -> None:
    exchange = Exchange(binary("b", "c"), offered, 1000)
    written = play(exchange, *replies)
    assert exchange.done
    assert exchange.in_step
    assert b"DATA" not in written
    assert written.endswith(b"<content>") == content
    assert (exchange.result.dot, exchange.result.trouble) == (dot, None)
    assert exchange.needs_reset == (dot is not OK)


def test_binary_content_waits_for_the_last_recipient() -> None:
    exchange = Exchange(binary("b", "c"), BINARY, 1000)
    play(exchange, OK, OK)
    assert not exchange.content_due
    assert exchange.stage is Stage.RCPT
    exchange.receive(NO)
    assert exchange.content_due
    assert exchange.stage is Stage.DATA
    exchange.dot_sent()
    assert exchange.stage is Stage.DOT


@pytest.mark.parametrize("offered", [ALL, NOTHING])
def test_binary_content_never_goes_where_it_is_not_offered(offered: Capabilities) -> None:
    with pytest.raises(Unsendable) as refused:
        Exchange(binary(), offered, 1000)
    assert refused.value.trouble.fault is Fault.NO_BINARYMIME
