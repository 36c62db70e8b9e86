"""Mail for local names: sent on to whom their aliases name, or kept waiting until there is one.

What is known at intake never comes here. A name without an alias is a hop of its own:
it is served like any other, so that its mail waits by the retry schedule, is tried at
once when the aliases are read again, and comes back to its sender when it is too old.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from postroad.engine.ledger import Ledger
from postroad.engine.packing import Packer, in_turn
from postroad.mail.address import Address
from postroad.mail.events import Expanded
from postroad.mail.local_names import addresses_for, forwarded, is_expanded, waiting
from postroad.mail.message import Body, Content, Delivery, EnvelopeRecipient, Message
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.mail.routing import Hop
from postroad.ports.clock import Clock
from postroad.ports.events import Events
from postroad.ports.queue import Queue
from postroad.ports.queue_id import NewId
from postroad.ports.spool import Spool

SLICE = 100
# After a full disk or a bug, in seconds.
PAUSE = 60.0
SENT_ON = Outcome(Kind.DELIVERED, Scope.RECIPIENT, Reason.OK, "2.1.5", "sent on by its alias", Stage.LOCAL)
EXPANDED = replace(SENT_ON, reason=Reason.EXPANDED)


class Forwarding:
    def __init__(
        self,
        *,
        packer: Packer,
        queue: Queue,
        spool: Spool,
        ledger: Ledger,
        clock: Clock,
        events: Events,
        new_id: NewId,
    ) -> None:
        self._packer = packer
        self._queue = queue
        self._spool = spool
        self._ledger = ledger
        self._witness = queue.witness()
        self._clock = clock
        self._events = events
        self._new_id = new_id
        # A whole message is in memory meanwhile.
        self._one_at_a_time = asyncio.Lock()

    async def serve(self, hop: Hop) -> Outcome | list[Hop]:
        """Why the mail of a local name waits, or the hops to which all of it was sent on.

        Raises StorageFull; what was claimed waits again then.
        """
        addresses = addresses_for(hop.name, self._packer.names)
        if not addresses:
            return waiting(hop.name, self._packer.names)
        hops: set[Hop] = set()
        while deliveries := await self._queue.claim_all(hop, SLICE):
            for n, delivery in enumerate(deliveries):
                try:
                    async with self._one_at_a_time:
                        hops |= await self._send_on(delivery, addresses)
                except BaseException:
                    self._give_back(deliveries[n:])
                    raise
        return list(hops)

    async def _send_on(self, delivery: Delivery, addresses: tuple[Address, ...]) -> set[Hop]:
        """The same content as a new message; only when that is durable the old recipient is done.

        A crash between the two repeats it, and says so: twice is better than never.
        """
        message, now = delivery.message, self._clock.now()
        recipients = {
            address: forwarded(
                EnvelopeRecipient(to.address, to.notify, to.orcpt), address, alone=len(addresses) == 1
            )
            for to in delivery.recipients
            for address in addresses
        }
        id = self._new_id(now)
        packed, rows = await self._packer.pack(
            id,
            message.envelope(tuple(recipients.values())),
            await self._content(message),
            account=message.account,
            lane=message.lane,
            now=now,
            place=in_turn,
        )
        self._witness.about(message.id, [to.n for to in delivery.recipients])
        self._witness.leaves()
        await self._queue.add(packed, rows)
        self._witness.taken()
        told = tuple(map(str, addresses))
        for to in delivery.recipients:
            self._events.emit(Expanded(message.id, str(to.address), told, id))
        outcomes = [EXPANDED if is_expanded(to.notify, addresses) else SENT_ON for to in delivery.recipients]
        await self._ledger.ended(delivery, tuple(outcomes))
        return {row.hop for row in rows}

    async def _content(self, message: Message) -> Content:
        stored = await self._spool.read(message.location, message.id)
        body = stored.body
        if body is None:
            body = b"".join([chunk async for chunk in stored.chunks()])
        return Content(stored.head, body, message.dotted, message.body is not Body.SEVEN_BIT)

    def _give_back(self, deliveries: list[Delivery]) -> None:
        """Waiting again. A claim of all that waits for a hop counts no attempt."""
        self._ledger.put_back(deliveries, self._clock.now() + PAUSE, counted=False)
