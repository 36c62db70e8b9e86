"""A Postroad of our own in a temporary directory."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from children import Failed, end, free_port, spawn, tail
from postroad.adapters import local_client
from postroad.adapters.accounts_file import add_account
from rivals import DOMAIN, LOGIN, SELECTOR, Wishes

# What Postfix allows one destination by default (smtp_destination_concurrency_limit).
CONNECTIONS = 20


class Postroad:
    """The daemon with its default settings, but for doors and ways out; logs to a file as Postfix does."""

    name = "Postroad"

    def __init__(self, wishes: Wishes, match: str = "*") -> None:
        """`match`: the domains that go to the relay."""
        self._match = match
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="postroad-bench-"))
        self.log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        if wishes.tls:
            add_account(self.directory / "accounts", *LOGIN)
        config = "\n".join(self._configuration(wishes))
        (self.directory / "postroad.toml").write_text(config, encoding="ascii")

    def _configuration(self, wishes: Wishes) -> Iterator[str]:
        yield 'hostname = "mail.sender.example"'
        yield 'state_directory = "state"'
        yield "[[listener]]"
        yield f'address = "127.0.0.1:{self.port}"'
        yield 'tls = "starttls"\nauth = "required"' if wishes.tls else 'tls = "off"\nauth = "off"'
        yield "[submission]"
        yield f"max_message_size = {json.dumps(str(wishes.max_message_size // 1_000_000) + 'MB')}"
        if wishes.tls:
            yield 'accounts = "accounts"'
            yield "[tls]"
            yield f'certificate = "{wishes.certificates}/cert.pem"\nkey = "{wishes.certificates}/key.pem"'
        if wishes.dkim_key:
            yield f'[[dkim]]\ndomain = "{DOMAIN}"\nselector = "{SELECTOR}"\nkey = "{wishes.dkim_key}"'
        yield from self._routes(wishes)

    def _routes(self, wishes: Wishes) -> Iterator[str]:
        for domain, endpoint in wishes.sites.items():
            yield f'[[route]]\nmatch = ["{domain}"]\nrelay = "{endpoint}"\ntls = "none"'
        if not wishes.sites:
            yield f'[[route]]\nmatch = ["{self._match}"]\nrelay = "127.0.0.1:{wishes.relay}"'
            yield f'tls = "{"required" if wishes.tls else "none"}"'
            yield f"connections_per_site = {CONNECTIONS}"

    @property
    def config(self) -> Path:
        return self.directory / "postroad.toml"

    def start(self) -> None:
        path = self.directory / "notify.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.bind(str(path))
            door.settimeout(60)
            command = [sys.executable, "-m", "postroad", "--config", str(self.config), "serve"]
            self._process = spawn(command, self.log, {**os.environ, "NOTIFY_SOCKET": str(path)})
            try:
                while b"READY=1" not in door.recv(4096):
                    pass
            except TimeoutError:
                raise Failed(f"Postroad is not ready: {tail(self.log)}") from None

    def stop(self) -> None:
        self.halt()
        shutil.rmtree(self.directory, ignore_errors=True)

    def halt(self) -> None:
        """End the process, keep the files."""
        if self._process is not None:
            end(self._process)

    def pids(self) -> list[int]:
        return [self._process.pid] if self._process else []

    def status(self) -> dict[str, object]:
        """What `postroad status --json` says."""
        (answer,) = local_client.ask(
            self.directory / "state" / "postroad.sock", {"verb": "status"}, b"", 20.0
        )
        return answer

    def waiting(self) -> int:
        value = self.status()["messages"]
        return value if isinstance(value, int) else 0

    def last_words(self) -> str:
        return tail(self.log)
