"""How the recipients of one new message begin, and the places reserved for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from postroad.engine.backlog import PESSIMISTIC
from postroad.engine.packing import Start
from postroad.engine.site import Site
from postroad.engine.sites import Sites
from postroad.mail.frozen import dataclass
from postroad.mail.lifecycle import State
from postroad.mail.message import Delivery, Instant, Lane, Message, Recipient
from postroad.mail.outcome import Outcome
from postroad.mail.routing import Hop


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A hop whose lookup gave no answer: how often in a row, when it is asked again, and why then."""

    tries: int
    until: Instant
    why: Outcome


class Places:
    def __init__(
        self,
        sites: Sites,
        unresolved: Callable[[Hop, Instant], Unresolved | None],
        due: Callable[[Hop, Instant], None],
    ) -> None:
        """`unresolved` says why nobody asks for the way to a hop, `due` tells the scheduler."""
        self._sites = sites
        self._unresolved = unresolved
        self._due = due
        self._reserved: dict[Hop, Site] = {}

    def place(self, hop: Hop, lane: Lane, now: Instant) -> Start:
        """Claimed at once when the hop's site has room: saves the first attempt a transaction."""
        site = self._sites.known(hop)
        if site is None:
            unresolved = self._unresolved(hop, now)
            if unresolved is not None:
                return Start(State.WAITING, unresolved.until, unresolved.why)
            return Start(State.WAITING, now)
        pause = site.paused()
        if pause is not None:
            return Start(State.WAITING, pause.at, pause.why)
        if not site.reserve(lane):
            return Start(State.WAITING, now)
        self._reserved[hop] = site
        return Start(State.ACTIVE, now + PESSIMISTIC)

    def give_back(self) -> None:
        """The message did not become ours: its places are free again."""
        for site in self._reserved.values():
            site.unreserve()
        self._reserved.clear()

    def dispatch(self, message: Message, recipients: Sequence[Recipient]) -> None:
        """The message is durable: hand over what was claimed, wake what waits."""
        claimed = [recipient for recipient in recipients if recipient.state is State.ACTIVE]
        for hop, rows in self._by_hop(claimed):
            site = self._reserved[hop]
            site.unreserve()
            site.put(Delivery(message, tuple(rows), hop))
        self._reserved.clear()
        if len(claimed) < len(recipients):
            for recipient in recipients:
                if recipient.state is State.WAITING:
                    self._due(recipient.hop, recipient.due)

    def _by_hop(self, claimed: list[Recipient]) -> Iterable[tuple[Hop, list[Recipient]]]:
        if len(self._reserved) < 2:
            # Nearly always so, for every message.
            return [(hop, claimed) for hop in self._reserved]
        rows: dict[Hop, list[Recipient]] = {hop: [] for hop in self._reserved}
        for recipient in claimed:
            rows[recipient.hop].append(recipient)
        return rows.items()
