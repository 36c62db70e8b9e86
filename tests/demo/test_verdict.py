"""The verdict of the demonstration can be "no": each thing that may go wrong is seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dkim
import pytest

from postroad.demo.fates import Ledger
from postroad.demo.house import dkim_key
from postroad.demo.letters import ENDS, HARBOUR, SENDER, End, Letter, letters
from postroad.demo.verdict import differences
from postroad.demo.world import Arrival, Site, World

NOTICE = """\
From: MAILER-DAEMON@{harbour}
To: {sender}
Subject: Undelivered
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

Sorry.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.{harbour}

Final-Recipient: rfc822; {recipient}
Action: failed
Status: 5.1.1

--b
Content-Type: text/rfc822-headers

Message-ID: {message_id}

--b--
"""


class Staged:
    """A demonstration that went well, before somebody meddles with it."""

    def __init__(self, folder: Path) -> None:
        self.record = dkim_key(folder / "key.pem")
        self._key = (folder / "key.pem").read_bytes()
        self.letters = letters()
        self.world = World([Site(domain) for domain in dict.fromkeys(to.partition("@")[2] for to in ENDS)])
        self.ledger = Ledger(self.letters, dict.fromkeys(self.world.sites, ""))
        for number, letter in enumerate(self.letters):
            self.ledger.accepted(letter, f"A{number}")
            for recipient in letter.recipients:
                self._end(letter, recipient, f"A{number}")

    def _end(self, letter: Letter, recipient: str, id: str) -> None:
        line = {"event": "tried", "id": id, "to": recipient, "attempts": 1}
        if ENDS[recipient] is End.BOUNCED:
            self.ledger.read({**line, "status": "failed"})
            self.ledger.read({"event": "notified", "id": id, "dsn": f"B{id}"})
            self.ledger.read({"event": "tried", "id": f"B{id}", "to": SENDER, "status": "sent"})
            text = NOTICE.format(
                harbour=HARBOUR, sender=SENDER, recipient=recipient, message_id=letter.message_id
            )
            self.arrive("", SENDER, text.replace("\n", "\r\n").encode())
            return
        if ENDS[recipient] is End.AFTER_GREYLISTING:
            self.ledger.read({**line, "status": "deferred", "reason": "greylist"})
            line["attempts"] = 2
        self.ledger.read({**line, "status": "sent"})
        self.arrive(SENDER, recipient, self.signed(letter.octets))

    def signed(self, octets: bytes) -> bytes:
        signature = dkim.sign(octets, b"demo", HARBOUR.encode(), self._key)
        return bytes(signature) + b"Received: from x\r\n\tby y; today\r\n" + octets

    def arrive(self, sender: str, recipient: str, octets: bytes) -> None:
        arrivals = self.world[recipient.partition("@")[2]].arrivals
        arrivals.append(Arrival(sender, (recipient,), octets, time.monotonic(), False))

    def verdict(self) -> list[str]:
        return differences(self.ledger.fates, self.letters, self.world, self.record)

    def tamper(self, domain: str, at: int, octets: bytes) -> None:
        arrivals = self.world[domain].arrivals
        arrivals[at] = replace(arrivals[at], octets=octets)


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Staged]:
    made = Staged(tmp_path)
    yield made
    made.world.close()


def test_when_all_went_well_nothing_differs(staged: Staged) -> None:
    assert staged.verdict() == []


def test_a_message_that_arrived_twice_is_seen(staged: Staged) -> None:
    arrivals = staged.world[HARBOUR].arrivals
    arrivals.append(arrivals[0])
    (line,) = staged.verdict()
    assert line.endswith("1 should have arrived, 2 did")


def test_a_message_that_did_not_arrive_is_seen(staged: Staged) -> None:
    staged.world["dawn.example"].arrivals.pop()
    (line,) = staged.verdict()
    assert line.endswith("1 should have arrived, 0 did")


def test_a_changed_octet_is_seen(staged: Staged) -> None:
    octets = staged.world["dawn.example"].arrivals[0].octets
    staged.tamper("dawn.example", 0, octets.replace(b"down", b"DOWN"))
    assert staged.verdict() != []


def test_a_signature_that_does_not_verify_is_seen(staged: Staged) -> None:
    octets = staged.world["dawn.example"].arrivals[0].octets
    staged.tamper("dawn.example", 0, octets.partition(b"Received:")[2].join([b"Received:", b""]))
    assert any("signature" in line for line in staged.verdict())


def test_a_field_that_a_relay_must_not_add_is_seen(staged: Staged) -> None:
    octets = staged.world["dawn.example"].arrivals[0].octets
    staged.tamper("dawn.example", 0, b"X-Spam: no\r\n" + octets)
    assert any("there is more" in line for line in staged.verdict())


def test_a_bounce_that_did_not_come_is_seen(staged: Staged) -> None:
    arrivals = staged.world[HARBOUR].arrivals
    arrivals[:] = [arrival for arrival in arrivals if arrival.sender]
    assert any("0 did" in line for line in staged.verdict())


def test_a_bounce_with_another_status_is_seen(staged: Staged) -> None:
    at = next(n for n, arrival in enumerate(staged.world[HARBOUR].arrivals) if not arrival.sender)
    octets = staged.world[HARBOUR].arrivals[at].octets
    staged.tamper(HARBOUR, at, octets.replace(b"Status: 5.1.1", b"Status: 5.0.0"))
    assert any("failed 5.0.0" in line for line in staged.verdict())


def test_a_fate_that_is_not_over_is_seen(staged: Staged) -> None:
    fate = next(fate for fate in staged.ledger.fates if fate.recipient.startswith("dora"))
    staged.ledger.read({"event": "tried", "id": fate.id, "to": fate.recipient, "status": "deferred"})
    assert any("is not over" in line for line in staged.verdict())
