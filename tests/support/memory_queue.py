"""`Queue` in dictionaries; the same contract as the index (tests/contracts/test_queue.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace

from postroad.mail.address import Address, AddressError, parse_address
from postroad.mail.idempotency import Known
from postroad.mail.lifecycle import State
from postroad.mail.message import Change, Delivery, Instant, Message, Notify, Recipient
from postroad.mail.outcome import Outcome
from postroad.mail.quota import Charge
from postroad.mail.routing import Hop
from postroad.ports.queue import Finished, HopDue, Notice, QueueFilter, Restarted, Terms
from postroad.ports.storage import StorageBroken, StorageFull

Key = tuple[str, int]


class MemoryQueue:
    """`full` and `broken` make changes fail; `messages` and `rows` are there to be looked at."""

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        self.rows: dict[Key, Recipient] = {}
        self.keys: dict[tuple[str, str], tuple[Known, Instant]] = {}
        self.charged: list[Charge] = []
        # What each witness says may have left; None: of a process that nobody knows.
        self.left: dict[int, set[Key]] | None = None
        self.answered: set[Key] = set()
        self.full = False
        self.broken = False

    # --- changes -------------------------------------------------------------

    async def add(self, message: Message, recipients: Sequence[Recipient]) -> None:
        self._check()
        self._insert(message, recipients)

    async def accept(self, message: Message, recipients: Sequence[Recipient], terms: Terms) -> None:
        self._check()
        kept = terms.kept
        if kept is not None:
            place = kept.key.account, kept.key.name
            if await self.known(*place, kept.now) is not None:
                raise ValueError(f"{place} is kept already")
            self.keys[place] = Known(message.id, kept.key.digest), kept.expires_at
        self._insert(message, recipients)
        if terms.charge is not None:
            self.charged.append(terms.charge)

    async def claim(self, hop: Hop, now: Instant, limit: int, until: Instant) -> list[Delivery]:
        self._check()
        due = [row for row in self._waiting(hop) if row.due <= now]
        return self._activate(sorted(due, key=self._urgency), limit, until)

    async def claim_all(self, hop: Hop, limit: int) -> list[Delivery]:
        self._check()
        return self._activate(sorted(self._waiting(hop), key=self._urgency), limit, None)

    async def expired(self, now: Instant, limit: int) -> list[Delivery]:
        self._check()
        late = [row for row in self._waiting() if self.messages[row.message].expires_at <= now]
        late.sort(key=lambda row: (self.messages[row.message].expires_at, row.message, row.n))
        return self._activate(late, limit, None)

    def record(self, changes: Sequence[Change]) -> Awaitable[list[Finished]]:
        answer = asyncio.get_running_loop().create_future()
        try:
            answer.set_result(self._apply(changes, lambda state: state is State.ACTIVE))
        except (StorageFull, StorageBroken) as error:
            answer.set_exception(error)
        return answer

    async def change(self, changes: Sequence[Change]) -> list[Finished]:
        return self._apply(changes, lambda state: state in (State.WAITING, State.HELD))

    async def defer_hop(self, hop: Hop, outcome: Outcome, due: Instant, now: Instant) -> int:
        self._check()
        rows = [row for row in self._waiting(hop) if row.due <= now]
        for row in rows:
            self._store(replace(row, due=due, last=outcome))
        return len(rows)

    async def settle(self, message: str, told: Collection[int], notices: Sequence[Notice]) -> bool:
        self._check()
        new = [row for row in self._of(message) if row.n in told and not row.told]
        if new:
            for notice in notices:
                self._insert(*notice)
        for row in new:
            self._store(replace(row, told=True))
        if message not in self.messages or any(r.state.is_open or _news(r) for r in self._of(message)):
            return False
        self._remove(message)
        return True

    async def warned(self, message: str, notices: Sequence[Notice]) -> None:
        self._check()
        owner = self.messages.get(message)
        if owner is None or owner.warn_at is None:
            return
        for notice in notices:
            self._insert(*notice)
        self.messages[message] = replace(owner, warn_at=None)
        for row in self._of(message):
            if row.state.is_open:
                self._store(replace(row, warned=True))

    async def restart(self, now: Instant, wait: float) -> Restarted:
        heard = self._take_up()
        ambiguous = await self.cut_off()
        for row in [row for row in self.rows.values() if row.state is State.ACTIVE]:
            waits = row.attempts > 3
            due = min(row.due, now + wait if waits else now)
            self._store(replace(row, state=State.WAITING, due=due, attempts=row.attempts - waits))
        recipients = sum(row.state.is_open for row in self.rows.values())
        self.left = {}
        return Restarted(len(self.messages), recipients, ambiguous, heard)

    async def cut_off(self) -> dict[str, tuple[Address, ...]]:
        left = None if self.left is None else self.answered.union(*self.left.values())
        claimed = [row for row in self.rows.values() if row.state is State.ACTIVE]
        ambiguous: dict[str, tuple[Address, ...]] = {}
        for row in sorted(claimed, key=lambda row: (row.message, row.n)):
            if left is None or (row.message, row.n) in left:
                ambiguous[row.message] = (*ambiguous.get(row.message, ()), row.address)
        return ambiguous

    def _take_up(self) -> int:
        heard = [
            row
            for row in self.rows.values()
            if row.state is State.ACTIVE
            and (row.message, row.n) in self.answered
            and not (row.notify and Notify.SUCCESS in row.notify)
        ]
        for row in heard:
            self._store(replace(row, state=State.DELIVERED))
        for id in {row.message for row in heard}:
            self._conclude(id)
        return len(heard)

    def witness(self) -> MemoryWitness:
        return MemoryWitness(self)

    # --- looks ---------------------------------------------------------------

    async def known(self, account: str, name: str, now: Instant) -> Known | None:
        known, expires_at = self.keys.get((account, name), (None, 0.0))
        return known if expires_at > now else None

    async def keyed(self, now: Instant) -> list[str]:
        return sorted({account for (account, _), (_, until) in self.keys.items() if until > now})

    async def charges(self, since: int) -> list[Charge]:
        found: dict[tuple[int, str], Charge] = {}
        for one in self.charged:
            if one.hour >= since:
                before = found.get((one.hour, one.account), Charge(one.account, one.hour, 0, 0))
                found[one.hour, one.account] = replace(
                    before,
                    recipients=before.recipients + one.recipients,
                    messages=before.messages + one.messages,
                )
        return [found[place] for place in sorted(found)]

    async def hops(self) -> list[HopDue]:
        earliest: dict[Hop, Instant] = {}
        for row in self._waiting():
            earliest[row.hop] = min(row.due, earliest.get(row.hop, row.due))
        return [HopDue(hop, due) for hop, due in earliest.items()]

    async def next_due(self, hop: Hop) -> Instant | None:
        return min((row.due for row in self._waiting(hop)), default=None)

    async def delayed(self, now: Instant, limit: int) -> list[Finished]:
        late = [m for m in self.messages.values() if m.warn_at is not None and m.warn_at <= now]
        late.sort(key=lambda m: (m.warn_at or 0.0, m.id))
        found = [Finished(m, tuple(row for row in self._of(m.id) if row.state.is_open)) for m in late]
        return [each for each in found if each.recipients][:limit]

    async def unsettled(self, limit: int) -> list[Finished]:
        found = [self._finished(id) for id in sorted(self.messages)]
        return [each for each in found if each is not None][:limit]

    async def find(self, id: str) -> Finished | None:
        message = self.messages.get(id.upper())
        return None if message is None else Finished(message, tuple(self._of(message.id)))

    async def select(
        self, filter: QueueFilter, limit: int, after: Key | None = None
    ) -> list[tuple[Message, Recipient]]:
        rows = [self.rows[key] for key in sorted(self.rows) if after is None or key > after]
        pairs = [(self.messages[row.message], row) for row in rows if row.state.is_open]
        return [pair for pair in pairs if _wanted(filter, *pair)][:limit]

    async def counts(self) -> dict[str, int]:
        states = [row.state for row in self.rows.values()]
        counted = {state.name.lower(): states.count(state) for state in State if state.is_open}
        return {**counted, "messages": len(self.messages)}

    # --- pieces --------------------------------------------------------------

    def _check(self) -> None:
        if self.broken:
            raise StorageBroken("the index of the test is broken")
        if self.full:
            raise StorageFull("the disk of the test is full")

    def _insert(self, message: Message, recipients: Sequence[Recipient]) -> None:
        if message.id in self.messages:
            raise ValueError(f"{message.id} is queued already")
        self.messages[message.id] = message
        for row in recipients:
            self._store(row)

    def _store(self, row: Recipient) -> None:
        self.rows[row.message, row.n] = row

    def _remove(self, id: str) -> None:
        del self.messages[id]
        for row in self._of(id):
            del self.rows[row.message, row.n]

    def _of(self, id: str) -> list[Recipient]:
        return [self.rows[key] for key in sorted(self.rows) if key[0] == id]

    def _waiting(self, hop: Hop | None = None) -> list[Recipient]:
        return [row for row in self.rows.values() if row.state is State.WAITING and hop in (None, row.hop)]

    def _urgency(self, row: Recipient) -> tuple[int, Instant, str, int]:
        return self.messages[row.message].lane, row.due, row.message, row.n

    def _activate(self, rows: Iterable[Recipient], limit: int, until: Instant | None) -> list[Delivery]:
        grouped: dict[tuple[str, Hop], list[Recipient]] = {}
        for row in list(rows)[:limit]:
            claimed = replace(row, state=State.ACTIVE)
            if until is not None:
                claimed = replace(claimed, attempts=row.attempts + 1, due=until)
            self._store(claimed)
            grouped.setdefault((row.message, row.hop), []).append(claimed)
        return [Delivery(self.messages[id], tuple(claimed), hop) for (id, hop), claimed in grouped.items()]

    def _apply(self, changes: Sequence[Change], allowed: Callable[[State], bool]) -> list[Finished]:
        self._check()
        touched: dict[str, None] = {}
        for change in changes:
            row = self.rows.get((change.message, change.n))
            if row is not None and allowed(row.state):
                self._store(_changed(row, change))
                touched[change.message] = None
        return [each for each in map(self._conclude, touched) if each is not None]

    def _conclude(self, id: str) -> Finished | None:
        finished = self._finished(id)
        if finished is None or any(map(_news, finished.recipients)):
            return finished
        self._remove(id)
        return Finished(finished.message, ())

    def _finished(self, id: str) -> Finished | None:
        """A message with something to settle: news, or nothing open."""
        rows = self._of(id)
        if any(row.state is State.ACTIVE for row in rows):
            return None
        if any(row.state.is_open for row in rows) and not any(map(_news, rows)):
            return None
        return Finished(self.messages[id], tuple(rows))


class MemoryWitness:
    """`Witness`."""

    def __init__(self, queue: MemoryQueue) -> None:
        self._queue = queue
        self._keys: list[Key] = []

    def about(self, message: str, numbers: Sequence[int]) -> None:
        self._keys = [(message, n) for n in numbers]

    def leaves(self) -> None:
        if self._queue.left is not None:
            self._queue.left[id(self)] = set(self._keys)

    def taken(self, refused: Collection[int] = ()) -> None:
        self._queue.answered.update(key for place, key in enumerate(self._keys) if place not in refused)

    def close(self) -> None:
        pass


def _changed(row: Recipient, change: Change) -> Recipient:
    moved = replace(row, state=change.state, due=change.due, attempts=change.attempts, held=change.held)
    if change.outcome is None:
        return moved
    return replace(
        moved,
        last=change.outcome,
        last_attempt_at=change.at,
        first_greylisted=change.first_greylisted,
        hints_used=change.hints_used,
    )


def _news(row: Recipient) -> bool:
    """Somebody is to be told of this recipient."""
    asked = row.notify is not None and Notify.SUCCESS in row.notify
    return not row.told and (row.state is State.FAILED or (row.state is State.DELIVERED and asked))


def _wanted(filter: QueueFilter, message: Message, row: Recipient) -> bool:
    return all(
        (
            not filter.ids or message.id in [id.upper() for id in filter.ids],
            filter.to is None or _same(row.address, filter.to),
            filter.sender is None or _same(message.sender, filter.sender),
            filter.domain is None or row.address.domain == filter.domain.lower(),
            filter.state is None or row.state.name.lower() == filter.state,
            filter.older_than is None or message.received_at < filter.older_than,
            not filter.sites or any(name in _names(row.hop) for name in filter.sites),
        )
    )


def _names(hop: Hop) -> tuple[str, ...]:
    return hop.name, hop.route, f"{hop.route}:{hop.name}"


def _same(address: Address | None, text: str) -> bool:
    """Addresses match without regard to case; "" and "<>" are the null sender."""
    if text in ("", "<>"):
        return address is None
    try:
        other = parse_address(text, smtputf8=True)
    except AddressError:
        return False
    return address is not None and (address.local.lower(), address.domain) == (
        other.local.lower(),
        other.domain,
    )
