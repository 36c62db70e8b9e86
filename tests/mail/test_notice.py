from __future__ import annotations

from dataclasses import replace

import pytest

from postroad.mail.message import Notify, Ret
from postroad.mail.notice import Report, returns_full, wants_delay, wants_failure, wants_success
from tests.support.build import message


@pytest.mark.parametrize(
    ("notify", "failure", "delay", "success"),
    [
        (None, True, True, False),
        (Notify.NEVER, False, False, False),
        (Notify.FAILURE, True, False, False),
        (Notify.DELAY, False, True, False),
        (Notify.SUCCESS, False, False, True),
        (Notify.SUCCESS | Notify.FAILURE | Notify.DELAY, True, True, True),
    ],
)
def test_people_are_told_what_they_asked_to_be_told(
    notify: Notify | None, failure: bool, delay: bool, success: bool
) -> None:
    assert (wants_failure(notify), wants_delay(notify), wants_success(notify)) == (failure, delay, success)


@pytest.mark.parametrize(
    ("report", "ret", "size", "full"),
    [
        (Report.FAILED, None, 50_000, True),
        (Report.FAILED, Ret.FULL, 50_000, True),
        (Report.FAILED, Ret.FULL, 50_001, False),
        (Report.FAILED, Ret.HDRS, 100, False),
        (Report.DELAYED, Ret.FULL, 100, False),
        (Report.RELAYED, None, 100, False),
    ],
)
def test_only_failures_return_a_message_whole_if_it_is_small_and_wanted(
    report: Report, ret: Ret | None, size: int, full: bool
) -> None:
    assert returns_full(replace(message(), size=size, ret=ret), report) is full
