"""From a configuration to an exit code: the daemon in its loop, and the signals that it obeys."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import uvloop

from postroad.adapters.journal import Journal
from postroad.adapters.privileges import PrivilegeError
from postroad.adapters.segments import SpoolInUse
from postroad.adapters.smtpd_listen import BindError, SocketMismatch
from postroad.adapters.systemd import Notifier
from postroad.config.model import Config
from postroad.daemon.reload import BAD_MATERIAL
from postroad.daemon.run import Daemon
from postroad.daemon.start import Start, prepare
from postroad.mail.events import Reloaded
from postroad.ports.storage import StorageBroken

REFUSED = (*BAD_MATERIAL, PrivilegeError, SocketMismatch)


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


async def _serve(start: Start, journal: Journal) -> int:
    notifier = Notifier()
    daemon = Daemon(start, journal, notifier)
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[Reloaded]] = set()

    def reload() -> None:
        # One that waits reads the files after this signal, whatever the one before it reads.
        if len(reloads) < 2:
            task = loop.create_task(daemon.reloader.reload())
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
