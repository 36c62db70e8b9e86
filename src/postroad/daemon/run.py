"""Runs the parts and stops them in order.

The nesting is the order of stopping: doors close first, then what moves mail
finishes, then the ground (spool and index) makes durable what was handed over.
When any part fails, everything is cancelled at once and the process ends with a
code that says so; the next start recovers.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress

from postroad import __version__
from postroad.adapters.hub import EventHub
from postroad.adapters.journal import Journal
from postroad.adapters.smtpd_certificates import validities
from postroad.adapters.smtpd_listen import bound_address
from postroad.adapters.system_descriptors import raise_limit
from postroad.adapters.system_memory import keep_soon
from postroad.adapters.systemd import Notifier, watchdog_interval
from postroad.config.advice import descriptors
from postroad.config.consistency import TRUSTS_EVERYONE, open_relays
from postroad.config.exposure import exposed
from postroad.daemon.reload import Reloader
from postroad.daemon.start import Start
from postroad.engine.recovery import recover
from postroad.mail.events import (
    CertificateWanes,
    Descriptors,
    Exposed,
    OpenRelay,
    Started,
    Stopped,
    Stopping,
    Stuck,
)
from postroad.mail.validity import DAY, told, wanes
from postroad.parts.build import Parts, build

# Seconds the service manager is asked to grant: a large index is read at start, and at
# the end both submitters and deliveries in mid-message have some seconds each.
RECOVERY = 300.0
DRAIN = 45.0
EXTENSION = 5.0


class Daemon:
    """All that runs between the first file read and the last one closed; `fail` ends it from anywhere."""

    def __init__(self, start: Start, journal: Journal, notifier: Notifier) -> None:
        config = start.config
        self._start = start
        self._notifier = notifier
        self._stop = asyncio.Event()
        self._why = ""
        self._serving = False
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._journal = journal
        self._events = EventHub(journal)
        self._descriptors = descriptors(config, raise_limit())
        self._parts: Parts = build(config, self._events, self.fail, self._descriptors)
        self.reloader = Reloader(start, self._parts, self._events, notifier, self._descriptors)
        self._parts.entrances.local.reread = self.reloader.reread_aliases
        self._parts.entrances.local.reload = self.reloader.reload

    def fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    def stop(self, why: str) -> None:
        self._why = why
        self._stop.set()

    async def run(self) -> None:
        base, engine = self._parts.base, self._parts.engine
        async with asyncio.TaskGroup() as ground:
            ground.create_task(base.spool.run())
            ground.create_task(base.queue.run())
            ground.create_task(engine.ledger.run())
            watch = [ground.create_task(self._watch()), ground.create_task(self._ask_for_time())]
            base.spool.adopt(await base.queue.live())
            rights = self._parts.entrances.rights
            rights.load(await base.queue.charges(rights.since()))
            self._parts.entrances.replays.load(await base.queue.keyed(base.clock.now()))
            self._notifier.extend_timeout(RECOVERY)
            queued = await recover(
                base.queue,
                engine.bounces,
                base.clock,
                base.events,
                self._start.config.retry.schedule[0],
                lambda: asyncio.to_thread(self._journal.flush),
            )
            if base.spool.crashed:
                # How many of them there are is told once.
                await asyncio.to_thread(self._journal.flush)
            async with asyncio.TaskGroup() as movers:
                movers.create_task(engine.sites.run())
                movers.create_task(engine.scheduler.run())
                movers.create_task(engine.bounces.run())
                movers.create_task(self._parts.compaction.run())
                if base.spool.crashed:
                    segments = base.spool.wasteful()
                    places = await base.queue.places_in(segments)
                    movers.create_task(base.spool.mark_strangers(segments, places))
                await self._serve_doors(queued)
                engine.scheduler.close()
                engine.sites.close()
                engine.bounces.close()
                self._parts.compaction.close()
            await engine.ledger.close()
            self._events.emit(Stopped((await base.queue.counts())["messages"]))
            for task in watch:
                task.cancel()
            base.queue.close()
            base.spool.close()

    async def _serve_doors(self, queued: int) -> None:
        entrances = self._parts.entrances
        here = f"unix:{self._start.config.socket_path}"
        mine = [sock for _, sock in self._start.sockets if bound_address(sock) == here]
        entrances.local.bind(mine[0] if mine else None)
        entrances.maildrop.prepare()
        await entrances.smtp.start([each for each in self._start.sockets if each[1] not in mine])
        async with asyncio.TaskGroup() as doors:
            doors.create_task(entrances.local.run())
            doors.create_task(entrances.maildrop.run())
            self._events.emit(Started(__version__, entrances.smtp.addresses, queued))
            had = self._descriptors
            doors.create_task(self._watch_certificates())
            self._events.emit(Descriptors(had.limit, had.needed, had.sessions))
            if problems := exposed(self._start.config):
                self._events.emit(Exposed(problems))
            for listener in open_relays(self._start.config):
                self._events.emit(OpenRelay(str(listener), TRUSTS_EVERYONE))
            self._notifier.ready(f"{queued} messages queued")
            self._serving = True
            keep_soon()
            await self._stop.wait()
            self._events.emit(Stopping(self._why))
            self._notifier.stopping(self._why)
            self.reloader.look_at_certificates.set()
            entrances.smtp.close()
            entrances.local.close()
            entrances.maildrop.close()
            await entrances.smtp.wait_closed()

    async def _watch_certificates(self) -> None:
        """Tell of those that expire soon, now, after each reload and every day."""
        while not self._stop.is_set():
            now = self._parts.base.clock.now()
            for validity in await asyncio.to_thread(validities, self.reloader.config.own_certificates):
                if wanes(validity, now):
                    self._events.emit(CertificateWanes(told(validity, now)))
            with suppress(TimeoutError):
                async with asyncio.timeout(DAY):
                    await self.reloader.look_at_certificates.wait()
            self.reloader.look_at_certificates.clear()

    async def _watch(self) -> None:
        """Feeds the service manager's watchdog while all moves; ends the daemon when a part failed."""
        interval = watchdog_interval()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await asyncio.shield(self._failure)
            stuck = self._stuck(interval or math.inf)
            if stuck:
                self._events.emit(Stuck(stuck))
            else:
                self._notifier.watchdog()

    def _stuck(self, interval: float) -> str:
        """The part that has done nothing for an interval though it should have; "" where all move."""
        base, engine = self._parts.base, self._parts.engine
        if base.queue.busy_for() > interval:
            return "index"
        if base.spool.busy_for() > interval:
            return "spool"
        moved = engine.scheduler.nudge()
        return "scheduler" if self._serving and not self._stop.is_set() and not moved else ""

    async def _ask_for_time(self) -> None:
        """While it drains, have the service manager wait; not for ever."""
        await self._stop.wait()
        for _ in range(int(DRAIN / EXTENSION)):
            self._notifier.extend_timeout(2 * EXTENSION)
            await asyncio.sleep(EXTENSION)
