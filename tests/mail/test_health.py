from __future__ import annotations

import pytest

from postroad.mail.health import (
    HostHealth,
    fell_back,
    lost,
    plaintext,
    reached,
    served,
    skipped,
    tls_failed,
    tls_worked,
    unreachable,
)
from postroad.mail.tls import TlsLevel

NOW = 1_795_000_000.0
HOUR = 3600.0
MAY = TlsLevel.OPPORTUNISTIC


@pytest.mark.parametrize(
    ("timed_out", "skips"),
    [(False, [0, 120, 240, 480, 960, 1800, 1800]), (True, [0, 900, 1800, 1800])],
)
def test_failures_in_a_row_skip_an_address_ever_longer(timed_out: bool, skips: list[float]) -> None:
    health = HostHealth()
    for skip in skips:
        health = unreachable(health, timed_out, NOW)
        assert skipped(health, NOW) is (skip > 0)
        assert skipped(health, NOW + skip - 1) is (skip > 0)
        assert not skipped(health, NOW + skip)


def test_sessions_that_break_off_in_a_row_skip_an_address_though_it_answers() -> None:
    once = lost(HostHealth(), NOW)
    assert not skipped(once, NOW)
    twice = lost(reached(once), NOW)
    assert skipped(twice, NOW + 599)
    assert not skipped(twice, NOW + 600)
    assert not skipped(lost(served(once), NOW), NOW)


def test_an_address_that_answers_starts_anew() -> None:
    health = unreachable(unreachable(HostHealth(), False, NOW), False, NOW)
    assert not skipped(reached(health), NOW)
    assert not skipped(unreachable(reached(health), False, NOW), NOW)


def test_an_address_that_never_answers_is_still_tried_each_half_hour() -> None:
    health = HostHealth()
    for _ in range(5000):
        health = unreachable(health, True, NOW)
    assert not skipped(health, NOW + 1800)


def test_plaintext_only_after_tls_failed_for_five_minutes() -> None:
    health = HostHealth()
    assert not plaintext(health, MAY, NOW)
    health = tls_failed(health, NOW)
    assert not plaintext(health, MAY, NOW + 299)
    assert plaintext(tls_failed(health, NOW + 299), MAY, NOW + 300)
    assert plaintext(health, MAY, NOW + 2, patience=2)


@pytest.mark.parametrize("level", [TlsLevel.ENCRYPTED, TlsLevel.VERIFIED, TlsLevel.NONE])
def test_where_tls_is_demanded_there_is_no_plaintext(level: TlsLevel) -> None:
    health = fell_back(tls_failed(HostHealth(), NOW), NOW + 300)
    assert not plaintext(health, level, NOW + 301)


def test_a_failure_days_ago_says_nothing_about_now() -> None:
    health = tls_failed(HostHealth(), NOW)
    later = NOW + 4 * 24 * HOUR
    assert not plaintext(health, MAY, later)
    health = tls_failed(health, later)
    assert not plaintext(health, MAY, later + 299)
    assert plaintext(health, MAY, later + 300)


def test_broken_tls_is_remembered_from_an_hour_to_three_days_doubling() -> None:
    health, now, lasted = tls_failed(HostHealth(), NOW - 300), NOW, []
    health = fell_back(health, now)
    for _ in range(9):
        assert plaintext(health, MAY, now)
        assert health.plaintext_until is not None
        lasted.append((health.plaintext_until - now) / HOUR)
        now = health.plaintext_until
        assert not plaintext(health, MAY, now), "TLS gets another chance"
        health = tls_failed(health, now)
    assert lasted == [1, 2, 4, 8, 16, 32, 64, 72, 72]


def test_more_plaintext_sessions_do_not_lengthen_the_memory() -> None:
    health = fell_back(tls_failed(HostHealth(), NOW - 300), NOW)
    assert fell_back(health, NOW + 60) == health


def test_tls_that_works_again_forgets_the_trouble() -> None:
    health = fell_back(tls_failed(HostHealth(), NOW - 300), NOW)
    assert tls_worked(health) == HostHealth()


def test_answering_a_connect_says_nothing_about_tls() -> None:
    health = tls_failed(HostHealth(), NOW)
    assert reached(health) == health
