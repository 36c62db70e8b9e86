"""The index of the queue: who waits for what, which attempt is under way, what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Protocol

from postroad.mail.address import Address
from postroad.mail.frozen import dataclass
from postroad.mail.idempotency import Kept, Known
from postroad.mail.message import Change, Delivery, Instant, Location, Message, Recipient
from postroad.mail.outcome import Outcome
from postroad.mail.quota import Charge
from postroad.mail.routing import Hop


@dataclass(frozen=True, slots=True)
class HopDue:
    """A hop with waiting recipients and the earliest time one of them is due."""

    hop: Hop
    due: Instant


@dataclass(frozen=True, slots=True)
class Finished:
    """A message with something to settle, and all its recipients as they stand."""

    message: Message
    recipients: tuple[Recipient, ...]


@dataclass(frozen=True, slots=True)
class Restarted:
    """What a queue was when it was opened again: what waits now, messages and recipients.

    `ambiguous` are recipients by message that may have it already, and get it again; `heard`
    deliveries had been answered and not recorded, and are recorded now.
    """

    messages: int
    recipients: int
    ambiguous: Mapping[str, tuple[Address, ...]]
    heard: int = 0


# A notification with its recipients, ready to be added.
Notice = tuple[Message, Sequence[Recipient]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What is written with a message in the transaction that accepts it: counted to whom, under which key."""

    charge: Charge | None
    kept: Kept | None


class Queue(Protocol):
    """The index of the queue. Every change is one transaction, durable when awaited.

    Changes are handed to the writer before the first await of their method, so
    that a cancelled caller loses nothing.
    """

    async def add(self, message: Message, recipients: Sequence[Recipient]) -> None:
        """Insert; recipients may be WAITING, HELD or, claimed for their first attempt, ACTIVE.

        Raises StorageFull (nothing changed) or StorageBroken.
        """
        ...

    async def accept(self, message: Message, recipients: Sequence[Recipient], terms: Terms) -> None:
        """`add`, and in the same transaction what the terms say.

        A key that is kept already, and has not expired, fails it whole with ValueError.
        """
        ...

    async def known(self, account: str, name: str, now: Instant) -> Known | None:
        """What was accepted under a key (`mail.idempotency`) that has not expired."""
        ...

    async def keyed(self, now: Instant) -> list[str]:
        """The accounts that have keys which have not expired, in order."""
        ...

    async def charges(self, since: int) -> list[Charge]:
        """What was charged in this hour (since 1970) and later, one for each account and hour, in order."""
        ...

    async def hops(self) -> list[HopDue]:
        """Every hop that has WAITING recipients. Read at start; the scheduler keeps hops, not messages."""
        ...

    async def claim(self, hop: Hop, now: Instant, limit: int, until: Instant) -> list[Delivery]:
        """Turn due WAITING recipients of the hop ACTIVE, at most `limit`, lane then due order.

        Counts the attempt and sets the pessimistic due time `until` *before* any
        network activity: a daemon that dies in a loop hammers nobody. Grouped
        into one Delivery a message.
        """
        ...

    async def next_due(self, hop: Hop) -> Instant | None:
        """The earliest due time among the hop's WAITING recipients; None: none waits."""
        ...

    def record(self, changes: Sequence[Change]) -> Awaitable[list[Finished]]:
        """Store what an attempt changed; answers the messages that now have something to settle.

        Only ACTIVE recipients change: whoever claimed them alone may say what became of them.
        A message is to be settled when no recipient is ACTIVE and one has *news*:
        FAILED, or DELIVERED with NOTIFY=SUCCESS, and not `told`. One that is finished
        without any news is removed in the same transaction, and is in the answer
        too, with `recipients` empty.
        """
        ...

    async def defer_hop(self, hop: Hop, outcome: Outcome, due: Instant, now: Instant) -> int:
        """Every due WAITING recipient of the hop: outcome and due time, no attempt counted; how many."""
        ...

    async def claim_all(self, hop: Hop, limit: int) -> list[Delivery]:
        """WAITING recipients of the hop, due or not, turned ACTIVE: to fail them all at once."""
        ...

    async def expired(self, now: Instant, limit: int) -> list[Delivery]:
        """WAITING recipients of messages past `expires_at`, turned ACTIVE: to fail them."""
        ...

    async def delayed(self, now: Instant, limit: int) -> list[Finished]:
        """Messages whose delay warning is due, with their open recipients. Changes nothing."""
        ...

    async def settle(self, message: str, told: Collection[int], notices: Sequence[Notice]) -> bool:
        """Mark the recipients `told` and add the DSNs that tell of them, in one transaction.

        A message with nothing open and no news left is removed with it: then True.
        Nothing is added when all of `told` were marked before: a repeat tells nobody twice.
        """
        ...

    async def warned(self, message: str, notices: Sequence[Notice]) -> None:
        """The delay warning is done: clear `warn_at`, mark open recipients, add the DSN, at once."""
        ...

    async def unsettled(self, limit: int) -> list[Finished]:
        """Messages that are finished or have news, left behind by a crash; at start only."""
        ...

    async def cut_off(self) -> Mapping[str, tuple[Address, ...]]:
        """At start, before `restart`: by message who may get it twice, as `Restarted.ambiguous`."""
        ...

    async def restart(self, now: Instant, wait: float) -> Restarted:
        """At start: every claim is void (ACTIVE -> WAITING).

        An attempt that was cut off is due `now`; from the fourth on in `wait` seconds, or
        when its claim foresaw if that is sooner: a message that kills the daemon does not
        do so in a tight loop. From there on it does not count either, so that deaths of
        the daemon, however many, push nobody along the retry schedule.
        """
        ...

    def witness(self) -> Witness:
        """For one connection, until it is closed: what it tells is there for the next `restart`."""
        ...

    async def find(self, id: str) -> Finished | None:
        """One message with all its recipients, open or final."""
        ...

    async def select(
        self, filter: QueueFilter, limit: int, after: tuple[str, int] | None = None
    ) -> list[tuple[Message, Recipient]]:
        """Open recipients in id order, a page at a time: what the queue commands show and act on."""
        ...

    async def change(self, changes: Sequence[Change]) -> list[Finished]:
        """An operator's changes; as `record`, but skips rows that are ACTIVE."""
        ...

    async def counts(self) -> dict[str, int]:
        """Open recipients by state name (waiting, active, held) and "messages"."""
        ...


class Witness(Protocol):
    """Told at the very moment what a crash must not make us forget: synchronous, never blocks or fails.

    What it knows outlives the process, and no power cut.
    """

    def about(self, message: str, numbers: Sequence[int]) -> None:
        """What comes is for these recipients of a message, at least one, in the order of the envelope."""
        ...

    def leaves(self) -> None:
        """The end of the message is about to leave: from here the receiver may have it."""
        ...

    def taken(self, refused: Collection[int] = ()) -> None:
        """The receiver says that it has it: delivered, but for those at these places of the envelope."""
        ...

    def close(self) -> None:
        """The connection has ended. What it told last is not forgotten by that."""
        ...


class MovingQueue(Protocol):
    """What compaction asks of the queue besides."""

    async def movable(self, segment: int) -> list[Message]:
        """Messages in a segment of which something waits, nothing is in an attempt, nothing is news."""
        ...

    async def move(self, moves: Sequence[tuple[Message, Location]]) -> list[Finished | None]:
        """Each message lies elsewhere from now on; None where it is not as `movable` found it."""
        ...


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """All given conditions must hold. Empty `ids`: any. `older_than` is an Instant.

    `sites`: any of these, each the name of a hop, of its route, or both as str(Hop) has them.
    """

    ids: tuple[str, ...] = ()
    to: str | None = None
    sender: str | None = None
    domain: str | None = None
    state: str | None = None
    older_than: Instant | None = None
    sites: tuple[str, ...] = ()
