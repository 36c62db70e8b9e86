"""The daemon as its service manager sees it: what it says, and the sockets and keys that it is handed."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from postroad.adapters import local_client
from postroad.demo.house import dkim_key, self_signed
from postroad.demo.process import HANGS_AFTER, free_port
from tests.support.daemon import toml
from tests.support.disks import preloaded
from tests.support.requires import as_root, require

WATCHDOG = 0.4


class Manager:
    """A fake service manager: a notify socket, and the daemon as its child. Each test owns one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.door.bind(str(folder / "notify.sock"))
        (folder / "notify.sock").chmod(0o777)
        self.process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(
        self, *, passed: list[socket.socket] | None = None, root: bool = False, **environment: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "postroad", "--config", str(self.folder / "postroad.toml"), "serve"]
        settings = {"NOTIFY_SOCKET": str(self.folder / "notify.sock"), **environment}
        descriptors = [sock.fileno() for sock in passed or ()]
        if descriptors:
            # As systemd does it: from 3 on, and LISTEN_PID is that of the program itself.
            moves = " ".join(f"{3 + n}<&{fd}" for n, fd in enumerate(descriptors))
            words = " ".join(f"'{word}'" for word in command)
            command = ["bash", "-c", f"LISTEN_PID=$$ exec {words} {moves}"]
        if root:
            given = [f"{key}={value}" for key, value in settings.items()]
            command = [*as_root(), *within_reach(self.folder, "env", *given, *command)]
        log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(
            command, env={**os.environ, **settings}, pass_fds=descriptors, stderr=log, start_new_session=True
        )
        log.close()
        try:
            yield self.process
        finally:
            if self.process.poll() is None:
                with suppress(PermissionError, ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def hear(self, what: str, seconds: float = HANGS_AFTER) -> None:
        """Until the daemon has said that."""
        end = time.monotonic() + seconds
        while not any(line.startswith(what) for line in self.said):
            left = end - time.monotonic()
            # Of one that has ended all that it said is there.
            ended = self.process is None or self.process.poll() is not None
            self.door.settimeout(0.01 if ended else max(0.01, min(0.5, left)))
            try:
                self.said += self.door.recv(65536).decode().split("\n")
            except TimeoutError:
                if ended or left <= 0:
                    raise AssertionError(f"{what} was not said\n{self.said}\n{self.log}") from None

    def fed_within(self, seconds: float) -> bool:
        """Whether WATCHDOG=1 comes in that time, from now on."""
        self.said.clear()
        with suppress(AssertionError):
            self.hear("WATCHDOG=1", seconds)
            return True
        return False

    def drain(self) -> None:
        """Forget what was said up to now."""
        self.door.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self.door.recv(65536)
        self.said.clear()


def within_reach(folder: Path, *command: str) -> list[str]:
    """The command where every user reaches this interpreter, also one that lies in root's own folder."""
    home = Path(sys.base_prefix)
    closed = [folder for folder in home.parents if not folder.stat().st_mode & 0o001]
    if not closed:
        return list(command)
    script = (
        'set -e; umask 022; d=$(mktemp -d "$4/XXXX"); chmod 755 "$d"; mkdir -p "$d/$3"; '
        'mount --bind "$1" "$d/$3"; mount --rbind "$d" "$2"; shift 4; exec "$@"'
    )
    words = [str(home), str(closed[-1]), str(home.relative_to(closed[-1])), str(folder)]
    return [require("unshare"), "--mount", "bash", "-c", script, "bash", *words, *command]


def settings(port: int) -> dict[str, object]:
    return {
        "hostname": "mail.sender.example",
        "state_directory": "state",
        "listener": [{"address": f"127.0.0.1:{port}", "tls": "off", "auth": "off"}],
        "log": {"format": "json"},
    }


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that other users may pass through, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="postroad-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def manager(folder: Path) -> Iterator[Manager]:
    made = Manager(folder)
    (folder / "postroad.toml").write_text(toml(settings(free_port())))
    yield made
    made.door.close()


def test_it_says_when_it_is_ready_reloads_and_stops(manager: Manager) -> None:
    with manager.running() as process:
        manager.hear("READY=1")
        assert any(line.startswith("STATUS=0 messages") for line in manager.said)
        manager.said.clear()
        process.send_signal(signal.SIGHUP)
        manager.hear("READY=1")
        words = [line.partition("=")[0] for line in manager.said]
        assert words == ["RELOADING", "MONOTONIC_USEC", "READY", "STATUS"]
        process.send_signal(signal.SIGTERM)
        manager.hear("EXTEND_TIMEOUT_USEC=")
        manager.hear("STOPPING=1")
        assert process.wait(HANGS_AFTER) == 0


def test_the_watchdog_is_fed_while_the_index_moves_and_not_while_it_does_not(manager: Manager) -> None:
    held = manager.folder / "held"
    stuck = preloaded(FAULTY_HOLD=f"queue.sqlite-wal:{held}")
    with manager.running(WATCHDOG_USEC=str(int(WATCHDOG * 1e6)), **stuck):  # type: ignore[arg-type]
        manager.hear("READY=1")
        for _ in range(3):
            assert manager.fed_within(HANGS_AFTER)
        # From here on the commit of the index does not end.
        held.touch()
        with socket.socket(socket.AF_UNIX) as submitting:
            submitting.connect(str(manager.folder / "state/postroad.sock"))
            line = b'{"verb":"submit","sender":"a@b.example","recipients":["c@d.example"],"size":3}\n'
            submitting.sendall(line + b"x\r\n")
            deadline = time.monotonic() + HANGS_AFTER
            while '"part":"index"' not in manager.log:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            manager.drain()
            assert not manager.fed_within(3 * WATCHDOG)
            held.unlink()
            assert manager.fed_within(HANGS_AFTER)
            submitting.settimeout(HANGS_AFTER)
            assert b'"code":250' in submitting.recv(4096)


def test_sockets_of_socket_units_serve_and_the_local_one_outlives_the_daemon(manager: Manager) -> None:
    (manager.folder / "state").mkdir(mode=0o711)
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(manager.folder / "state/postroad.sock"))
    door = socket.create_server(("127.0.0.1", 0))
    local.listen()
    configured = {**settings(0), "listener": [{"address": "systemd:smtp", "tls": "off", "auth": "off"}]}
    (manager.folder / "postroad.toml").write_text(toml(configured))
    with local, door:
        passed = {"passed": [door, local], "LISTEN_FDS": "2", "LISTEN_FDNAMES": "smtp:local"}
        with manager.running(**passed) as process:  # type: ignore[arg-type]
            manager.hear("READY=1")
            with smtplib.SMTP("127.0.0.1", door.getsockname()[1], timeout=HANGS_AFTER) as client:
                assert client.noop()[0] == 250
            path = manager.folder / "state/postroad.sock"
            assert [answer["running"] for answer in local_client.ask(path, {"verb": "status"})] == [True]
            process.send_signal(signal.SIGTERM)
            assert process.wait(HANGS_AFTER) == 0
        assert (manager.folder / "state/postroad.sock").is_socket()


def test_a_socket_that_nobody_listens_at_is_a_matter_of_the_configuration(manager: Manager) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        with manager.running(passed=[passed], LISTEN_FDS="1", LISTEN_FDNAMES="smtp") as daemon:
            # Of RestartPreventExitStatus.
            assert daemon.wait(HANGS_AFTER) == os.EX_CONFIG
    assert 'address = "systemd:smtp"' in manager.log


def test_keys_come_as_credentials(manager: Manager) -> None:
    credentials = manager.folder / "credentials"
    credentials.mkdir(mode=0o700)
    self_signed(credentials)
    dkim_key(credentials / "s1.pem")
    port = free_port()
    configured = {
        **settings(port),
        "listener": [{"address": f"127.0.0.1:{port}", "tls": "starttls", "auth": "off"}],
        "tls": {"certificate": "credential:cert.pem", "key": "credential:key.pem"},
        "dkim": [{"domain": "sender.example", "selector": "s1", "key": "credential:s1.pem"}],
    }
    (manager.folder / "postroad.toml").write_text(toml(configured))
    with manager.running(CREDENTIALS_DIRECTORY=str(credentials)):
        manager.hear("READY=1")
        with smtplib.SMTP("127.0.0.1", port, timeout=HANGS_AFTER) as client:
            client.ehlo("client.example")
            assert client.has_extn("starttls")
    with manager.running() as process:
        assert process.wait(HANGS_AFTER) == os.EX_CONFIG
        assert "which systemd sets for LoadCredential=" in manager.log


def test_started_as_root_it_binds_and_reads_keys_and_is_somebody_else_then(manager: Manager) -> None:
    self_signed(manager.folder)
    port = free_port()
    configured = {
        **settings(port),
        "user": "nobody",
        "listener": [{"address": f"127.0.0.1:{port}", "tls": "starttls", "auth": "off"}],
        "tls": {"certificate": "cert.pem", "key": "key.pem"},
    }
    (manager.folder / "postroad.toml").write_text(toml(configured))
    # Whatever our umask is: it is read again by who the daemon then is.
    (manager.folder / "postroad.toml").chmod(0o644)
    subprocess.run([*as_root(), "chown", "0:0", manager.folder / "key.pem"], check=True)
    subprocess.run([*as_root(), "chmod", "600", manager.folder / "key.pem"], check=True)
    with manager.running(root=True):
        manager.hear("READY=1")
        path = manager.folder / "state/postroad.sock"
        assert path.stat().st_uid != 0
        (status,) = subprocess_ask(path, "status")
        pid = status.split('"pid":')[1].split(",")[0]
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert set(fields["Uid"].split()) == {str(path.stat().st_uid)}
        assert "0" not in fields["Groups"].split()
        # The key cannot be read any more; what was read is kept, and the reload is whole.
        (answer,) = subprocess_ask(path, "reload")
        assert '"done":true' in answer
        assert '"needs_restart":[]' in answer
        subprocess.run([*as_root(), "touch", manager.folder / "key.pem"], check=True)
        (answer,) = subprocess_ask(path, "reload")
        assert f'"needs_restart":["{manager.folder}/key.pem (only root can read it)"]' in answer
        with smtplib.SMTP("127.0.0.1", port, timeout=HANGS_AFTER) as client:
            client.ehlo("client.example")
            assert client.has_extn("starttls")


def subprocess_ask(path: Path, verb: str) -> list[str]:
    """As root, who alone may ask a daemon of somebody else."""
    program = f"""
import socket
with socket.socket(socket.AF_UNIX) as s:
    s.connect({str(path)!r}); s.sendall(b'{{"verb":"{verb}"}}\\n'); print(s.makefile().read())
"""
    done = subprocess.run(
        [*as_root(), sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.split("\n")[:1]


def test_a_queue_of_somebody_else_is_refused_with_the_cure(manager: Manager) -> None:
    (manager.folder / "state").mkdir(mode=0o711)
    subprocess.run([*as_root(), "chown", "nobody", manager.folder / "state"], check=True)
    with manager.running() as process:
        assert process.wait(HANGS_AFTER) == os.EX_CONFIG
        assert "belongs to nobody, and this runs as" in manager.log
        assert "chown -R" in manager.log
