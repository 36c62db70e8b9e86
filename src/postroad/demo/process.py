"""The real daemon as a child process: started, known to be ready, listened to through its JSON log.

The readiness is that of sd_notify(3), on a socket of our own: no guessing by
time, no polling of ports. Used by the demonstration and by the tests that drive
the whole program from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# A log line of one event about one message with the most recipients allowed.
LINE_LIMIT = 8 * 1024 * 1024
# Below the range of ephemeral ports, so that no outgoing connection takes the
# number between our look and the daemon's bind.
PORTS = range(20_000, 32_000)
# How many numbers are kept from others at one time.
PROMISED = 32
# Seconds after which what has not come will not come, on the slowest machine too.
HANGS_AFTER = 120.0

Line = dict[str, Any]


class DaemonFailed(Exception):
    """The daemon ended, or did not do in time what it was waited for; the text ends with its last words."""


# Of numbers that were given out: descriptors of sockets whose names keep them from other processes.
_promised: deque[int] = deque()


def free_port() -> int:
    """A port number on 127.0.0.1 that nobody has bound right now, and that no other process was given.

    What was given out is kept, the latest of them, by a name in the abstract space of Unix sockets
    (unix(7)): it goes with this process, and reaches as far as ports do.
    """
    for port in random.sample(PORTS, 200):
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with name, socket.socket() as probe, contextlib.suppress(OSError):
            name.bind(f"\0postroad-port-{port}")
            probe.bind(("127.0.0.1", port))
            _promised.append(name.detach())
            if len(_promised) > PROMISED:
                os.close(_promised.popleft())
            return port
    raise DaemonFailed("no free port between 20000 and 32000 on 127.0.0.1")


class _Notices(asyncio.DatagramProtocol):
    """Collects what the daemon tells its service manager."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.said: list[str] = []

    def datagram_received(self, data: bytes, addr: object) -> None:
        words = data.decode("utf-8", "replace").splitlines()
        self.said += words
        if "READY=1" in words:
            self.ready.set()


class DaemonProcess:
    """One run of `postroad serve`: `await start()`, then read `lines`, then `await stop()`.

    `lines` are the parsed JSON log lines in order; what is not JSON is kept in
    `noise`. A new line wakes everybody in `until`.
    """

    def __init__(
        self, config: Path, environment: dict[str, str] | None = None, wrapper: Sequence[str] = ()
    ) -> None:
        """`wrapper`: words before the command, of a program that becomes it."""
        self.config = config
        self._wrapper = wrapper
        self.lines: list[Line] = []
        self.noise: list[str] = []
        self._environment = environment or {}
        self._news = asyncio.Condition()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._notices = _Notices()
        self._listeners: list[Callable[[Line], None]] = []

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def said(self) -> list[str]:
        """What it told its service manager (`READY=1`, `STOPPING=1` ...)."""
        return self._notices.said

    @property
    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise DaemonFailed("the daemon was not started")
        return self._process

    def listen(self, listener: Callable[[Line], None]) -> None:
        """Have `listener` called with every log line from now on."""
        self._listeners.append(listener)

    async def start(self, timeout: float = HANGS_AFTER) -> None:
        """Start it and return once it is READY; DaemonFailed when it ends or takes too long."""
        path = self.config.parent / "notify.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.bind(str(path))
            door.setblocking(False)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(lambda: self._notices, sock=door.dup())
        try:
            await self._spawn(path)
            await self._wait_ready(timeout)
        except BaseException:
            await self.kill()
            raise
        finally:
            transport.close()

    async def _spawn(self, notify: Path) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._wrapper,
            *(sys.executable, "-m", "postroad", "--config", str(self.config), "serve"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self._environment, "NOTIFY_SOCKET": str(notify)},
            limit=LINE_LIMIT,
            # A Ctrl-C on our terminal is ours to handle, in order.
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read())

    async def _wait_ready(self, timeout: float) -> None:
        ready = asyncio.create_task(self._notices.ready.wait())
        ended = asyncio.create_task(self._running.wait())
        try:
            await asyncio.wait({ready, ended}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()
        if self._running.returncode is not None:
            await self._drained()
            raise DaemonFailed(f"it ended with status {self._running.returncode}\n{self.last_words()}")
        if not self._notices.ready.is_set():
            raise DaemonFailed(f"it was not ready after {timeout:g} s\n{self.last_words()}")

    async def _read(self) -> None:
        stream = self._running.stderr
        if stream is None:  # pragma: no cover
            raise AssertionError("stderr is a pipe")
        async for raw in stream:
            text = raw.decode("utf-8", "replace").rstrip("\n")
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            if isinstance(line, dict):
                self._note(line)
            else:
                self.noise.append(text)
            async with self._news:
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()

    def _note(self, line: Line) -> None:
        self.lines.append(line)
        for listener in self._listeners:
            listener(line)

    async def until(self, true: Callable[[], bool], timeout: float = HANGS_AFTER, what: str = "") -> None:
        """Return once `true()`, asked after every log line; DaemonFailed after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), self._news:
                while not true():
                    if self._reader is None or self._reader.done():
                        raise DaemonFailed(f"it ended before {what or 'that'}\n{self.last_words()}")
                    await self._news.wait()
        except TimeoutError:
            text = f"{what or 'what was waited for'} did not happen within {timeout:g} s"
            raise DaemonFailed(f"{text}\n{self.last_words()}") from None

    def last_words(self, count: int = 25) -> str:
        """The last lines of its log, for people."""
        lines = [json.dumps(line, ensure_ascii=False) for line in self.lines[-count:]]
        return "\n".join([*lines, *self.noise[-count:]]) or "(it said nothing)"

    async def _drained(self) -> None:
        if self._reader is not None:
            await self._reader

    def signal(self, number: signal.Signals) -> None:
        self._running.send_signal(number)

    async def wait(self, timeout: float = HANGS_AFTER) -> int:
        """Its exit status, once it has ended; DaemonFailed when it goes on."""
        try:
            async with asyncio.timeout(timeout):
                status = await self._running.wait()
        except TimeoutError:
            raise DaemonFailed(f"it still runs after {timeout:g} s\n{self.last_words()}") from None
        await self._drained()
        return status

    async def stop(self, timeout: float = HANGS_AFTER) -> int:
        """SIGTERM, and the exit status."""
        if self._running.returncode is None:
            self.signal(signal.SIGTERM)
        return await self.wait(timeout)

    async def kill(self) -> None:
        """SIGKILL, if it runs at all."""
        if self._process is None:
            return
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await self._drained()

    async def command(self, *words: str, timeout: float = HANGS_AFTER) -> tuple[int, str, str]:
        """Run another `postroad` command with the same configuration: status, stdout, stderr."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "postroad", "--config", str(self.config), *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(timeout):
                out, err = await process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
        return process.returncode or 0, out.decode(), err.decode()
