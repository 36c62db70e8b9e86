"""The service manager as a datagram socket of our own."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postroad.adapters.systemd import Notifier, passed_sockets, watchdog_interval
from postroad.demo.process import HANGS_AFTER


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(HANGS_AFTER)
        yield listening, {"NOTIFY_SOCKET": str(path)}


Call = Callable[[Notifier], bool]


@pytest.mark.parametrize(
    ("call", "datagram"),
    [
        (lambda n: n.ready(), b"READY=1"),
        (lambda n: n.ready("3 waiting"), b"READY=1\nSTATUS=3 waiting"),
        (lambda n: n.reloading(), b"RELOADING=1\nMONOTONIC_USEC=123456"),
        (lambda n: n.stopping("draining"), b"STOPPING=1\nSTATUS=draining"),
        (lambda n: n.watchdog(), b"WATCHDOG=1"),
        (lambda n: n.status("idle"), b"STATUS=idle"),
        (lambda n: n.extend_timeout(1.5), b"EXTEND_TIMEOUT_USEC=1500000"),
        (
            lambda n: n.status("reload failed: a\nWATCHDOG=trigger"),
            b"STATUS=reload failed: a WATCHDOG=trigger",
        ),
        (lambda n: n.status("half a pair \ud800"), b"STATUS=half a pair  "),
    ],
)
def test_each_call_is_one_datagram(
    manager: tuple[socket.socket, dict[str, str]], call: Call, datagram: bytes
) -> None:
    listening, environ = manager
    notifier = Notifier(environ, monotonic_ns=lambda: 123_456_789)
    assert call(notifier)
    assert listening.recv(1000) == datagram
    notifier.close()


def test_an_at_sign_names_the_abstract_space() -> None:
    name = f"postroad-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(HANGS_AFTER)
        notifier = Notifier({"NOTIFY_SOCKET": "@" + name})
        assert notifier.ready()
        assert listening.recv(100) == b"READY=1"
        notifier.close()


@pytest.mark.parametrize("path", ["", "@", "relative", "/nowhere/at/all", "/" + "x" * 500, "/nul\0l"])
def test_without_a_manager_nobody_is_told_and_nothing_raises(path: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": path})
    assert not notifier.ready("fine")
    assert not notifier.watchdog()
    notifier.close()


def test_a_manager_that_does_not_read_blocks_nobody(manager: tuple[socket.socket, dict[str, str]]) -> None:
    notifier = Notifier(manager[1])
    answers = {notifier.status("x" * 1000) for _ in range(10_000)}
    assert answers == {True, False}
    notifier.close()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "\u0663"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_time(environ: dict[str, str], seconds: float | None) -> None:
    assert watchdog_interval(environ, pid=77) == seconds


def _listeners(count: int) -> tuple[int, list[socket.socket]]:
    """Listening sockets at descriptors that follow each other, as the manager passes them."""
    first = 200
    kept = []
    for n in range(count):
        listening = socket.create_server(("127.0.0.1", 0))
        os.dup2(listening.fileno(), first + n)
        kept.append(listening)
    return first, kept


def test_passed_sockets_come_with_their_names_and_are_not_inherited() -> None:
    first, kept = _listeners(3)
    environ = {"LISTEN_PID": "77", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "smtp::submission", "HOME": "/"}
    passed = passed_sockets(environ, pid=77, first=first)
    assert [name for name, _ in passed] == ["smtp", "unknown", "submission"]
    assert [s.getsockname() for _, s in passed] == [s.getsockname() for s in kept]
    assert not any(s.get_inheritable() for _, s in passed)
    assert environ == {"HOME": "/"}
    for one in [*kept, *(s for _, s in passed)]:
        one.close()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "78", "LISTEN_FDS": "1"},
        {"LISTEN_PID": "77", "LISTEN_FDS": "one"},
        {"LISTEN_PID": "77", "LISTEN_FDS": "-1"},
        {"LISTEN_PID": "77", "LISTEN_FDS": "2"},
    ],
)
def test_sockets_meant_for_others_or_for_nobody_are_not_taken(environ: dict[str, str]) -> None:
    assert passed_sockets(environ, pid=77, first=900) == []


def test_a_descriptor_that_is_no_socket_is_left_out(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    assert passed_sockets({"LISTEN_PID": "77", "LISTEN_FDS": "1"}, pid=77, first=fd) == []
    os.close(fd)
