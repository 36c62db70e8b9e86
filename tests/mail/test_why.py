"""Each waiting recipient has the one constraint that binds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.backoff import RetryPolicy
from postroad.mail.lifecycle import State
from postroad.mail.local_names import LOCAL
from postroad.mail.message import Handling, Hold, Message, Recipient
from postroad.mail.outcome import Reason
from postroad.mail.throttle import NotBefore
from postroad.mail.why import Constraint, Live, Why, as_row, explain, span
from tests.support.build import NOW, deferred, hop, message, recipient

SAID = deferred(text="450 4.7.1 not now", reason=Reason.TEMPORARY, hint=None)
LATER = NOW + 300
QUIET = Live(site="mx.example.org", window=2, limit=10, most=500)


def why(
    live: Live | None = QUIET,
    owner: Message | None = None,
    *,
    routed: bool = True,
    in_line: bool = False,
    **fields: Any,
) -> Why:
    row = recipient(**{"attempts": 1, "last": SAID, "due": LATER, **fields})
    return explain(owner or message(), row, NOW, RetryPolicy(), live, routed=routed, in_line=in_line)


def said(reason: Reason, **fields: Any) -> dict[str, Any]:
    return {"last": replace(SAID, reason=reason, **fields)}


PAUSED = replace(QUIET, pause=NotBefore(NOW + 60, SAID, NOW - 5))
SILENT = replace(QUIET, lookup=SAID, lookup_until=NOW + 900)

CASES: list[tuple[Why, Constraint, float | None, str | None]] = [
    (why(state=State.ACTIVE), Constraint.ACTIVE, None, None),
    (why(None, state=State.ACTIVE), Constraint.STOPPED, None, None),
    # Claimed, and no connection has it yet.
    (
        why(replace(QUIET, busy=2), in_line=True, state=State.ACTIVE),
        Constraint.CONNECTIONS,
        NOW,
        "limits.connections_per_site",
    ),
    (why(replace(QUIET, ready=3), in_line=True, state=State.ACTIVE), Constraint.TURN, NOW, None),
    (why(PAUSED, state=State.HELD), Constraint.HELD, None, None),
    (why(None, state=State.HELD), Constraint.HELD, None, None),
    (
        why(PAUSED, message(handling=Handling(hold_until=NOW + 77))),
        Constraint.SCHEDULED,
        NOW + 77,
        None,
    ),
    (why(hop=hop("root", LOCAL)), Constraint.ALIAS, LATER, "local.aliases"),
    (why(routed=False), Constraint.ROUTE, LATER, None),
    (why(PAUSED), Constraint.PAUSED, LATER, "limits.pause_first"),
    (why(PAUSED, due=NOW), Constraint.PAUSED, NOW + 60, "limits.pause_first"),
    (why(SILENT), Constraint.DNS, NOW + 900, "dns.nameservers"),
    (why(**said(Reason.DNS)), Constraint.DNS, LATER, None),
    (why(attempts=4, **said(Reason.DNS)), Constraint.DNS, LATER, "retry.schedule"),
    (why(**said(Reason.FULL)), Constraint.RETRY, LATER, None),
    (why(**said(Reason.THROTTLE)), Constraint.HOST, LATER, None),
    (why(**said(Reason.GREYLIST)), Constraint.GREYLIST, LATER, "retry.greylist"),
    (why(**said(Reason.MAYBE_GREYLIST)), Constraint.GREYLIST, LATER, "retry.greylist"),
    (why(**said(Reason.TLS)), Constraint.TLS, LATER, "route.tls"),
    (why(**said(Reason.CONNECTIONS)), Constraint.HOST, LATER, "retry.schedule"),
    (why(**said(Reason.TEMPORARY)), Constraint.RETRY, LATER, "retry.schedule"),
    (why(None), Constraint.RETRY, LATER, "retry.schedule"),
    (why(last=None), Constraint.RETRY, LATER, "retry.schedule"),
    (why(None, due=NOW), Constraint.STOPPED, None, None),
    (why(replace(QUIET, full=True), due=NOW), Constraint.ALL_CONNECTIONS, NOW, "delivery.max_connections"),
    (
        why(replace(QUIET, busy=2), due=NOW),
        Constraint.CONNECTIONS,
        NOW,
        "limits.connections_per_site",
    ),
    (why(replace(QUIET, busy=2, capped=SAID, capped_at=NOW - 9), due=NOW), Constraint.HOST, NOW, None),
    (why(replace(QUIET, busy=1, ready=3), due=NOW), Constraint.TURN, NOW, None),
    (why(QUIET, due=NOW), Constraint.DUE, NOW, None),
    (why(Live(), due=NOW), Constraint.DUE, NOW, None),
]


@pytest.mark.parametrize(("found", "constraint", "next_try", "key"), CASES)
def test_the_first_constraint_that_holds_binds(
    found: Why, constraint: Constraint, next_try: float | None, key: str | None
) -> None:
    assert (found.constraint, found.next_try, found.key) == (constraint, next_try, key)
    assert found.text
    assert found.release


def test_every_constraint_can_bind() -> None:
    assert {constraint for _, constraint, _, _ in CASES} == set(Constraint)


def test_what_was_learned_is_told_with_its_time() -> None:
    paused = why(PAUSED)
    assert (paused.learned, paused.at, paused.value) == (
        SAID,
        NOW - 5,
        "65s this time; with each further trouble more, up to pause_longest",
    )
    capped = why(replace(QUIET, busy=2, capped=SAID, capped_at=NOW - 9), due=NOW)
    assert (capped.learned, capped.at, capped.value) == (SAID, NOW - 9, "2 of 2 now, 10 at most")
    retried = why(last_attempt_at=NOW - 3)
    assert (retried.learned, retried.at) == (SAID, NOW - 3)


def test_who_holds_a_message_is_told() -> None:
    # What an attempt met before is not why it waits.
    by_hand = why(state=State.HELD, **said(Reason.POLICY))
    assert (by_hand.text, by_hand.learned, by_hand.value) == ("an operator holds it", None, None)
    asked = why(state=State.HELD, held=Hold(None, "under review", NOW))
    assert asked.text == "an operator holds it since 2026-11-18T11:06:40Z: under review"
    by_policy = why(state=State.HELD, held=Hold("scan", "looks odd"))
    assert (by_policy.text, by_policy.value) == ("policy scan holds it: looks odd", "looks odd")


def test_the_wait_that_a_receiver_asked_for_is_the_value() -> None:
    assert why(**said(Reason.GREYLIST, hint=90.0)).value == "90s, as the receiver asked"
    assert why(**said(Reason.GREYLIST)).value == "5m, 15m, 30m, 1h"
    assert why(attempts=9, **said(Reason.FULL)).value == "1h, 4h, 8h, 12h: built in for full"
    assert why(attempts=4, **said(Reason.DNS)).value == "5m, 15m, 30m, 1h, 2h, 3h, 4h"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5s"), (90, "90s"), (300, "5m"), (7200, "2h"), (432000, "5d"), (5400, "90m")],
)
def test_a_span_is_written_as_the_configuration_writes_it(seconds: float, text: str) -> None:
    assert span(seconds) == text


@given(
    state=st.sampled_from([state for state in State if state.is_open]),
    reason=st.none() | st.sampled_from(list(Reason)),
    due=st.sampled_from([NOW - 5, NOW, LATER]),
    attempts=st.integers(0, 3),
    live=st.none() | st.builds(Live, busy=st.integers(0, 3), window=st.integers(0, 3), full=st.booleans()),
    routed=st.booleans(),
    name=st.sampled_from(["mx", LOCAL, "relay-1"]),
)
def test_every_open_recipient_has_a_reason_that_can_be_told(
    state: State, reason: Reason | None, due: float, attempts: int, live: Live | None, routed: bool, name: str
) -> None:
    last = None if reason is None else replace(SAID, reason=reason)
    row: Recipient = recipient(state=state, last=last, due=due, attempts=attempts, hop=hop("x", name))
    found = explain(message(), row, NOW, RetryPolicy(), live, routed=routed)
    told = as_row(message(), row, found, None)
    assert told["constraint"] in list(Constraint)
    assert (told["next_try"] is None) == (found.next_try is None)
