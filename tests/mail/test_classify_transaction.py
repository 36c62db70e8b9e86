"""What the replies of a whole transaction mean for each of its recipients."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.classify import judge_transaction
from postroad.mail.outcome import Fault, Kind, Reason, Scope, Stage, Trouble
from postroad.mail.reply import Reply
from postroad.mail.routing import Endpoint
from postroad.mail.rules import default_rules
from postroad.mail.transaction import Transaction

RULES = default_rules()
MX = Endpoint("mx.example", "192.0.2.1", 25)


OK = Reply(250, ("ok",), "2.1.5")
GO = Reply(354, ("go on",))
QUEUED = Reply(250, ("queued",), "2.0.0")
GREY = Reply(450, ("Greylisted",), "4.2.0")
UNKNOWN = Reply(550, ("User unknown",), "5.1.1")
CLOSING = Reply(421, ("closing",), "4.3.2")
CROWDED = Reply(452, ("Too many recipients",), "4.5.3")
LOST = Trouble(Stage.DATA, Fault.LOST, "reset")
UNSURE = Trouble(Stage.DOT, Fault.LOST, "reset", dot_sent=True)


def verdicts(
    mail: Reply | None,
    rcpts: Sequence[Reply | None],
    data: Reply | None = None,
    dot: Reply | None = None,
    trouble: Trouble | None = None,
) -> list[tuple[Kind, Reason, Scope] | None]:
    found = judge_transaction(Transaction(mail, tuple(rcpts), data, dot, trouble), MX, RULES)
    return [None if one is None else (one.kind, one.reason, one.scope) for one in found]


DELIVERED = (Kind.DELIVERED, Reason.OK, Scope.RECIPIENT)
GREYLISTED = (Kind.DEFERRED, Reason.GREYLIST, Scope.RECIPIENT)
NOBODY = (Kind.FAILED, Reason.INVALID, Scope.RECIPIENT)
CUT_OFF = (Kind.DEFERRED, Reason.NETWORK, Scope.SESSION)
DOUBTFUL = (Kind.DEFERRED, Reason.AMBIGUOUS, Scope.MESSAGE)
NEXT_SESSION = (Kind.DEFERRED, Reason.TOO_MANY_RECIPIENTS, Scope.SESSION)


class TestTransaction:
    def test_each_recipient_has_its_own_verdict(self) -> None:
        assert verdicts(OK, [OK, GREY, UNKNOWN], GO, QUEUED) == [DELIVERED, GREYLISTED, NOBODY]

    def test_accepted_ones_are_delivered_whatever_came_after(self) -> None:
        assert verdicts(OK, [OK, OK], GO, QUEUED, UNSURE) == [DELIVERED, DELIVERED]
        assert verdicts(OK, [OK, None], GO, QUEUED, LOST) == [DELIVERED, CUT_OFF]

    def test_a_refused_sender_hits_all_whatever_their_replies(self) -> None:
        refused = Reply(550, ("spam",), "5.7.1")
        nonsense = Reply(503, ("need MAIL",), "5.5.1")
        hit = (Kind.FAILED, Reason.SPAM, Scope.MESSAGE)
        assert verdicts(refused, [nonsense, nonsense, None], nonsense) == [hit] * 3
        assert verdicts(CLOSING, [None, None], trouble=LOST) == [CUT_OFF] * 2

    @pytest.mark.parametrize("end", ["data", "dot"])
    def test_a_refused_message_hits_the_accepted_ones(self, end: str) -> None:
        big = Reply(552, ("too big",), "5.3.4")
        data, dot = (big, None) if end == "data" else (GO, big)
        hit = (Kind.FAILED, Reason.TOO_BIG, Scope.MESSAGE)
        assert verdicts(OK, [OK, GREY], data, dot) == [hit, GREYLISTED]

    def test_greylisting_after_the_dot_defers_the_accepted_ones(self) -> None:
        late = (Kind.DEFERRED, Reason.GREYLIST, Scope.MESSAGE)
        assert verdicts(OK, [OK, UNKNOWN], GO, Reply(451, ("Greylisted",), "4.7.1")) == [late, NOBODY]

    def test_a_connection_lost_before_the_dot_is_a_matter_of_the_session(self) -> None:
        assert verdicts(OK, [OK, UNKNOWN, None], GO, trouble=LOST) == [CUT_OFF, NOBODY, CUT_OFF]
        assert verdicts(None, [None, None], trouble=LOST) == [CUT_OFF] * 2

    def test_a_connection_lost_after_the_dot_leaves_doubt(self) -> None:
        assert verdicts(OK, [OK, UNKNOWN], GO, trouble=UNSURE) == [DOUBTFUL, NOBODY]

    @pytest.mark.parametrize(
        ("rcpts", "data", "dot"),
        [([OK, CLOSING, None], None, None), ([OK, OK, None], CLOSING, None), ([OK, OK, OK], GO, CLOSING)],
    )
    def test_421_cuts_all_off_that_are_still_open(
        self, rcpts: list[Reply | None], data: Reply | None, dot: Reply | None
    ) -> None:
        for trouble in (None, LOST):
            assert verdicts(OK, rcpts, data, dot, trouble) == [CUT_OFF] * 3

    def test_a_message_too_big_for_the_peer_fails_for_all(self) -> None:
        trouble = Trouble(Stage.LOCAL, Fault.SIZE, "message size 9 exceeds size limit 1 of the server")
        assert (
            verdicts(None, [None, None], trouble=trouble)
            == [(Kind.FAILED, Reason.TOO_BIG, Scope.MESSAGE)] * 2
        )

    def test_an_end_without_a_reason_is_our_own_fault(self) -> None:
        assert verdicts(OK, [OK], GO) == [(Kind.DEFERRED, Reason.INTERNAL, Scope.MESSAGE)]


class TestTooManyRecipients:
    @pytest.mark.parametrize(
        "crowded",
        [
            CROWDED,
            Reply(452, ("no",)),
            Reply(450, ("x",), "4.5.3"),
            Reply(552, ("Too many",)),
            Reply(552, ("x",), "5.5.3"),
        ],
    )
    def test_after_an_accepted_one_the_rest_goes_again_at_once(self, crowded: Reply) -> None:
        assert verdicts(OK, [OK, crowded, crowded], GO, QUEUED) == [DELIVERED, None, None]

    def test_with_none_accepted_before_it_is_a_refusal(self) -> None:
        first, second = verdicts(OK, [CROWDED, OK], GO, QUEUED)
        assert first == (Kind.DEFERRED, Reason.TOO_MANY_RECIPIENTS, Scope.RECIPIENT)
        assert second == DELIVERED
        assert verdicts(OK, [Reply(552, ("no",))]) == [(Kind.FAILED, Reason.PERMANENT, Scope.RECIPIENT)]

    @pytest.mark.parametrize(
        ("other", "kind", "reason"),
        [
            (Reply(552, ("too big",), "5.3.4"), Kind.FAILED, Reason.TOO_BIG),
            (Reply(552, ("full",), "5.2.2"), Kind.FAILED, Reason.FULL),
            (Reply(452, ("full",), "4.2.2"), Kind.DEFERRED, Reason.FULL),
            (Reply(452, ("mailbox full",)), Kind.DEFERRED, Reason.FULL),
            (Reply(452, ("Insufficient system storage",), "4.3.1"), Kind.DEFERRED, Reason.TEMPORARY),
        ],
    )
    def test_the_same_codes_for_another_reason_are_refusals(
        self, other: Reply, kind: Kind, reason: Reason
    ) -> None:
        assert verdicts(OK, [OK, other], GO, QUEUED) == [DELIVERED, (kind, reason, Scope.RECIPIENT)]

    @pytest.mark.parametrize("crowded", [CROWDED, Reply(552, ("Too many",))])
    def test_when_the_session_is_over_at_once_means_the_next_session(self, crowded: Reply) -> None:
        assert verdicts(OK, [OK, crowded], GO, None, UNSURE) == [DOUBTFUL, NEXT_SESSION]
        assert verdicts(OK, [OK, crowded], GO, CLOSING) == [CUT_OFF, NEXT_SESSION]


ANY_REPLY = st.builds(
    Reply,
    st.sampled_from([211, 250, 251, 334, 354, 421, 450, 451, 452, 500, 503, 550, 552, 554]),
    st.tuples(st.sampled_from(["ok", "Greylisted", "try again later", "mailbox full", "spam", ""])),
    st.none(),
)
ANY_TROUBLE = st.builds(
    Trouble, st.sampled_from(Stage), st.sampled_from(Fault), st.just("because"), st.booleans()
)


@given(
    st.none() | ANY_REPLY,
    st.lists(st.none() | ANY_REPLY, max_size=6),
    st.none() | ANY_REPLY,
    st.none() | ANY_REPLY,
    st.none() | ANY_TROUBLE,
)
def test_every_recipient_has_one_verdict_and_only_those_taken_twice_are_delivered(
    mail: Reply | None,
    rcpts: list[Reply | None],
    data: Reply | None,
    dot: Reply | None,
    trouble: Trouble | None,
) -> None:
    found = judge_transaction(Transaction(mail, tuple(rcpts), data, dot, trouble), MX, RULES)
    assert len(found) == len(rcpts)
    taken = dot is not None and dot.kind == 2
    for verdict, rcpt in zip(found, rcpts, strict=True):
        accepted = rcpt is not None and rcpt.kind == 2
        delivered = verdict is not None and verdict.kind is Kind.DELIVERED
        assert delivered == (taken and accepted)
        if verdict is not None:
            assert verdict.status[0] == {"delivered": "2", "deferred": "4", "failed": "5"}[verdict.kind]
            assert verdict.text.isprintable()
    if None in found:
        assert any(verdict is not None for verdict in found), "repeating comes to an end"
