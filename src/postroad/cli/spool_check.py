"""What `postroad spool check` looks for: everything in which index and segments disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Literal

from postroad.adapters.maildrop_view import Kept
from postroad.adapters.segment_audit import Damage, body_problem, stray_bodies, walk
from postroad.adapters.segment_identity import read_identity
from postroad.adapters.segment_marks import Done, is_done, read_marks
from postroad.adapters.segment_reader import body_name, segment_name
from postroad.adapters.sqlite_audit import Index, audit, envelope_of
from postroad.mail.message import Location
from postroad.ports.spool import Record
from postroad.ports.storage import StorageBroken

Kind = Literal[
    "damaged-index",
    "missing-index",
    "impossible-state",
    "foreign-index",
    "old-index",
    "later-index",
    "wrong-envelope",
    "missing-record",
    "wrong-place",
    "wrong-crc",
    "orphan-record",
    "orphan-body",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """`id` is the message, "" where it is unknown; `file` where to look."""

    kind: Kind
    id: str
    file: str
    text: str


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a kind of finding is, and what helps."""

    text: str
    cure: str


_REBUILD = "stop the daemon and make a new index from the segments: postroad spool rebuild"
LOST = "only a backup of the spool has it; without one: postroad queue delete ID, and ask its sender again"
KINDS: Final[dict[Kind, Meaning]] = {
    "damaged-index": Meaning("the index cannot be read whole", _REBUILD),
    "missing-index": Meaning("there is no index, and the segments hold mail", _REBUILD),
    "impossible-state": Meaning("rows of the index that cannot be", _REBUILD),
    "foreign-index": Meaning("the index belongs to another queue", f"put its own back, or {_REBUILD}"),
    "old-index": Meaning("the index is from an earlier run, or without its log", _REBUILD),
    "later-index": Meaning("a later version of Postroad made the index", f"run that one, or {_REBUILD}"),
    "wrong-envelope": Meaning("index and record name other senders or recipients", _REBUILD),
    "missing-record": Meaning("the index names a message that the segments do not hold", LOST),
    "wrong-place": Meaning("a message lies elsewhere than the index says", _REBUILD),
    "wrong-crc": Meaning("a record or body that is damaged; it is never sent", LOST),
    "orphan-record": Meaning("a message in the segments that the index does not know", _REBUILD),
    "orphan-body": Meaning("a body whose record is gone", "nobody needs the file: remove it"),
}


@dataclass(slots=True)
class Report:
    """What was counted, and what was found; `refused`: files of the maildrop that no queue took."""

    messages: int
    recipients: int
    records: int
    findings: list[Finding]
    refused: list[Kept] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"clean": not self.findings}


def check(index_path: Path, spool: Path) -> Report:
    """One look at both sides. Where a daemon runs, what is on its way looks like a finding."""
    findings: list[Finding] = []
    index, known = Index(), False
    try:
        index, known = (audit(index_path), True) if index_path.exists() else (index, False)
        known = known and not index.damage
        findings += [Finding("damaged-index", "", index_path.name, text) for text in index.damage]
    except StorageBroken as broken:
        findings.append(Finding("damaged-index", "", index_path.name, str(broken)))
    findings += [Finding("impossible-state", id, index_path.name, text) for id, text in index.impossible]
    (ours, run), (theirs, their_run) = read_identity(spool), index.identity
    if ours and theirs and theirs != ours:
        text = "it is not the index that was made with these segments"
        findings.append(Finding("foreign-index", "", index_path.name, text))
    elif known and their_run < run:
        text = f"it is of run {their_run}, the segments are of run {run}"
        findings.append(Finding("old-index", "", index_path.name, text))
    if index.later:
        findings.append(Finding("later-index", "", index_path.name, index.later))
    comparison = _Comparison(spool, index, read_marks(spool))
    found = list(comparison.findings())
    if not known:
        # Without an index every record is an orphan: one sentence says that.
        orphans = [each for each in found if each.kind == "orphan-record"]
        found = [each for each in found if each.kind != "orphan-record"]
        if orphans and not findings:
            text = f"{len(orphans)} messages lie in the segments"
            findings.append(Finding("missing-index", "", index_path.name, text))
    return Report(len(index.places), index.recipients, comparison.records, findings + found)


class _Comparison:
    """The walk over the segments, against the places that the index names."""

    def __init__(self, spool: Path, index: Index, marks: Done) -> None:
        self._spool = spool
        self._places: Mapping[str, Location] = index.places
        self._envelopes = index.envelopes
        self._marks = marks
        self._seen: set[str] = set()
        # Where else records of messages lie, and whose record begins at a place.
        self._elsewhere: dict[str, Location] = {}
        self._owners: dict[tuple[int, int], str] = {}
        self._damaged: list[Damage] = []
        self.records = 0

    def findings(self) -> Iterator[Finding]:
        for each in walk(self._spool):
            if isinstance(each, Damage):
                self._damaged.append(each)
            else:
                yield from self._record(each)
        yield from self._missing()
        yield from self._damage()
        for number in stray_bodies(self._spool):
            yield Finding("orphan-body", "", body_name(number), "its segment is gone")

    def _record(self, record: Record) -> Iterator[Finding]:
        self.records += 1
        message = record.message
        name = segment_name(message.location.segment)
        place = self._places.get(message.id)
        self._owners[message.location.segment, message.location.offset] = message.id
        if place == message.location:
            self._seen.add(message.id)
            envelope = envelope_of(message.sender, record.recipients)
            if self._envelopes.get(message.id, envelope) != envelope:
                text = "another sender, or other recipients, than its record has"
                yield Finding("wrong-envelope", message.id, name, text)
            problem = body_problem(self._spool, record)
            if problem:
                yield Finding("wrong-crc", message.id, name, problem)
        elif place is None and not is_done(self._marks, message.location, [r.n for r in record.recipients]):
            text = f"octet {message.location.offset}: neither in the index nor marked as done"
            yield Finding("orphan-record", message.id, name, text)
        elif place is not None:
            self._elsewhere[message.id] = message.location

    def _missing(self) -> Iterator[Finding]:
        damaged = {each.location.segment: each for each in self._damaged}
        for id in self._places.keys() - self._seen:
            place = self._places[id]
            near = [each for each in self._damaged if _overlap(each.location, place)] if damaged else []
            kind: Kind = "wrong-crc" if near else "missing-record"
            text = near[0].text if near else "no whole record lies there"
            owner = self._owners.get((place.segment, place.offset))
            if owner is not None:
                text = f"there lies {owner}" if owner != id else "its record has another length"
            found = self._elsewhere.get(id)
            if found is not None:
                kind = "wrong-place"
                text += f"; its record lies in {segment_name(found.segment)}, octet {found.offset}"
            yield Finding(kind, id, segment_name(place.segment), f"octet {place.offset}: {text}")

    def _damage(self) -> Iterator[Finding]:
        """Damage that no row is about. A torn tail is what a crash leaves, and nobody's message."""
        for each in self._damaged:
            if not each.tail and not any(_overlap(each.location, place) for place in self._places.values()):
                where = segment_name(each.location.segment)
                yield Finding("wrong-crc", "", where, f"octet {each.location.offset}: {each.text}")


def _overlap(one: Location, other: Location) -> bool:
    return (
        one.segment == other.segment
        and one.offset < other.offset + other.length
        and other.offset < one.offset + one.length
    )
