"""A new configuration for a daemon that runs: taken whole, or nothing of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from postroad.adapters.accounts_file import AccountsError
from postroad.adapters.dkim import DkimKeyError
from postroad.adapters.hooks import HookError
from postroad.adapters.oauth_keys import TokenKeyError
from postroad.adapters.privileges import changed_unseen
from postroad.adapters.smtpd_tls import TlsError
from postroad.adapters.systemd import Notifier
from postroad.config import ConfigError, load
from postroad.config.advice import descriptors
from postroad.config.alias_files import AliasFile
from postroad.config.alias_files import read as read_aliases
from postroad.config.model import Config
from postroad.config.reloading import kept, needs_restart
from postroad.daemon.start import Start
from postroad.mail.descriptors import Share
from postroad.mail.events import AliasTrouble, Reloaded
from postroad.parts.build import Parts, short_names
from postroad.parts.material import Material, material
from postroad.ports.events import Events

# What a key, a certificate, a hook or an accounts file can have wrong that the check did not see.
BAD_MATERIAL = (AccountsError, DkimKeyError, HookError, TlsError, TokenKeyError)


class Reloader:
    """`config`: what is in force. `look_at_certificates` is set when they may be others than before."""

    def __init__(
        self, start: Start, parts: Parts, events: Events, notifier: Notifier, descriptors: Share
    ) -> None:
        self.config = start.config
        self.look_at_certificates = asyncio.Event()
        self._start = start
        self._parts = parts
        self._events = events
        self._notifier = notifier
        self._descriptors = descriptors
        self._turn = asyncio.Lock()
        self._tell_aliases(parts.material.aliases)

    async def reload(self) -> Reloaded:
        """Take a new configuration whole, or nothing of it and say why. Sessions and deliveries go on."""
        async with self._turn:
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
        path = self.config.path
        assert path is not None, "serve reads a file"
        try:
            config, loaded = await asyncio.to_thread(self._load, path)
        except ConfigError as error:
            return Reloaded(str(path), tuple(str(problem) for problem in error.problems))
        except (OSError, *BAD_MATERIAL) as error:
            return Reloaded(str(path), (str(error),))
        unseen = changed_unseen({path: self._start.looked.get(path) for path in self._start.kept})
        changed = (
            *needs_restart(self.config, config),
            *(f"{path} (only root can read it)" for path in unseen),
        )
        self._take(kept(self.config, config), loaded)
        # Its threads finish what they were handed, and nobody waits for that on the loop.
        before, self._parts.material.signer = self._parts.material.signer, loaded.signer
        await asyncio.to_thread(before.close)
        return Reloaded(str(path), (), changed)

    def _load(self, path: Path) -> tuple[Config, Material]:
        """In a thread: reading keys and importing hooks takes time."""
        config = load(path, self._start.kept)
        loaded = material(kept(self.config, config))
        try:
            if self._parts.entrances.accounts is not None:
                self._parts.entrances.accounts.reload()
        except (AccountsError, OSError):
            loaded.signer.close()
            raise
        return config, loaded

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
        self.look_at_certificates.set()
        self._descriptors = descriptors(config, self._descriptors.limit)
        entrances.smtp.reload(config.submission, short_names(config), self._descriptors)
        self.config = config

    async def reread_aliases(self) -> tuple[str, ...]:
        """What newaliases asks for; what is wrong with the files. Lines that are wrong do not count."""
        found = await asyncio.to_thread(read_aliases, self.config)
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
