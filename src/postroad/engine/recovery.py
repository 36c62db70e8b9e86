"""At start, before any door opens: what a crash left is set right.

Claims are void, so that nothing is lost; of what was in an attempt that whose end may
have left may be delivered a second time, and is named as `ambiguous` before that, for
once its claims are void nothing tells it any more; what was heard
and not yet recorded is recorded now, and is not. Messages that were finished and not
settled are settled now.

The states of a message on disk, and what a crash in each leaves. Every arrow may be
repeated, none may be skipped; `tests/crash` kills the process at each.

    state  record          rows  recipients     what it is                     left by a crash here
    S0     -               -     -              nothing                        -
    S1     written         -     -              being received                 a torn tail: no record
    S2     synced          -     -              on disk, not yet ours          a record without rows: no mail
    S3     synced          yes   some open      queued; the 250 is given here  its claims are void
    S4     synced          yes   all final      finished, not settled          settled at the next start
    S5     synced, marked  -     -              settled                        space, until its segment goes
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import islice

from postroad.engine.bounces import Bounces
from postroad.mail.events import Ambiguous, Recovered
from postroad.ports.clock import Clock
from postroad.ports.events import Events
from postroad.ports.queue import Queue

SLICE = 100
# Whom several attempts in a row were cut off waits no longer than this, in seconds.
LONGEST_WAIT = 60.0
# As many messages are named in the log; all are counted.
NAMED = 1000


async def recover(
    queue: Queue,
    bounces: Bounces,
    clock: Clock,
    events: Events,
    first_step: float,
    told: Callable[[], Awaitable[None]],
) -> int:
    """How many messages wait. `first_step` of the retry schedule, in seconds; `told` returns when
    the log has what was told so far."""
    wait = min(LONGEST_WAIT, first_step)
    twice = await queue.cut_off()
    for id, to in islice(twice.items(), NAMED):
        events.emit(Ambiguous(id, tuple(map(str, to))))
    if twice:
        await told()
    found = await queue.restart(clock.now(), wait)
    unsettled = 0
    while finished := await queue.unsettled(SLICE):
        settled = 0
        for one in finished:
            settled += await bounces.settle(one)
        unsettled += settled
        if not settled:
            break
    if found.messages or found.heard:
        ambiguous = sum(map(len, found.ambiguous.values()))
        events.emit(Recovered(found.messages, found.recipients, ambiguous, unsettled, found.heard))
    return found.messages
