"""Changes to a queue that no daemon owns: the daemon's own parts, without doors and without movers.

The lock of the spool keeps out a daemon for as long as this takes, and this while there
is one. What a daemon would do at its start is done here too, so that a queue left behind
by a crash is in order before it is changed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace

from postroad.adapters.hub import EventHub
from postroad.adapters.journal import Journal
from postroad.adapters.privileges import Identity, drop, user_name
from postroad.config.model import Config, TlsConfig
from postroad.engine.recovery import recover
from postroad.parts.build import build_office
from postroad.parts.material import Material, material
from postroad.ports.queue import QueueFilter

Changed = list[tuple[str, str]]


def operate(config: Config, verb: str, filters: Sequence[QueueFilter], reason: str = "") -> Changed:
    """As `ports.control.Control.operate`, for each of the filters in turn.

    Raises SpoolInUse where somebody owns the queue, StorageBroken, OSError, and for "bounce",
    whose notification is signed, what a daemon's start raises.
    """
    if verb != "bounce":
        # Whoever holds mail because the daemon does not start must not need what keeps it from starting.
        config = replace(config, dkim=(), policies=(), tls=TlsConfig(), certificates=())
    loaded = material(config)
    become_owner(config)
    journal = Journal(config.log.format, "warning", hostname=config.hostname)
    try:
        return asyncio.run(_operate(config, loaded, verb, filters, reason, journal))
    finally:
        loaded.signer.close()
        journal.close()


def become_owner(config: Config) -> None:
    """Root works as the user whose queue it is: files it made the daemon could not open."""
    owner = config.spool_path.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        drop(Identity(user_name(owner.st_uid), owner.st_uid, owner.st_gid))


async def _operate(
    config: Config,
    loaded: Material,
    verb: str,
    filters: Sequence[QueueFilter],
    reason: str,
    journal: Journal,
) -> Changed:
    base, engine, control = build_office(config, EventHub(journal), loaded)
    done: Changed = []
    async with asyncio.TaskGroup() as ground:
        ground.create_task(base.spool.run())
        ground.create_task(base.queue.run())
        ground.create_task(engine.ledger.run())
        base.spool.adopt(await base.queue.live())
        await recover(
            base.queue,
            engine.bounces,
            base.clock,
            base.events,
            config.retry.schedule[0],
            lambda: asyncio.to_thread(journal.flush),
        )
        if base.spool.crashed:
            segments = base.spool.wasteful()
            await base.spool.mark_strangers(segments, await base.queue.places_in(segments))
        for filter in filters:
            done += await control.operate(verb, filter, os.getuid(), reason)
        await engine.bounces.settle_waiting()
        await engine.ledger.close()
        base.queue.close()
        base.spool.close()
    return done
