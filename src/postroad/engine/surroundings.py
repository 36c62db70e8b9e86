"""What every site works with; one value for all of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

from postroad.engine.ledger import Ledger
from postroad.engine.slots import Slots
from postroad.mail.frozen import dataclass
from postroad.mail.message import Instant
from postroad.mail.routing import Hop
from postroad.mail.rules import Rules
from postroad.ports.clock import Clock
from postroad.ports.events import Events
from postroad.ports.queue import Queue
from postroad.ports.spool import Spool
from postroad.ports.transport import Transport


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`spawn` runs a task that ends with the sites, `due` tells the scheduler of a hop's next time.

    `connections` bounds those of all sites together.
    """

    queue: Queue
    spool: Spool
    transport: Transport
    ledger: Ledger
    clock: Clock
    events: Events
    rules: Rules
    chance: random.Random
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    connections: Slots
    due: Callable[[Hop, Instant], None]
