"""The daemon: runs the parts and stops them in order.

The nesting is the order of stopping: doors close first, then what moves mail
finishes, then the ground (spool and index) makes durable what was handed over.
When any part fails, everything is cancelled at once and the process ends with a
code that says so; the next start recovers.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from postroad import __version__
from postroad.adapters.accounts_file import AccountsError
from postroad.adapters.dkim import DkimKeyError
from postroad.adapters.hooks import HookError
from postroad.adapters.hub import EventHub
from postroad.adapters.journal import Journal
from postroad.adapters.oauth_keys import TokenKeyError
from postroad.adapters.privileges import (
    PrivilegeError,
    appearance,
    changed_unseen,
    check_state,
    drop,
    identity,
    keep,
    own_state,
)
from postroad.adapters.segments import SpoolInUse
from postroad.adapters.smtpd_certificates import validities
from postroad.adapters.smtpd_listen import BindError, SocketMismatch, bind_early, bound_address
from postroad.adapters.smtpd_tls import TlsError
from postroad.adapters.system_descriptors import raise_limit
from postroad.adapters.systemd import Notifier, passed_sockets, watchdog_interval
from postroad.config import ConfigError, load
from postroad.config.advice import descriptors
from postroad.config.alias_files import AliasFile
from postroad.config.alias_files import read as read_aliases
from postroad.config.consistency import TRUSTS_EVERYONE, open_relays
from postroad.config.exposure import exposed
from postroad.config.model import Config, Listener
from postroad.config.reloading import kept, needs_restart
from postroad.engine.recovery import recover
from postroad.mail.events import (
    AliasTrouble,
    CertificateWanes,
    Descriptors,
    Exposed,
    OpenRelay,
    Reloaded,
    Started,
    Stopped,
    Stopping,
    Stuck,
)
from postroad.mail.validity import DAY, told, wanes
from postroad.parts import Material, Parts, build, material, short_names
from postroad.ports.storage import StorageBroken

# What a key, a certificate, a hook or an accounts file can have wrong that the check did not see.
BAD_MATERIAL = (AccountsError, DkimKeyError, HookError, TlsError, TokenKeyError)
REFUSED = (*BAD_MATERIAL, PrivilegeError, SocketMismatch)
# Seconds the service manager is asked to grant: a large index is read at start, and at
# the end both submitters and deliveries in mid-message have some seconds each.
RECOVERY = 300.0
DRAIN = 45.0
EXTENSION = 5.0


def main(config: Config) -> int:
    """Run until SIGTERM or SIGINT; an exit code of sysexits.h."""
    journal = Journal(config.log.format, config.log.level, hostname=config.hostname)
    journal.adopt_logging()
    try:
        start = prepare(config)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(start, journal))
    except BaseExceptionGroup as group:
        return _explain(_first(group))
    except (StorageBroken, SpoolInUse, BindError, OSError, *REFUSED) as error:
        return _explain(error)
    finally:
        journal.close()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _explain(error: BaseException) -> int:
    """One line for the person who looks, and a code for who restarts us."""
    if isinstance(error, REFUSED):
        code = os.EX_CONFIG
    elif isinstance(error, StorageBroken):
        code = os.EX_IOERR
    elif isinstance(error, SpoolInUse):
        code = os.EX_TEMPFAIL
    elif isinstance(error, OSError):
        code = os.EX_OSERR
    else:
        raise error
    sys.stderr.write(f"postroad: {error}\n")
    return code


@dataclass(frozen=True, slots=True)
class Start:
    """What a daemon begins with: sockets that were bound before it, and files that it may not read again.

    `kept`: where what they had is to be read; `looked`: how they looked then.
    """

    config: Config
    sockets: Sequence[tuple[str, socket.socket]]
    kept: Mapping[Path, Path] = field(default_factory=dict)
    looked: Mapping[Path, tuple[int, int, int] | None] = field(default_factory=dict)


def prepare(config: Config) -> Start:
    """Do what only root may, then be the `user` of the configuration. Raises PrivilegeError, ConfigError."""
    start = Start(config, passed_sockets())
    user = identity(config.user) if config.user is not None else None
    if user is not None and user.uid != os.geteuid():
        if os.geteuid() != 0:
            raise PrivilegeError(f'user = "{user.name}" takes root, or that user, to start')
        own_state(config.state_directory, user)
        looked = {named.path: appearance(named.path) for named in config.files}
        kept = keep(looked)
        early = bind_early([listener for listener in config.listeners if not _is_passed(listener, start)])
        drop(user)
        assert config.path is not None, "serve reads a file"
        start = Start(load(config.path, kept), (*start.sockets, *early), kept, looked)
    check_state(config.state_directory, os.geteuid())
    return start


def _is_passed(listener: Listener, start: Start) -> bool:
    return any(bound_address(sock) == str(listener) for _, sock in start.sockets)


class Daemon:
    def __init__(self, start: Start, journal: Journal, notifier: Notifier) -> None:
        config = start.config
        self._config = config
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
        self._reloading = asyncio.Lock()
        self._look_at_certificates = asyncio.Event()
        self._parts.entrances.local.reread = self.reread_aliases
        self._parts.entrances.local.reload = self.reload
        self._tell_aliases(self._parts.material.aliases)

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
                base.queue, engine.bounces, base.clock, base.events, self._config.retry.schedule[0]
            )
            if base.spool.crashed:
                # What may come twice is told nowhere else once this process has died.
                await asyncio.to_thread(self._journal.flush)
            async with asyncio.TaskGroup() as movers:
                movers.create_task(engine.sites.run())
                movers.create_task(engine.scheduler.run())
                movers.create_task(engine.bounces.run())
                movers.create_task(engine.compaction.run())
                if base.spool.crashed:
                    segments = base.spool.wasteful()
                    places = await base.queue.places_in(segments)
                    movers.create_task(base.spool.mark_strangers(segments, places))
                await self._serve_doors(queued)
                engine.scheduler.close()
                engine.sites.close()
                engine.bounces.close()
                engine.compaction.close()
            await engine.ledger.close()
            self._events.emit(Stopped((await base.queue.counts())["messages"]))
            for task in watch:
                task.cancel()
            base.queue.close()
            base.spool.close()

    async def _serve_doors(self, queued: int) -> None:
        entrances = self._parts.entrances
        here = f"unix:{self._config.socket_path}"
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
            if problems := exposed(self._config):
                self._events.emit(Exposed(problems))
            for listener in open_relays(self._config):
                self._events.emit(OpenRelay(str(listener), TRUSTS_EVERYONE))
            self._notifier.ready(f"{queued} messages queued")
            self._serving = True
            await self._stop.wait()
            self._events.emit(Stopping(self._why))
            self._notifier.stopping(self._why)
            self._look_at_certificates.set()
            entrances.smtp.close()
            entrances.local.close()
            entrances.maildrop.close()
            await entrances.smtp.wait_closed()

    async def _watch_certificates(self) -> None:
        """Tell of those that expire soon, now, after each reload and every day."""
        while not self._stop.is_set():
            now = self._parts.base.clock.now()
            for validity in await asyncio.to_thread(validities, self._config.own_certificates):
                if wanes(validity, now):
                    self._events.emit(CertificateWanes(told(validity, now)))
            with suppress(TimeoutError):
                async with asyncio.timeout(DAY):
                    await self._look_at_certificates.wait()
            self._look_at_certificates.clear()

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

    async def reload(self) -> Reloaded:
        """Take a new configuration whole, or nothing of it and say why. Sessions and deliveries go on."""
        async with self._reloading:
            self._notifier.reloading()
            done = await self._reload()
            self._events.emit(done)
            status = "reloaded"
            if done.problems:
                status = f"reload failed, the old configuration stays: {done.problems[0]}"
            elif done.needs_restart:
                status = f"reloaded; needs a restart: {', '.join(done.needs_restart)}"
            self._notifier.ready(status)
            return done

    async def _reload(self) -> Reloaded:
        path = self._config.path
        assert path is not None, "serve reads a file"
        try:
            config, loaded = await asyncio.to_thread(self._load, path)
        except ConfigError as error:
            return Reloaded(str(path), tuple(str(problem) for problem in error.problems))
        except (OSError, *BAD_MATERIAL) as error:
            return Reloaded(str(path), (str(error),))
        unseen = changed_unseen({path: self._start.looked.get(path) for path in self._start.kept})
        changed = (
            *needs_restart(self._config, config),
            *(f"{path} (only root can read it)" for path in unseen),
        )
        self._take(kept(self._config, config), loaded)
        # Its threads finish what they were handed, and nobody waits for that on the loop.
        before, self._parts.material.signer = self._parts.material.signer, loaded.signer
        await asyncio.to_thread(before.close)
        return Reloaded(str(path), (), changed)

    def _load(self, path: Path) -> tuple[Config, Material]:
        """In a thread: reading keys and importing hooks takes time."""
        config = load(path, self._start.kept)
        loaded = material(kept(self._config, config))
        try:
            if self._parts.entrances.accounts is not None:
                self._parts.entrances.accounts.reload()
        except (AccountsError, OSError):
            loaded.signer.close()
            raise
        return config, loaded

    async def reread_aliases(self) -> tuple[str, ...]:
        """What newaliases asks for; what is wrong with the files. Lines that are wrong do not count."""
        found = await asyncio.to_thread(read_aliases, self._config)
        local, maildrop = self._parts.entrances.local, self._parts.entrances.maildrop
        local.settings = replace(local.settings, names=found.names)
        maildrop.settings = replace(maildrop.settings, names=found.names)
        self._use_names(found)
        return found.told

    def _use_names(self, found: AliasFile) -> None:
        self._parts.engine.packer.names = found.names
        self._parts.engine.scheduler.names_changed()
        self._tell_aliases(found)

    def _tell_aliases(self, found: AliasFile) -> None:
        if found.told:
            self._events.emit(AliasTrouble(found.told))

    def _take(self, config: Config, loaded: Material) -> None:
        """Nothing here waits or fails: the new values are in force together."""
        engine, entrances, running = self._parts.engine, self._parts.entrances, self._parts.material
        running.tls = loaded.tls
        running.origin = loaded.origin
        running.certificates = loaded.certificates
        engine.packer.reload(loaded.signer, config.routes, config.retry)
        engine.destinations.reload(loaded.ground, config.routes)
        engine.scheduler.reload(config.retry)
        engine.ledger.reload(config.retry)
        engine.bounces.reload(config.retry)
        engine.sites.reload(loaded.limits)
        entrances.rights.reload(config.accounts, config.origin)
        entrances.replays.window = config.submission.idempotency_window
        entrances.intake.reload(loaded.admission, config.origin, loaded.fitness)
        entrances.linter.reload(config.accounts, loaded.signs)
        entrances.policies.reload(loaded.asked, loaded.admission.max_recipients)
        self._use_names(loaded.aliases)
        entrances.local.settings = loaded.local
        entrances.maildrop.settings = loaded.maildrop
        self._look_at_certificates.set()
        self._descriptors = descriptors(config, self._descriptors.limit)
        entrances.smtp.reload(config.submission, short_names(config), self._descriptors)
        self._config = config


async def _serve(start: Start, journal: Journal) -> int:
    notifier = Notifier()
    daemon = Daemon(start, journal, notifier)
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[Reloaded]] = set()

    def reload() -> None:
        # One that waits reads the files after this signal, whatever the one before it reads.
        if len(reloads) < 2:
            task = loop.create_task(daemon.reload())
            reloads.add(task)
            task.add_done_callback(reloaded)

    def reloaded(task: asyncio.Task[Reloaded]) -> None:
        reloads.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            daemon.fail(error)

    loop.add_signal_handler(signal.SIGTERM, daemon.stop, "SIGTERM")
    loop.add_signal_handler(signal.SIGINT, daemon.stop, "SIGINT")
    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        await daemon.run()
    finally:
        notifier.close()
    return os.EX_OK
