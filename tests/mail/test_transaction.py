"""The mail transaction without I/O: commands, content, replies in their places."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.address import Address
from postroad.mail.commands import Capabilities, Unsendable, mail_command, path, rcpt_command
from postroad.mail.framing import ChunkFramer, DotStuffer, framed
from postroad.mail.message import Body, Envelope, EnvelopeRecipient, Handling, Notify, Ret
from postroad.mail.outcome import Fault, Stage
from postroad.mail.reply import Reply
from postroad.mail.transaction import Exchange, Transaction

ALL = Capabilities(pipelining=True, eight_bit=True, smtputf8=True, dsn=True, size_offered=True)
ONE_BY_ONE = replace(ALL, pipelining=False)
NOTHING = Capabilities()
BINARY = replace(ALL, binary=True)
OK, GO_ON, NO, LATER, CLOSING = (Reply(code) for code in (250, 354, 550, 450, 421))


def envelope(*to: str) -> Envelope:
    return Envelope(
        Address("a", "example.com"),
        tuple(EnvelopeRecipient(Address(local, "example.org")) for local in to or ("b",)),
    )


def play(exchange: Exchange, *replies: Reply) -> bytes:
    """What was written, "<content>" where the content went."""
    written = exchange.begin()
    for reply in replies:
        written += exchange.receive(reply)
        if exchange.content_due:
            written += b"<content>"
            exchange.dot_sent()
    return written


# --- commands --------------------------------------------------------------------

MAIL = [
    (ALL, {}, "MAIL FROM:<a@example.com> SIZE=1000"),
    (NOTHING, {}, "MAIL FROM:<a@example.com>"),
    (ALL, {"sender": None}, "MAIL FROM:<> SIZE=1000"),
    (ALL, {"body": Body.EIGHT_BIT}, "MAIL FROM:<a@example.com> SIZE=1000 BODY=8BITMIME"),
    (ALL, {"body": Body.SEVEN_BIT}, "MAIL FROM:<a@example.com> SIZE=1000"),
    (ALL, {"smtputf8": True}, "MAIL FROM:<a@example.com> SIZE=1000 SMTPUTF8"),
    (ALL, {"sender": Address("é", "example.com")}, "MAIL FROM:<é@example.com> SIZE=1000 SMTPUTF8"),
    (ALL, {"ret": Ret.HDRS, "envid": "id+2B7"}, "MAIL FROM:<a@example.com> SIZE=1000 RET=HDRS ENVID=id+2B7"),
    (NOTHING, {"ret": Ret.HDRS, "envid": "id"}, "MAIL FROM:<a@example.com>"),
    (BINARY, {"body": Body.BINARY}, "MAIL FROM:<a@example.com> SIZE=1000 BODY=BINARYMIME"),
    (ALL, {"handling": Handling(priority=-4)}, "MAIL FROM:<a@example.com> SIZE=1000"),
    (
        replace(ALL, mt_priority=True, requiretls=True),
        {"handling": Handling(priority=3, requiretls=True, hold_until=1.0)},
        "MAIL FROM:<a@example.com> SIZE=1000 REQUIRETLS MT-PRIORITY=3",
    ),
    (ALL, {"sender": None, "handling": Handling(requiretls=True)}, "MAIL FROM:<> SIZE=1000"),
]


@pytest.mark.parametrize(("offered", "fields", "command"), MAIL)
def test_mail_carries_what_the_peer_offered(
    offered: Capabilities, fields: dict[str, object], command: str
) -> None:
    exchange = Exchange(replace(envelope(), **fields), replace(offered, pipelining=False), 1000)  # type: ignore[arg-type]
    assert exchange.begin().decode() == command + "\r\n"


@pytest.mark.parametrize(
    ("notify", "orcpt", "dsn", "command"),
    [
        (None, None, True, "RCPT TO:<b@example.org>"),
        (Notify.NEVER, None, True, "RCPT TO:<b@example.org> NOTIFY=NEVER"),
        (Notify.SUCCESS | Notify.DELAY, None, True, "RCPT TO:<b@example.org> NOTIFY=SUCCESS,DELAY"),
        (
            Notify.FAILURE,
            "rfc822;B+40x@example.org",
            True,
            "RCPT TO:<b@example.org> NOTIFY=FAILURE ORCPT=rfc822;B+40x@example.org",
        ),
        (Notify.FAILURE, "rfc822;b@example.org", False, "RCPT TO:<b@example.org>"),
        (None, "utf-8;é@example.org", True, "RCPT TO:<b@example.org>"),
    ],
)
def test_rcpt_carries_dsn_parameters_where_dsn_is_offered(
    notify: Notify | None, orcpt: str | None, dsn: bool, command: str
) -> None:
    recipient = EnvelopeRecipient(Address("b", "example.org"), notify, orcpt)
    assert rcpt_command(recipient, dsn).decode() == command + "\r\n"


@pytest.mark.parametrize(
    ("local", "domain", "text"),
    [
        ("a", "example.com", "<a@example.com>"),
        ("a b", "example.com", '<"a b"@example.com>'),
        ('a"b\\c', "example.com", '<"a\\"b\\\\c"@example.com>'),
        ("a>", "example.com", '<"a>"@example.com>'),
        ("a", "[192.0.2.1]", "<a@[192.0.2.1]>"),
        ("a", "[IPv6:2001:db8::1]", "<a@[IPv6:2001:db8::1]>"),
        ("a", "x_y.example", "<a@x_y.example>"),
    ],
)
def test_a_path_is_quoted_where_it_must_be(local: str, domain: str, text: str) -> None:
    assert path(Address(local, domain)) == text


@pytest.mark.parametrize(
    "address",
    [
        Address("a\r\nRCPT TO:<x@example.com>", "example.com"),
        Address("a\x00", "example.com"),
        Address("a\x7f", "example.com"),
        Address("a\x85", "example.com"),
        Address("a\u2028", "example.com"),
        Address("a", "example.com> SIZE=1"),
        Address("a", "example.com\r\nDATA"),
        Address("a", "exam ple.com"),
        Address("a", "example.com\n"),
        Address("a", ""),
    ],
)
def test_an_address_that_would_break_its_command_is_never_sent(address: Address) -> None:
    for where in (
        Envelope(address, envelope().recipients),
        Envelope(None, (EnvelopeRecipient(address),)),
    ):
        with pytest.raises(Unsendable) as refused:
            Exchange(where, ALL, 10)
        assert refused.value.trouble.fault is Fault.INTERNAL
        assert refused.value.trouble.text.isprintable()


@pytest.mark.parametrize("value", ["a b", "a\r\nb", "a=b", "", "a\x00"])
def test_a_parameter_that_would_break_its_command_is_never_sent(value: str) -> None:
    with pytest.raises(Unsendable):
        mail_command(replace(envelope(), envid=value), ALL, 10, False)
    with pytest.raises(Unsendable):
        rcpt_command(EnvelopeRecipient(Address("b", "example.org"), orcpt=value), True)


@pytest.mark.parametrize(
    ("offered", "fields", "fault"),
    [
        (replace(ALL, size=999), {}, Fault.SIZE),
        (replace(ALL, smtputf8=False), {"smtputf8": True}, Fault.NO_SMTPUTF8),
        (replace(ALL, smtputf8=False), {"sender": Address("é", "example.com")}, Fault.NO_SMTPUTF8),
        (replace(ALL, eight_bit=False), {"body": Body.EIGHT_BIT}, Fault.NO_8BITMIME),
    ],
)
def test_what_the_peer_cannot_take_is_refused_before_anything_is_sent(
    offered: Capabilities, fields: dict[str, object], fault: Fault
) -> None:
    with pytest.raises(Unsendable) as refused:
        Exchange(replace(envelope(), **fields), offered, 1000)  # type: ignore[arg-type]
    assert (refused.value.trouble.stage, refused.value.trouble.fault) == (Stage.MAIL, fault)


def test_a_message_as_large_as_the_peer_allows_is_sent() -> None:
    assert Exchange(envelope(), replace(ALL, size=1000), 1000).begin()


# --- content ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"a\r\n.b\r\n..c\r\n", b"a\r\n..b\r\n...c\r\n.\r\n"),
        (b"a.b\r\n", b"a.b\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r", b"a\r\r\n.\r\n"),
    ],
)
def test_lines_that_start_with_a_dot_get_another_and_the_end_is_a_dot_alone(
    content: bytes, wire: bytes
) -> None:
    assert framed(content, b"", True) == wire
    assert framed(b"", content, True) == wire


def test_content_without_such_lines_is_not_even_copied() -> None:
    chunk = b"a\r\nb\r\n"
    assert DotStuffer(False).feed(chunk) is chunk


@pytest.mark.parametrize(
    ("head", "body"),
    [(b"a: b\r\n\r\n", b"c\r\n"), (b"a: b\r\n", b""), (b"a: b\r", b"\n"), (b"", b"c"), (b"", b"c\r")],
)
def test_content_that_needs_no_dots_ends_like_any_other(head: bytes, body: bytes) -> None:
    assert framed(head, body, False) == framed(head, body, True)


@given(st.lists(st.text("a.\r\n", max_size=5).map(str.encode), max_size=6))
def test_chunks_are_stuffed_as_the_whole_would_be(chunks: list[bytes]) -> None:
    stuffer = DotStuffer(True)
    assert b"".join(map(stuffer.feed, chunks)) + stuffer.finish() == framed(b"", b"".join(chunks), True)


@given(st.lists(st.text("a.", max_size=4).map(lambda line: line.encode() + b"\r\n"), max_size=6))
def test_the_receiver_gets_back_what_was_sent(lines: list[bytes]) -> None:
    wire = framed(b"", b"".join(lines), True).splitlines(keepends=True)
    assert wire[-1] == b".\r\n"
    assert b".\r\n" not in wire[:-1]
    assert [line.removeprefix(b".") for line in wire[:-1]] == lines


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


def test_a_message_that_requires_tls_never_goes_where_that_is_not_promised() -> None:
    with pytest.raises(Unsendable) as refused:
        Exchange(replace(envelope(), handling=Handling(requiretls=True)), BINARY, 1000)
    assert refused.value.trouble.fault is Fault.NO_REQUIRETLS


@given(st.lists(st.binary(max_size=9), max_size=9))
def test_a_chunk_is_its_octets_behind_their_number(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    framer = ChunkFramer(len(content) or 7)
    written = b"".join(map(framer.feed, pieces)) + framer.finish()
    assert framer.left == (0 if content else 7)
    assert not pieces or written == b"BDAT %d LAST\r\n" % (len(content) or 7) + content
