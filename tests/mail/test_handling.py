from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.esmtp import MAIL_PARAMETERS, EsmtpError, parse_mail
from postroad.mail.handling import (
    PARAMETERS,
    Asks,
    HandlingError,
    HandlingLimits,
    lane_of,
    scheduled,
    settle,
)
from postroad.mail.message import Handling, Lane
from postroad.mail.outcome import Kind, Reason

NOW = 1_795_000_000.0
ALL = MAIL_PARAMETERS | PARAMETERS
LIMITS = HandlingLimits(max_hold=3600.0, max_priority=5)


def parsed(parameters: str) -> Asks | None:
    return parse_mail(f"FROM:<a@x.example> {parameters}", known=ALL).asks


@pytest.mark.parametrize(
    ("parameters", "asks"),
    [
        ("SIZE=5 BODY=8BITMIME", None),
        ("RET=FULL", None),
        ("requiretls", Asks(requiretls=True)),
        ("HOLDFOR=86400", Asks(hold_for=86400.0)),
        ("HOLDUNTIL=2026-11-18T10:26:40Z", Asks(hold_until=1_794_997_600.0)),
        ("holduntil=2026-11-18t10:26:40z", Asks(hold_until=1_794_997_600.0)),
        ("HOLDUNTIL=2026-11-18T12:26:40+02:00", Asks(hold_until=1_794_997_600.0)),
        ("HOLDUNTIL=2026-11-18T10:26:40.5Z", Asks(hold_until=1_794_997_600.5)),
        ("MT-PRIORITY=0", Asks(priority=0)),
        ("mt-priority=-9", Asks(priority=-9)),
        ("MT-PRIORITY=4 REQUIRETLS HOLDFOR=1", Asks(True, 4, 1.0)),
    ],
)
def test_what_mail_asks_is_read(parameters: str, asks: Asks | None) -> None:
    assert parsed(parameters) == asks


@pytest.mark.parametrize(
    "parameters",
    [
        "REQUIRETLS=yes",
        "REQUIRETLS REQUIRETLS",
        "HOLDFOR",
        "HOLDFOR=0",
        "HOLDFOR=-1",
        "HOLDFOR=1.5",
        "HOLDFOR=1234567890",
        "HOLDFOR=1 HOLDUNTIL=2026-11-18T10:26:40Z",
        "HOLDUNTIL=2026-11-18",
        "HOLDUNTIL=2026-11-18T10:26:40",
        "HOLDUNTIL=2026-02-30T10:26:40Z",
        "HOLDUNTIL=2026-11-18T24:26:40Z",
        "HOLDUNTIL=0000-11-18T10:26:40Z",
    ],
)
def test_what_is_malformed_is_refused(parameters: str) -> None:
    with pytest.raises(EsmtpError) as caught:
        parsed(parameters)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (501, "5.5.4")


@pytest.mark.parametrize("value", ["", "=-0", "=+4", "=10", "=04"])
def test_a_priority_that_is_none_has_the_code_of_rfc_6710(value: str) -> None:
    with pytest.raises(EsmtpError) as caught:
        parsed("MT-PRIORITY" + value)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (501, "5.5.2")


@pytest.mark.parametrize("parameter", ["REQUIRETLS", "HOLDFOR=5", "HOLDUNTIL=x", "MT-PRIORITY=1"])
def test_what_is_not_offered_is_not_known(parameter: str) -> None:
    with pytest.raises(EsmtpError) as caught:
        parse_mail(f"FROM:<a@x.example> {parameter}")
    assert caught.value.reply.code == 555


VALUES = st.text("0123456789-+TZtz:.aQ=", max_size=25) | st.text(max_size=8)


@given(name=st.sampled_from(sorted(PARAMETERS)), value=VALUES)
def test_any_value_is_read_or_refused(name: str, value: str) -> None:
    try:
        asks = parse_mail(f"FROM:<a@x.example> {name}={value}", known=ALL).asks
    except EsmtpError:
        return
    assert asks is not None
    assert asks.priority is None or -9 <= asks.priority <= 9
    assert asks.hold_for is None or 0 < asks.hold_for < 1e9


@pytest.mark.parametrize(
    ("asks", "granted"),
    [
        (Asks(hold_for=3600.0), Handling(hold_until=NOW + 3600, hold_for=3600.0)),
        (Asks(hold_until=NOW + 60), Handling(hold_until=NOW + 60)),
        (Asks(hold_until=NOW - 60), Handling()),
        (Asks(priority=9), Handling(priority=5)),
        (Asks(priority=-9), Handling(priority=-9)),
        (Asks(requiretls=True), Handling(requiretls=True)),
    ],
)
def test_what_is_granted(asks: Asks, granted: Handling) -> None:
    assert settle(asks, NOW, LIMITS) == granted


@pytest.mark.parametrize("asks", [Asks(hold_for=3601.0), Asks(hold_until=NOW + 3601)])
def test_nothing_is_held_for_longer_than_is_allowed(asks: Asks) -> None:
    with pytest.raises(HandlingError, match="3600 seconds at most"):
        settle(asks, NOW, LIMITS)


@pytest.mark.parametrize(
    ("handling", "lane"),
    [
        (None, Lane.NORMAL),
        (Handling(), Lane.NORMAL),
        (Handling(priority=9), Lane.TRANSACTIONAL),
        (Handling(priority=4), Lane.TRANSACTIONAL),
        (Handling(priority=3), Lane.NORMAL),
        (Handling(priority=-3), Lane.NORMAL),
        (Handling(priority=-4), Lane.BULK),
    ],
)
def test_a_priority_is_a_lane(handling: Handling | None, lane: Lane) -> None:
    assert lane_of(handling, HandlingLimits()) is lane


def test_who_waits_for_its_sender_says_until_when() -> None:
    outcome = scheduled(NOW)
    assert (outcome.kind, outcome.reason) == (Kind.DEFERRED, Reason.SCHEDULED)
    assert outcome.text == "scheduled by the sender until 2026-11-18T11:06:40Z"
