"""Did every letter end as it should? What differs, in words, from the receivers' side."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import dkim

from postroad.demo.fates import Fate
from postroad.demo.letters import ENDS, HARBOUR, SENDER, End, Letter
from postroad.demo.world import Arrival, World

ADDED = (b"dkim-signature:", b"received:")


def differences(fates: list[Fate], letters: tuple[Letter, ...], world: World, record: bytes) -> list[str]:
    """One line for each thing that is not as it should be; empty when all is well."""
    found = [line for letter in letters for line in _arrival_differences(letter, world, record)]
    bounced = [letter for letter in letters if any(_end(to) is End.BOUNCED for to in letter.recipients)]
    notices = bounces(world)
    if len(notices) != len(bounced):
        found.append(f"{len(bounced)} bounces should have come to {SENDER}, {len(notices)} did")
    for letter in bounced:
        found += _bounce_differences(letter, notices)
    found += [line for fate in fates for line in _fate_differences(fate)]
    return found


def bounces(world: World) -> list[EmailMessage]:
    """What arrived with the null sender, parsed."""
    arrivals = world[HARBOUR].arrivals
    return [parsed(arrival.octets) for arrival in arrivals if not arrival.sender]


def parsed(octets: bytes) -> EmailMessage:
    """A message as Python's email package understands it."""
    return message_from_bytes(octets, policy=policy.default)


def failed_recipients(notice: EmailMessage) -> dict[str, str]:
    """Recipient -> status of each per-recipient group of a DSN (RFC 3464 2.3)."""
    groups: dict[str, str] = {}
    for part in notice.walk():
        if part.get_content_type() == "message/delivery-status":
            for group in part.iter_parts():
                if "Final-Recipient" in group:
                    to = str(group["Final-Recipient"]).partition(";")[2].strip()
                    groups[to] = f"{group['Action']} {group['Status']}"
    return groups


def verified(octets: bytes, record: bytes) -> bool:
    """Whether the DKIM signature is good, were `record` what its domain publishes."""
    return bool(dkim.verify(octets, dnsfunc=lambda name, timeout=5: record))  # type: ignore[no-untyped-call]


def _end(recipient: str) -> End:
    return ENDS[recipient]


def _arrival_differences(letter: Letter, world: World, record: bytes) -> list[str]:
    found = []
    for recipient in letter.recipients:
        site = world[recipient.partition("@")[2]]
        copies = [a for a in site.arrivals if recipient in a.recipients and letter.octets in a.octets]
        expected = 0 if _end(recipient) is End.BOUNCED else 1
        if len(copies) != expected:
            found.append(
                f"{letter.title!r} for {recipient}: {expected} should have arrived, {len(copies)} did"
            )
        found += [
            f"{letter.title!r} for {recipient}: {line}" for a in copies for line in _octets(a, letter, record)
        ]
    return found


def _octets(arrival: Arrival, letter: Letter, record: bytes) -> list[str]:
    """What is wrong with one arrived copy."""
    found = []
    if not arrival.octets.endswith(letter.octets):
        found.append("something follows what was sent")
    prefix = arrival.octets[: arrival.octets.find(letter.octets)]
    lines = [line.lower() for line in prefix.splitlines() if not line.startswith((b" ", b"\t"))]
    if not all(line.startswith(ADDED) for line in lines):
        found.append("a relay adds Received and DKIM-Signature alone; there is more")
    if not verified(arrival.octets, record):
        found.append("the DKIM signature does not verify")
    return found


def _bounce_differences(letter: Letter, notices: list[EmailMessage]) -> list[str]:
    failed = [to for to in letter.recipients if _end(to) is End.BOUNCED]
    mine = [notice for notice in notices if letter.message_id in notice.as_string()]
    if len(mine) != 1:
        return [f"{letter.title!r}: one bounce should return its Message-ID, {len(mine)} do"]
    notice = mine[0]
    found = []
    if (
        notice.get_content_type() != "multipart/report"
        or notice.get_param("report-type") != "delivery-status"
    ):
        found.append(f"{letter.title!r}: the bounce is no delivery status report")
    expected = dict.fromkeys(failed, "failed 5.1.1")
    if failed_recipients(notice) != expected:
        found.append(f"{letter.title!r}: the bounce names {failed_recipients(notice)}, not {expected}")
    return found


def _fate_differences(fate: Fate) -> list[str]:
    """Did the log tell the story that was staged for this recipient?"""
    end = _end(fate.recipient)
    if not fate.stand.is_final:
        return [f"{fate.letter.title!r} for {fate.recipient} is not over: {fate.words}"]
    greylisted = any("greylist" in reason for reason in fate.waited_for)
    told = {
        End.DELIVERED: not fate.waited_for,
        End.AFTER_GREYLISTING: greylisted and fate.attempts >= 2,
        End.AFTER_OUTAGE: not greylisted,  # that it arrived at all is the story
        End.BOUNCED: bool(fate.bounce),
    }
    if told[end]:
        return []
    return [f"{fate.letter.title!r} for {fate.recipient} should be {end.value}: {fate.words}"]
