"""`postroad spool check | rebuild`: index and segments held against each other, and the index made anew."""

from __future__ import annotations

import json
import os
import time

from postroad.adapters.maildrop import REFUSED_KEPT, MaildropSettings
from postroad.adapters.maildrop_view import refused
from postroad.adapters.segment_audit import in_use
from postroad.adapters.segment_lock import SpoolInUse, hold, let_go_of
from postroad.cli.client import config_for
from postroad.cli.spool_check import KINDS, LOST, Report
from postroad.cli.spool_check import check as look
from postroad.cli.spool_rebuild import Rebuilt
from postroad.cli.spool_rebuild import rebuild as make
from postroad.cli.text import CommandFailed, age, count, octets, say
from postroad.config.model import Config
from postroad.mail.account import own_senders
from postroad.mail.local_names import LocalNames
from postroad.ports.storage import StorageBroken

# Longer than marks and rows of a running daemon may lag behind each other.
SECOND_LOOK = 2.5


def check(config: str, *, as_json: bool) -> int:
    """0: sound; 65 with findings. Changes nothing."""
    settings = config_for(config)
    report = _report(settings)
    submission, origin = settings.submission, settings.origin
    report.refused = list(
        refused(
            settings.maildrop_path,
            MaildropSettings(
                origin,
                submission.max_message_size,
                LocalNames(origin=origin),
                own_senders(submission.local_sender, settings.accounts),
            ),
        )
    )
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        _tell(report)
        _tell_refused(report, settings)
    return os.EX_DATAERR if report.findings else os.EX_OK


def _report(settings: Config) -> Report:
    index, spool = settings.index_path, settings.spool_path
    if not spool.is_dir():
        text = f"{spool}: no spool; has the daemon ever run with this configuration?"
        raise CommandFailed(text, os.EX_NOINPUT)
    try:
        report = look(index, spool)
        if report.findings and in_use(spool):
            # Mail in motion looks like a finding: only what stays is one.
            time.sleep(SECOND_LOOK)
            first, report = set(report.findings), look(index, spool)
            report.findings = [each for each in report.findings if each in first]
    except PermissionError as error:
        text = f"{error.filename}: {error.strerror}; be root or the user of the daemon"
        raise CommandFailed(text, os.EX_NOPERM) from None
    return report


def _tell(report: Report) -> None:
    for each in report.findings:
        say(f"{each.file}: {each.kind}: {each.id or 'unknown message'}: {each.text}")
    counted = f"{count(report.messages, 'message')}, {count(report.records, 'record')}"
    say(f"{counted}, {count(len(report.findings), 'finding')}")
    for kind in dict.fromkeys(each.kind for each in report.findings):
        say(f"{kind}: {KINDS[kind].text}; {KINDS[kind].cure}")


def _tell_refused(report: Report, settings: Config) -> None:
    """No fault of the queue: any user can leave there what is no message."""
    for each in report.refused:
        whose = f"uid {each.uid}, {octets(each.size)}, {age(time.time() - each.since)} ago"
        say(f"{settings.maildrop_path / each.file}: refused: {whose}: {each.why}")
    if report.refused:
        say(
            "refused: nobody could be told of these. To hand one in again, once it is in order, rename it"
            ' without "refused."; else remove it:'
            f" {REFUSED_KEPT}"
        )


def rebuild(config: str, *, as_json: bool) -> int:
    """A new index from what the segments hold; needs the daemon down."""
    settings = config_for(config)
    if not settings.spool_path.is_dir():
        raise CommandFailed(f"{settings.spool_path}: no spool to read", os.EX_NOINPUT)
    try:
        lock, crashed = hold(settings.spool_path)
    except SpoolInUse as used:
        raise CommandFailed(f"{used}; stop the daemon first", os.EX_TEMPFAIL) from None
    except PermissionError as error:
        text = f"{error.filename}: {error.strerror}; be root or the user of the daemon"
        raise CommandFailed(text, os.EX_NOPERM) from None
    try:
        rebuilt = make(settings.index_path, settings.spool_path, time.time())
        _give_to_owner(settings)
    except (StorageBroken, OSError) as error:
        raise CommandFailed(f"the old index stays: {error}", os.EX_IOERR) from None
    finally:
        let_go_of(lock, crashed=crashed)
    if as_json:
        print(json.dumps(rebuilt.as_json()))
    else:
        _summarise(rebuilt)
    return os.EX_OK


def _give_to_owner(settings: Config) -> None:
    """Root may have run this: the index is the daemon's, as its spool is."""
    owner = settings.spool_path.stat()
    if os.geteuid() == 0:
        os.chown(settings.index_path, owner.st_uid, owner.st_gid)


def _summarise(rebuilt: Rebuilt) -> None:
    waiting = f"{count(rebuilt.messages, 'message')} to {count(rebuilt.recipients, 'recipient')}"
    say(f"a new index: {waiting} wait")
    say(f"left out: {rebuilt.settled} settled, {rebuilt.copies} found twice")
    if rebuilt.damaged or rebuilt.bodies_lost:
        say(f"lost to damage: {count(rebuilt.damaged, 'record')}, {rebuilt.bodies_lost} with their bodies")
    if rebuilt.lost:
        say(f"in the old index, and whole in no segment: {', '.join(rebuilt.lost)}; {LOST}")
    old = rebuilt.salvaged
    if old.read:
        say(f"from the old index: attempts of {count(old.tried, 'recipient')}, {old.held} held")
    else:
        say("the old index tells nothing: attempts are counted from zero; what is held the segments say")
    if rebuilt.aside:
        say(f"the old index: {rebuilt.aside}")
    say("what was delivered in the second before the index was lost may be delivered again")
