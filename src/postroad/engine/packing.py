"""Envelope and finished content become a message in the spool: signed, routed, durable.

What submissions and our own notifications have in common. The index knows nothing
yet when `pack` returns: the caller adds the rows, and only then is the message ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from postroad.mail.backoff import RetryPolicy, expiry
from postroad.mail.frozen import dataclass
from postroad.mail.handling import scheduled
from postroad.mail.headers import from_domain
from postroad.mail.lifecycle import State
from postroad.mail.local_names import LocalNames
from postroad.mail.local_names import hop_of as local_hop
from postroad.mail.message import (
    Content,
    Envelope,
    Hold,
    Instant,
    Lane,
    Message,
    Recipient,
)
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.mail.routing import Hop, Route, Routes
from postroad.ports.signer import Signer
from postroad.ports.spool import Record, Spool


@dataclass(frozen=True, slots=True)
class Start:
    """How a new recipient begins: ACTIVE when a site has room now, else WAITING until `due`.

    `why` is the outcome that makes it wait, when its site is known to be in trouble; `held` why it
    is HELD.
    """

    state: State
    due: Instant
    why: Outcome | None = None
    held: Hold | None = None


Place = Callable[[Hop, Lane, Instant], Start]


def in_turn(hop: Hop, lane: Lane, now: Instant) -> Start:
    """Messages that the engine makes wait their turn: their first attempt is nobody's hurry."""
    return Start(State.WAITING, now)


# After so many seconds what its sender wants queued alone is tried, if no run of the queue came before.
QUEUE_RUN = 900.0
QUEUED_ALONE = Outcome(
    Kind.DEFERRED,
    Scope.MESSAGE,
    Reason.SCHEDULED,
    "4.0.0",
    "queued without an attempt, as its sender asked (sendmail -odq); sendmail -q tries now",
    Stage.LOCAL,
)


def in_queue_run(hop: Hop, lane: Lane, now: Instant) -> Start:
    """No attempt before the next run of the queue."""
    return Start(State.WAITING, now + QUEUE_RUN, QUEUED_ALONE)


class Packer:
    def __init__(self, spool: Spool, signer: Signer, routes: Sequence[Route], retry: RetryPolicy) -> None:
        self._spool = spool
        self._signer = signer
        self._routes = Routes(routes)
        self._retry = retry
        # What is local here: also for who expands names before they are packed.
        self.names = LocalNames()

    def reload(self, signer: Signer, routes: Sequence[Route], retry: RetryPolicy) -> None:
        self._signer = signer
        self._routes = Routes(routes)
        self._retry = retry

    async def pack(
        self,
        id: str,
        envelope: Envelope,
        content: Content,
        *,
        account: str,
        lane: Lane,
        now: Instant,
        place: Place,
    ) -> tuple[Message, tuple[Recipient, ...]]:
        """Sign, give each recipient its hop, append to the spool; durable when it returns.

        Raises StorageFull or StorageBroken as `Spool.append`; whatever `place`
        reserved is then the caller's to give back.
        """
        content = await self._signed(content)
        handling = envelope.handling
        until = None if handling is None else handling.hold_until
        begins_at = now if until is None else max(now, until)
        expires_at, warn_at = expiry(self._retry, begins_at, lane, envelope.sender is None)
        message = Message.of(
            id,
            envelope,
            content,
            account=account,
            lane=lane,
            received_at=now,
            expires_at=expires_at,
            warn_at=warn_at,
        )
        recipients = self._recipients(id, envelope, lane, now, place if until is None else _holding(until))
        location = await self._spool.append(Record(message, recipients, content))
        return message.at(location), recipients

    async def _signed(self, content: Content) -> Content:
        author = from_domain(content.head)
        domain = self._signer.domain_for(author) if author else None
        if domain is None:
            return content
        signature = await self._signer.sign(domain, content)
        return Content(signature + content.head, content.body, content.dotted, content.eight_bit)

    def _recipients(
        self, id: str, envelope: Envelope, lane: Lane, now: Instant, place: Place
    ) -> tuple[Recipient, ...]:
        handling = envelope.handling
        # A notification goes as it can, for else it might be lost (RFC 8689 5).
        requiretls = handling is not None and handling.requiretls and envelope.sender is not None
        starts: dict[Hop, Start] = {}
        rows = []
        local = self.names.domains
        for n, to in enumerate(envelope.recipients):
            address = to.address
            if address.domain in local:
                hop = local_hop(address)
            else:
                hop = self._routes.hop_for(address)
                if requiretls:
                    hop = Hop(hop.route, hop.name, requiretls=True)
            start = starts.get(hop)
            if start is None:
                start = starts[hop] = place(hop, lane, now)
            active = start.state is State.ACTIVE
            rows.append(
                Recipient(
                    message=id,
                    n=n,
                    address=to.address,
                    hop=hop,
                    state=start.state,
                    due=start.due,
                    # Counted before any network activity, as a claim does.
                    attempts=1 if active else 0,
                    notify=to.notify,
                    orcpt=to.orcpt,
                    last=start.why,
                    held=start.held,
                )
            )
        return tuple(rows)


def _holding(until: Instant) -> Place:
    """Nothing is claimed for a message that its sender put off (RFC 4865)."""
    why = scheduled(until)
    return lambda hop, lane, now: Start(State.WAITING, max(now, until), why)
