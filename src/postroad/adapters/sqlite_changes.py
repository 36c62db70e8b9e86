"""What each kind of change does to the rows. Runs in the writer's thread, inside its transaction.

Every function takes the arguments of all changes of its kind in a burst, and answers
them in order (see sqlite_writer). Rows are addressed by key; a state that is not as
expected leaves the row alone, so that a repeated change changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import msgspec

from postroad.adapters.sqlite_files import load_queries
from postroad.adapters.sqlite_rows import (
    MESSAGE_COLUMNS,
    Row,
    attempt_row,
    change_row,
    hold_row,
    idle_row,
    json_rows,
    message_row,
    new_recipient_row,
    outcome_text,
    recipient_row,
    to_message,
    to_pair,
    to_recipient,
)
from postroad.adapters.sqlite_slate import Span
from postroad.adapters.sqlite_terms import TermsWriter
from postroad.mail.address import Address
from postroad.mail.frozen import dataclass
from postroad.mail.lifecycle import State
from postroad.mail.message import Change, Delivery, Instant, Lane, Location, Message, Recipient
from postroad.mail.outcome import Outcome
from postroad.mail.queue_id import format_id, parse_id
from postroad.mail.routing import Hop
from postroad.ports.queue import Finished, Notice, Restarted, Terms

# Queue id, numbers of the recipients told, what tells of them.
Settlement = tuple[str, Collection[int], Sequence[Notice]]

# A message as it was found, and where it lies from now on.
Move = tuple[Message, Location]

# Hops remembered by their integers; beyond it they are looked up anew.
MAX_HOPS = 50_000
# A message with a recipient in one of these may expire, and its sender may be warned.
IDLE = (State.WAITING, State.HELD)
# Integers of hops begin at 1.
NO_HOP = 0
# After a restart, attempts that were cut off are repeated at once up to this many.
ATTEMPTS_AT_ONCE = 3
# Of each recipient so many attempts are kept, the latest: five days of the usual schedule make less.
ATTEMPTS_KEPT = 40
# Rows inserted by one statement. So many statements are kept ready for each of two tables.
ROWS_TOGETHER = 16

_to_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Claim:
    """`until` None: attempts and due stay."""

    hop: Hop
    now: Instant
    limit: int
    until: Instant | None


@dataclass(frozen=True, slots=True)
class Deferral:
    hop: Hop
    outcome: Outcome
    due: Instant
    now: Instant
    limit: int


class Changes:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._many = connection.executemany
        self._sql = load_queries()
        self._hops: dict[Hop, int] = {}
        self._terms = TermsWriter(connection)

    def forget(self) -> None:
        """After a rollback: hops that were new in it have no row."""
        self._hops.clear()

    # --- in and out ------------------------------------------------------------

    def add(self, notices: Sequence[Notice]) -> Sequence[None]:
        self._insert(notices)
        return [None] * len(notices)

    def accept(self, accepted: Sequence[tuple[Notice, Terms]]) -> Sequence[None]:
        self._insert([notice for notice, _ in accepted])
        self._terms.write([(message.id, terms) for (message, _), terms in accepted])
        return [None] * len(accepted)

    def settle(self, settlements: Sequence[Settlement]) -> Sequence[bool]:
        return [self._settle(parse_id(id), told, notices) for id, told, notices in settlements]

    def _settle(self, number: int, told: Collection[int], notices: Sequence[Notice]) -> bool:
        # What was marked before was told before, by the notice of that time.
        if sum(self._execute(self._sql["tell"], (number, n)).rowcount for n in told):
            self._insert(notices)
        if self._execute(self._sql["has_open_or_news"], (number,)).fetchone()[0]:
            return False
        return self._remove(number)

    def warned(self, warnings: Sequence[tuple[str, Sequence[Notice]]]) -> Sequence[None]:
        for id, notices in warnings:
            number = parse_id(id)
            if self._execute(self._sql["clear_warning"], (number,)).rowcount:
                self._execute(self._sql["mark_warned"], (number,))
                self._insert(notices)
        return [None] * len(warnings)

    def move(self, bundles: Sequence[Sequence[Move]]) -> Sequence[list[Finished | None]]:
        return [[self._move(message, to) for message, to in bundle] for bundle in bundles]

    def _move(self, message: Message, to: Location) -> Finished | None:
        number, old = parse_id(message.id), message.location
        place = (number, old.segment, old.offset, to.segment, to.offset, to.length)
        if not self._execute(self._sql["move"], place).rowcount:
            return None
        return Finished(replace(message, location=to), self._recipients("recipients_of", number))

    # --- claims ------------------------------------------------------------------

    def claim(self, claims: Sequence[Claim]) -> Sequence[list[Delivery]]:
        return [self._claim(claim) for claim in claims]

    def expired(self, asked: Sequence[tuple[Instant, int]]) -> Sequence[list[Delivery]]:
        return [
            self._activate(self._execute(self._sql["expired"], (now, limit)).fetchall(), None)
            for now, limit in asked
        ]

    def defer(self, deferrals: Sequence[Deferral]) -> Sequence[int]:
        """How many were put off, at most `limit` of each lane."""
        return [sum(self._defer(deferral, lane) for lane in Lane) for deferral in deferrals]

    def heard(self, found: Sequence[Span], now: Instant) -> int:
        """Deliveries that a crash kept from being recorded; how many there were."""
        rows = self._execute(self._sql["heard"], (_to_json(found).decode(), now)).fetchall()
        for number in {message for (message,) in rows}:
            finished = self._finished(number)
            if finished is not None and not finished.recipients:
                self._remove(number)
        return len(rows)

    def restart(self, asked: Sequence[tuple[Instant, float, Sequence[Span] | None]]) -> Sequence[Restarted]:
        now, wait, left = asked[0]
        ambiguous = self._ambiguous(left)
        self._execute(self._sql["track_claimed"])
        self._execute(self._sql["void_claims"], (now, now + wait, ATTEMPTS_AT_ONCE))
        (messages,) = self._execute(self._sql["count_messages"]).fetchone()
        recipients = sum(count for _, count in self._execute(self._sql["count_states"]))
        return [Restarted(messages, recipients, ambiguous)] * len(asked)

    def cut_off(self, asked: Sequence[Sequence[Span] | None]) -> Sequence[dict[str, tuple[Address, ...]]]:
        return [self._ambiguous(left) for left in asked]

    def _ambiguous(self, left: Sequence[Span] | None) -> dict[str, tuple[Address, ...]]:
        """Of what is in an attempt that which `left` names; None: all of it."""
        if left is None:
            rows = self._execute(self._sql["all_claimed"])
        else:
            rows = self._execute(self._sql["claimed_of"], (_to_json(left).decode(),))
        found: dict[str, tuple[Address, ...]] = {}
        for message, local, domain in rows:
            id = format_id(message)
            found[id] = (*found.get(id, ()), Address(local, domain))
        return found

    # --- outcomes ----------------------------------------------------------------

    def record(self, records: Sequence[Sequence[Change]]) -> Sequence[list[Finished]]:
        """Most messages are delivered whole and nobody is to be told: those go by the dozen."""
        answers: list[list[Finished]] = [[] for _ in records]
        over = self._remove_delivered(records)
        rest = [place for place, changes in enumerate(records) if not _is_over(changes, over)]
        for place, answer in zip(
            rest, self._apply("change_active", change_row, [records[p] for p in rest]), strict=True
        ):
            answers[place] = answer
        for place, changes in enumerate(records):
            if changes and (finished := over.pop(changes[0].message, None)) is not None:
                answers[place].append(finished)
        return answers

    def _remove_delivered(self, records: Sequence[Sequence[Change]]) -> dict[str, Finished]:
        """Remove the messages all of whose recipients these records deliver, without news; which."""
        delivered: dict[int, int] = {}
        for changes in records:
            if changes and all(change.state is State.DELIVERED for change in changes):
                number = parse_id(changes[0].message)
                delivered[number] = delivered.get(number, 0) + len(changes)
        if not delivered:
            return {}
        asked = _to_json(list(delivered.items())).decode()
        (found,) = self._execute(self._sql["all_delivered"], (asked,)).fetchone()
        rows = json_rows(found)
        if rows:
            numbers = _to_json([row[0] for row in rows]).decode()
            self._execute(self._sql["remove_recipients_of"], (numbers,))
            self._execute(self._sql["remove_messages"], (numbers,))
            # What is delivered at its first attempt has none to be remembered.
            waited = [(row[0],) for row in rows if row[MESSAGE_COLUMNS]]
            if waited:
                self._many(self._sql["remove_attempts"], waited)
        return {(message := to_message(row)).id: Finished(message, ()) for row in rows}

    def change(self, records: Sequence[Sequence[Change]]) -> Sequence[list[Finished]]:
        return self._apply("change_idle", idle_row, records)

    def forget_hops(self) -> None:
        """When all is done: what is left in the table is what a daemon reads at its start."""
        self._execute(self._sql["forget_hops"])
        self._hops.clear()

    # --- looks that must see what was just changed ---------------------------------

    def next_due(self, hops: Sequence[Hop]) -> Sequence[Instant | None]:
        return [self._execute(self._sql["next_due"], (self._hop(hop),)).fetchone()[0] for hop in hops]

    def delayed(self, asked: Sequence[tuple[Instant, int]]) -> Sequence[list[Finished]]:
        return [self._listed("delayed", "open_recipients_of", each) for each in asked]

    def unsettled(self, limits: Sequence[int]) -> Sequence[list[Finished]]:
        return [self._listed("unsettled", "recipients_of", (limit,)) for limit in limits]

    # --- pieces --------------------------------------------------------------------

    def _insert(self, notices: Sequence[Notice]) -> None:
        self._insert_rows(
            "add_message",
            [(*message_row(message), any(map(_waits, recipients))) for message, recipients in notices],
        )
        new: list[Row] = []
        known: list[Row] = []
        held: list[Row] = []
        for message, recipients in notices:
            number, lane = parse_id(message.id), int(message.lane)
            hop, id = None, NO_HOP
            for recipient in recipients:
                # Those of one hop mostly share the very value.
                if recipient.hop is not hop:
                    hop = recipient.hop
                    id = self._hop(hop) or self._new_hop(hop)
                row = new_recipient_row(recipient, number, id, lane)
                if row is not None:
                    new.append(row)
                else:
                    known.append(recipient_row(recipient, number, id, lane))
                    if recipient.held is not None:
                        held.append(hold_row(recipient))
        self._insert_rows("add_new_recipient", new)
        self._insert_rows("add_recipient", known)
        if held:
            self._many(self._sql["hold"], held)

    def _insert_rows(self, name: str, rows: Sequence[Row]) -> None:
        """Many rows a statement: each statement gives the interpreter away and must get it back."""
        for start in range(0, len(rows), ROWS_TOGETHER):
            together = rows[start : start + ROWS_TOGETHER]
            statement = _repeated(self._sql[name], len(together))
            self._execute(statement, [value for row in together for value in row])

    def _hop(self, hop: Hop) -> int:
        """The integer of a hop, or NO_HOP: no recipient names it."""
        id = self._hops.get(hop)
        if id is None:
            found = self._execute(self._sql["find_hop"], (hop.route, hop.name, hop.requiretls)).fetchone()
            if found is None:
                return NO_HOP
            id = self._remember(hop, found[0])
        return id

    def _new_hop(self, hop: Hop) -> int:
        id = self._execute(self._sql["add_hop"], (hop.route, hop.name, hop.requiretls)).lastrowid
        return self._remember(hop, id or NO_HOP)

    def _remember(self, hop: Hop, id: int) -> int:
        if len(self._hops) >= MAX_HOPS:
            self._hops.clear()
        self._hops[hop] = id
        return id

    def _claim(self, claim: Claim) -> list[Delivery]:
        asked = (self._hop(claim.hop), claim.now, claim.limit)
        return self._activate(self._execute(self._sql["due"], asked).fetchall(), claim.until)

    def _activate(self, due: Sequence[Row], until: Instant | None) -> list[Delivery]:
        """Claim the rows (message, n, due), in their order, one delivery a message and hop."""
        keys = [(message, n) for message, n, _ in due]
        if until is None:
            self._many(self._sql["activate"], keys)
        else:
            self._many(self._sql["claim"], [(*key, until) for key in keys])
        rows = (self._execute(self._sql["claimed"], key).fetchone() for key in keys)
        return deliveries(to_pair(row) for row in rows)

    def _defer(self, deferral: Deferral, lane: Lane) -> int:
        return self._execute(
            self._sql["defer"],
            (
                self._hop(deferral.hop),
                int(lane),
                deferral.now,
                deferral.due,
                outcome_text(deferral.outcome),
                deferral.limit,
            ),
        ).rowcount

    def _apply(
        self, name: str, row_of: Callable[[Change], Row], records: Sequence[Sequence[Change]]
    ) -> Sequence[list[Finished]]:
        sql = self._sql[name]
        # By message, so that one which two records finish together is told of once.
        last_record: dict[int, int] = {}
        idle: set[int] = set()
        tried: list[Change] = []
        for index, changes in enumerate(records):
            for change in changes:
                row = row_of(change)
                if self._execute(sql, row).rowcount:
                    last_record[row[0]] = index
                    if change.state in IDLE:
                        idle.add(row[0])
                    if change.trace is not None:
                        tried.append(change)
        self._keep_attempts(tried)
        self._many(self._sql["track"], [(number,) for number in idle])
        answers: list[list[Finished]] = [[] for _ in records]
        silent = []
        for number, index in last_record.items():
            finished = self._finished(number)
            if finished is not None:
                answers[index].append(finished)
                if not finished.recipients:
                    silent.append((number,))
        self._many(self._sql["remove_recipients"], silent)
        self._many(self._sql["remove_message"], silent)
        self._many(self._sql["remove_attempts"], silent)
        return answers

    def _keep_attempts(self, tried: Sequence[Change]) -> None:
        if not tried:
            return
        rows = [attempt_row(change) for change in tried]
        self._many(self._sql["keep_attempt"], rows)
        old = [(*row[:2], row[2] - ATTEMPTS_KEPT) for row in rows if row[2] > ATTEMPTS_KEPT]
        if old:
            self._many(self._sql["forget_attempts"], old)

    def _finished(self, number: int) -> Finished | None:
        """The message when it has something to settle; without recipients when it is merely over."""
        row = self._execute(self._sql["finished"], (number,)).fetchone()
        if row is None:
            return None
        news, is_open = row[-2:]
        if news:
            return Finished(to_message(row), self._recipients("recipients_of", number))
        return None if is_open else Finished(to_message(row), ())

    def _remove(self, number: int) -> bool:
        self._execute(self._sql["remove_recipients"], (number,))
        self._execute(self._sql["remove_attempts"], (number,))
        return self._execute(self._sql["remove_message"], (number,)).rowcount > 0

    def _listed(self, which: str, recipients: str, asked: Row) -> list[Finished]:
        rows = self._execute(self._sql[which], asked).fetchall()
        return [Finished(to_message(row), self._recipients(recipients, row[0])) for row in rows]

    def _recipients(self, which: str, number: int) -> tuple[Recipient, ...]:
        return tuple(to_recipient(row) for row in self._execute(self._sql[which], (number,)))


def _waits(recipient: Recipient) -> bool:
    return recipient.state in IDLE


@cache
def _repeated(insert: str, size: int) -> str:
    """An INSERT of one row as one of `size` rows."""
    return insert + (size - 1) * f", {insert[insert.rindex('(') :]}"


def _is_over(changes: Sequence[Change], over: Mapping[str, Finished]) -> bool:
    return bool(changes) and changes[0].message in over


def deliveries(pairs: Iterable[tuple[Message, Recipient]]) -> list[Delivery]:
    """Grouped by message and hop, in order of first appearance."""
    messages: dict[str, Message] = {}
    grouped: dict[tuple[str, Hop], list[Recipient]] = {}
    for message, recipient in pairs:
        messages.setdefault(message.id, message)
        grouped.setdefault((message.id, recipient.hop), []).append(recipient)
    return [Delivery(messages[id], tuple(rows), hop) for (id, hop), rows in grouped.items()]
