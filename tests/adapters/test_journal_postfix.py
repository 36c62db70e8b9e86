"""The lines of Postfix, judged by the programs that read them (Debian packages pflogsumm, fail2ban)."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from postroad.adapters.journal_postfix import PostfixLines, seconds
from postroad.demo.process import HANGS_AFTER
from postroad.mail.events import (
    Event,
    InternalError,
    LoginFailed,
    LoginUnavailable,
    Notified,
    Refused,
    Removed,
    SessionEnded,
    StorageTrouble,
)
from postroad.mail.message import Peer
from tests.support.build import NOW, deferred, delivered, delivery, failed, message, queue_id, recipient
from tests.support.happenings import EVERY, ID, PEER, accepted, tried
from tests.support.requires import require


def lines(events: Iterable[Event], now: float = NOW) -> list[str]:
    made = PostfixLines("mail.example.com", 7)
    return [line.decode() for event in events for _, line in made.event(now, event, 0)]


def texts(event: Event) -> list[str]:
    """Without time and host."""
    return [line.partition(" mail.example.com ")[2] for line in lines([event])]


RELAY = "relay=mx.example.org[192.0.2.1]:25, delay=0.5, delays=0/0.1/0.1/0.3"
UNKNOWN = "unknown[203.0.113.7]"


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            accepted(),
            [
                f"postfix/smtpd[7]: {ID}: client={UNKNOWN}, sasl_method=PLAIN, sasl_username=app",
                f"postfix/cleanup[7]: {ID}: message-id=<1@example.com>",
                f"postfix/qmgr[7]: {ID}: from=<a@example.com>, size=4000, nrcpt=2 (queue active)",
            ],
        ),
        (
            accepted(peer=Peer("203.0.113.7"), sender="", recipients=("b@example.org",)),
            [
                f"postfix/smtpd[7]: {ID}: client={UNKNOWN}",
                f"postfix/cleanup[7]: {ID}: message-id=<1@example.com>",
                f"postfix/qmgr[7]: {ID}: from=<>, size=4000, nrcpt=1 (queue active)",
            ],
        ),
        (
            accepted(peer=Peer("userid 33", protocol="local"), account="uid:33"),
            [
                f"postfix/pickup[7]: {ID}: uid=33 from=<a@example.com>",
                f"postfix/cleanup[7]: {ID}: message-id=<1@example.com>",
                f"postfix/qmgr[7]: {ID}: from=<a@example.com>, size=4000, nrcpt=2 (queue active)",
            ],
        ),
        (
            tried(delivered(), failed(text="host mx.example.org[192.0.2.1]:25 said: 550 5.1.1 No such user")),
            [
                f"postfix/smtp[7]: {ID}: to=<b0@example.org>, {RELAY}, dsn=2.0.0, status=sent (250 2.0.0 Ok)",
                f"postfix/smtp[7]: {ID}: to=<b1@example.org>, {RELAY}, dsn=5.1.1, status=bounced "
                "(host mx.example.org[192.0.2.1]:25 said: 550 5.1.1 No such user)",
            ],
        ),
        (
            tried(deferred(text="no route to host", reply=None), endpoint=None, connected=0.0, started=NOW),
            [
                f"postfix/smtp[7]: {ID}: to=<b0@example.org>, relay=none, delay=0.5, delays=0/0/0/0.5, "
                "dsn=4.7.1, status=deferred (no route to host)"
            ],
        ),
        (
            Notified(ID, queue_id(2), "failed", "a@example.com", 1500),
            [
                f"postfix/bounce[7]: {ID}: sender non-delivery notification: {queue_id(2)}",
                f"postfix/qmgr[7]: {queue_id(2)}: from=<>, size=1500, nrcpt=1 (queue active)",
            ],
        ),
        (
            Notified(ID, queue_id(2), "delayed", "a@example.com", 1500),
            [
                f"postfix/bounce[7]: {ID}: sender delay notification: {queue_id(2)}",
                f"postfix/qmgr[7]: {queue_id(2)}: from=<>, size=1500, nrcpt=1 (queue active)",
            ],
        ),
        (
            Notified(ID, queue_id(2), "relayed", "a@example.com", 1500),
            [
                f"postfix/bounce[7]: {ID}: sender delivery status notification: {queue_id(2)}",
                f"postfix/qmgr[7]: {queue_id(2)}: from=<>, size=1500, nrcpt=1 (queue active)",
            ],
        ),
        (Removed(ID), [f"postfix/qmgr[7]: {ID}: removed"]),
        (
            LoginFailed(PEER, "login", "root"),
            [
                f"postfix/smtpd[7]: warning: {UNKNOWN}: SASL LOGIN authentication failed: "
                "authentication failure, sasl_username=root"
            ],
        ),
        (
            Refused(PEER, "rcpt", "a@example.com", "x@example.net", "554 5.7.1 Relay access denied"),
            [
                f"postfix/smtpd[7]: NOQUEUE: reject: RCPT from {UNKNOWN}: 554 5.7.1 <x@example.net>: "
                "Relay access denied; from=<a@example.com> to=<x@example.net> proto=ESMTPSA "
                "helo=<client.example>"
            ],
        ),
        (
            Refused(PEER, "DATA", "", "", "552 5.3.4 Message too large"),
            [
                f"postfix/smtpd[7]: NOQUEUE: reject: DATA from {UNKNOWN}: 552 5.3.4 Message too large; "
                "from=<> proto=ESMTPSA helo=<client.example>"
            ],
        ),
        (
            SessionEnded(PEER, "limit", 0),
            [
                f"postfix/smtpd[7]: too many errors after RCPT from {UNKNOWN}",
                f"postfix/smtpd[7]: disconnect from {UNKNOWN}",
            ],
        ),
        (
            StorageTrouble("append", "No space left"),
            ["postfix/postroad[7]: error: storage-trouble: operation=append, text=No space left"],
        ),
        (
            InternalError("intake", "boom", "Traceback\n  File"),
            [
                "postfix/postroad[7]: panic: intake: boom",
                "postfix/postroad[7]: panic: | Traceback",
                "postfix/postroad[7]: panic: |   File",
            ],
        ),
    ],
)
def test_an_event_reads_as_postfix_would_say_it(event: Event, said: list[str]) -> None:
    assert texts(event) == said


def test_the_time_is_local_with_the_day_padded_by_a_space() -> None:
    fifth = time.mktime((2026, 11, 5, 7, 8, 9, 0, 0, -1))
    assert lines([Removed(ID)], fifth)[0].startswith("Nov  5 07:08:09 mail.example.com postfix/qmgr[7]: ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-1.0, "0"),
        (0.0, "0"),
        (0.004, "0"),
        (0.05, "0.05"),
        (0.5, "0.5"),
        (0.999, "1"),
        (1.24, "1.2"),
        (9.96, "10"),
        (12.3, "12"),
        (345.6, "346"),
    ],
)
def test_times_have_two_digits_that_mean_something(value: float, text: str) -> None:
    assert seconds(value) == text


def test_a_name_in_place_of_an_address_cannot_pose_as_somebodys_address() -> None:
    (line,) = texts(LoginFailed(Peer("x]: SASL LOGIN authentication failed: [192.0.2.9"), "LOGIN", "a"))
    assert line.startswith("postfix/smtpd[7]: warning: unknown[unknown]: SASL")


# --- the real readers ------------------------------------------------------------


def _log(tmp_path: Path, events: Iterable[Event]) -> Path:
    log = tmp_path / "mail.log"
    log.write_text("".join(f"{line}\n" for line in lines(events, time.time())))
    return log


def test_pflogsumm_counts_what_was_received_sent_put_off_bounced_and_refused(tmp_path: Path) -> None:
    log = _log(
        tmp_path,
        [
            accepted(),
            tried(delivered(), deferred(text="host mx said: 451 4.7.1 Greylisted"), failed(text="550 no")),
            *(event for event in EVERY if type(event).__name__ != "Tried" and event != accepted()),
        ],
    )
    summary = subprocess.run(
        [require("pflogsumm"), str(log)], capture_output=True, text=True, check=True, timeout=HANGS_AFTER
    )
    assert summary.stderr == ""
    counts = {
        found[2]: int(found[1])
        for found in re.finditer(r"^ +(\d+) +([a-z ]+?)(?: +\(|$)", summary.stdout, re.M)
    }
    assert {key: counts[key] for key in ("received", "delivered", "deferred", "bounced", "rejected")} == {
        "received": 1,
        "delivered": 1,
        "deferred": 1,
        "bounced": 1,
        "rejected": 1,
    }
    assert "b0@example.org" in summary.stdout
    assert "a@example.com" in summary.stdout


def test_pflogsumm_knows_the_notifications_that_it_counts_as_delivered(tmp_path: Path) -> None:
    dsn = queue_id(2)
    told = tried(delivery=delivery(message(2, sender=None), recipient("a@example.com")))
    log = _log(
        tmp_path, [accepted(), tried(failed()), Notified(ID, dsn, "failed", "a@example.com", 1500), told]
    )
    summary = subprocess.run(
        [require("pflogsumm"), "-e", str(log)],
        capture_output=True,
        text=True,
        check=True,
        timeout=HANGS_AFTER,
    )
    assert summary.stderr == ""
    assert re.search(r"^ +1500 +bytes delivered$", summary.stdout, re.M)
    assert re.search(rf"^ +{dsn} +from=<>\n +a@example.com\n", summary.stdout, re.M)
    assert "no size data" not in summary.stdout


@pytest.mark.parametrize(
    ("mode", "event", "matched"),
    [
        ("auth", LoginFailed(PEER, "LOGIN", "root"), 1),
        ("auth", LoginFailed(PEER, "PLAIN", "root"), 1),
        ("auth", LoginFailed(PEER, "SCRAM-SHA-256", "root"), 1),
        ("auth", LoginFailed(PEER, "XOAUTH2", "", "refused"), 1),
        ("auth", LoginUnavailable(PEER, "PLAIN", "nobody answers"), 0),
        ("auth", tried(), 0),
        ("normal", Refused(PEER, "RCPT", "", "x@example.net", "554 5.7.1 Relay access denied"), 1),
        ("errors", SessionEnded(PEER, "limit", 0), 1),
        ("aggressive", accepted(), 0),
        ("aggressive", SessionEnded(PEER, "quit", 1), 0),
        # A helpful receiver, or a login, must not get somebody banned.
        (
            "aggressive",
            tried(deferred(text="warning: unknown[192.0.2.9]: SASL LOGIN authentication failed: x")),
            0,
        ),
    ],
)
def test_fail2ban_finds_those_it_should(tmp_path: Path, mode: str, event: Event, matched: int) -> None:
    log = _log(tmp_path, [event])
    done = subprocess.run(
        [require("fail2ban-regex", "fail2ban"), str(log), f"postfix[mode={mode}]", "-o", "ip"],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER,
    )
    assert done.stdout.split() == ["203.0.113.7"] * matched, done.stderr
