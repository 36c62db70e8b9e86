"""Talk to the service manager: readiness, watchdog, sockets it passes (sd_notify(3), sd_listen_fds(3)).

Nothing here raises: without a service manager every call is a quiet no.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping

FIRST_PASSED_FD = 3


def notify_address(path: str) -> str | None:
    """The socket address of `$NOTIFY_SOCKET`: a path, or with "@" a name in the abstract space."""
    if path.startswith("@") and len(path) > 1:
        return "\0" + path[1:]
    return path if path.startswith("/") else None


def one_line(text: str) -> str:
    """A status text: assignments are lines, so a line end in it would be another assignment."""
    return "".join(c if c.isprintable() else " " for c in text)


class Notifier:
    """Datagrams to `$NOTIFY_SOCKET`. Every method answers whether the manager was told."""

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._address = notify_address(environ.get("NOTIFY_SOCKET", ""))
        self._monotonic_ns = monotonic_ns
        self._socket: socket.socket | None = None

    def ready(self, status: str = "") -> bool:
        """Started, or done with reloading."""
        return self._send("READY=1", status)

    def reloading(self) -> bool:
        """A reload begins; `ready` must follow. The time stamp is what Type=notify-reload asks for."""
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={self._monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> bool:
        return self._send("STOPPING=1", status)

    def watchdog(self) -> bool:
        return self._send("WATCHDOG=1")

    def status(self, text: str) -> bool:
        """One line for `systemctl status`."""
        return self._send("", text)

    def extend_timeout(self, seconds: float) -> bool:
        """Ask for that much time from now for what goes on (starting, stopping)."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, lines: str, status: str = "") -> bool:
        if self._address is None:
            return False
        if status:
            lines = f"{lines}\nSTATUS={one_line(status)}".lstrip("\n")
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                # A manager that does not read must not hold the loop.
                self._socket.setblocking(False)
            self._socket.sendto(lines.encode(errors="replace"), self._address)
        except (OSError, ValueError):
            return False
        return True


def watchdog_interval(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """Seconds between two pings, half of what sd_watchdog_enabled(3) allows; None: no watchdog."""
    if environ.get("WATCHDOG_PID", str(pid or os.getpid())) != str(pid or os.getpid()):
        return None
    microseconds = _count(environ.get("WATCHDOG_USEC", ""))
    return microseconds / 2_000_000 if microseconds else None


def passed_sockets(
    environ: MutableMapping[str, str] = os.environ, pid: int | None = None, first: int = FIRST_PASSED_FD
) -> list[tuple[str, socket.socket]]:
    """The sockets of socket units with their names ("unknown" where none is given), in order.

    Takes LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES out of the environment, so that no
    child believes they are meant for it. What is no socket is left out.
    """
    meant_for = environ.pop("LISTEN_PID", "")
    count = _count(environ.pop("LISTEN_FDS", ""))
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if meant_for != str(pid or os.getpid()):
        return []
    passed = []
    for n in range(min(count, 1000)):
        taken = _take(first + n)
        if taken is not None:
            passed.append((names[n] if n < len(names) and names[n] else "unknown", taken))
    return passed


def _take(fd: int) -> socket.socket | None:
    try:
        os.set_inheritable(fd, False)
        return socket.socket(fileno=fd)
    except OSError:
        return None


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0
