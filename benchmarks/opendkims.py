"""OpenDKIM as the milter that signs for our Postfix."""

from __future__ import annotations

import subprocess
from pathlib import Path

from children import Failed, end, spawn, tail, until
from rivals import DOMAIN, SELECTOR

OPENDKIM = "/usr/sbin/opendkim"

# Signs only, with the canonicalisation that Postroad uses. No syslog: that saves it work.
CONFIGURATION = """\
Mode s
Domain {domain}
Selector {selector}
KeyFile {key}
Canonicalization relaxed/relaxed
InternalHosts 127.0.0.0/8
Socket local:{socket}
UMask 000
RequireSafeKeys no
Syslog no
"""


class OpenDkim:
    def __init__(self, directory: Path, key: Path) -> None:
        self.socket = directory / "dkim.sock"
        self._output = directory / "opendkim.log"
        self._config = directory / "opendkim.conf"
        self._config.write_text(
            CONFIGURATION.format(domain=DOMAIN, selector=SELECTOR, key=key, socket=self.socket)
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        process = self._process = spawn([OPENDKIM, "-f", "-x", str(self._config)], self._output)
        until(lambda: self.socket.exists() or process.poll() is not None, 10, "OpenDKIM listens", 0.05)
        if process.poll() is not None:
            raise Failed(f"OpenDKIM ended: {tail(self._output)}")

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)

    def pids(self) -> list[int]:
        return [self._process.pid] if self._process else []
