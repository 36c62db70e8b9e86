"""The real daemon in a directory of its own, driven from outside as its operators drive it."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from postroad.adapters.accounts_file import add_account
from postroad.demo.house import self_signed
from postroad.demo.letters import Door
from postroad.demo.process import HANGS_AFTER, DaemonFailed, DaemonProcess, Line, free_port
from tests.support.submitting import hand_in, queue_id

Settings = Mapping[str, Any]

__all__ = ["RARELY", "Daemon", "DaemonFailed", "toml"]

# Settings with which nothing is tried a second time while a test looks, however slow the machine is.
RARELY: Settings = {
    "retry": {"schedule": ["4h"], "greylist": ["4h"]},
    "delivery": {"pause_first": "4h", "pause_longest": "4h"},
}


class Daemon:
    """`async with Daemon(routes={"site.example": port}) as daemon:` is a daemon that is READY.

    One plain listener for this machine, retries after a second, JSON log.
    `settings` replace or add keys; a None removes one. Leaving the block kills it
    and removes its directory.
    """

    def __init__(self, routes: Mapping[str, int] | None = None, settings: Settings | None = None) -> None:
        # Not pytest's own directory: a Unix socket's path may have 107 octets.
        self.directory = Path(tempfile.mkdtemp(prefix="postroad-"))
        self._gone = weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)
        self.port = free_port()
        self.config = self.directory / "postroad.toml"
        self.settings: dict[str, Any] = {
            "hostname": "mail.sender.example",
            "state_directory": "state",
            "listener": [{"address": f"127.0.0.1:{self.port}", "tls": "off", "auth": "off"}],
            "submission": {"trusted_networks": ["127.0.0.0/8"]},
            # A site that was down is looked at again soon: these tests run in real time.
            "delivery": {"allow_private_addresses": True, "pause_first": "1s", "pause_longest": "2s"},
            "route": [
                {"match": [domain], "relay": f"127.0.0.1:{port}", "tls": "none"}
                for domain, port in (routes or {}).items()
            ],
            "retry": {"schedule": ["1s"], "greylist": ["1s"]},
            # Nobody answers there: what this machine knows of names is nobody's business here.
            "dns": {"nameservers": ["127.0.0.1:1"]},
            "log": {"format": "json"},
        }
        self.change(settings or {})
        self.process = DaemonProcess(self.config)
        # What earlier runs in this directory said.
        self._earlier: list[Line] = []

    def guard(self) -> Door:
        """Before the start: STARTTLS and AUTH on the listener, one account; where and as whom to submit."""
        certificate, _ = self_signed(self.directory)
        add_account(self.directory / "accounts", "anna", "correct horse")
        self.change(
            {
                "listener": [{"address": f"127.0.0.1:{self.port}", "tls": "starttls", "auth": "required"}],
                "submission": {"accounts": "accounts"},
                "tls": {"certificate": "cert.pem", "key": "key.pem"},
            }
        )
        return Door(self.port, "anna", "correct horse", certificate.read_text("ascii"))

    async def __aenter__(self) -> Daemon:
        try:
            await self.process.start()
        except BaseException:
            self._gone()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.process.kill()
        self._gone()

    def change(self, settings: Settings) -> None:
        """Change the configuration file; a running daemon reads it at SIGHUP or restart."""
        merge(self.settings, settings)
        self.config.write_text(toml(self.settings))

    async def restart(self, environment: Mapping[str, str] | None = None) -> None:
        """Start again after `kill` or the end of a run."""
        self._earlier += self.process.lines
        self.process = DaemonProcess(self.config, dict(environment or {}))
        await self.process.start()

    @property
    def lines(self) -> list[Line]:
        """Every log line of every run."""
        return self._earlier + self.process.lines

    def events(self, name: str, **fields: object) -> list[Line]:
        """The log lines of one event with these fields."""
        return [
            line
            for line in self.lines
            if line.get("event") == name and all(line.get(key) == value for key, value in fields.items())
        ]

    async def until(self, true: Callable[[], bool], timeout: float = HANGS_AFTER, what: str = "") -> None:
        """Wait for something that a log line makes true."""
        await self.process.until(true, timeout, what)

    async def event(self, name: str, timeout: float = HANGS_AFTER, **fields: object) -> Line:
        """The first log line of an event with these fields, waited for."""
        await self.until(lambda: bool(self.events(name, **fields)), timeout, f"{name} {fields}")
        return self.events(name, **fields)[0]

    async def submit(
        self, recipients: Sequence[str], octets: bytes, sender: str = "anna@sender.example", options: str = ""
    ) -> str:
        """Hand in one message exactly as given; its queue id."""
        return queue_id(await asyncio.to_thread(hand_in, self.port, sender, recipients, octets, options))

    async def at_rest(self) -> list[dict[str, Any]]:
        """What `queue` says once nothing is in an attempt: the log tells of one before the index has it."""
        while True:
            rows = await self.queue()
            if all(row["state"] != "active" for row in rows):
                return rows

    async def queue(self) -> list[dict[str, Any]]:
        """What `postroad queue list --json` says."""
        status, out, err = await self.process.command("queue", "list", "--json")
        assert status == 0, err
        return [json.loads(line) for line in out.splitlines()]


def merge(into: dict[str, Any], settings: Settings) -> None:
    """Tables are merged, everything else replaced; None removes."""
    for key, value in settings.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def toml(settings: Settings) -> str:
    """A configuration as TOML: plain keys, tables, arrays of tables; strings as JSON writes them."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if not _is_table(value)]
    for key, value in settings.items():
        tables = [(f"[{key}]", value)] if isinstance(value, Mapping) else []
        if isinstance(value, list) and _is_table(value):
            tables = [(f"[[{key}]]", table) for table in value]
        for title, table in tables:
            lines += ["", title, *(f"{name} = {json.dumps(item)}" for name, item in table.items())]
    return "\n".join(lines) + "\n"


def _is_table(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping)
