"""Real mail programs as peers: a private Postfix, and the load tools that come with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from postroad.demo.process import HANGS_AFTER, free_port
from tests.support.requires import as_root, require

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {top}/queue
data_directory = {top}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
maillog_file_prefixes = {top}
maillog_file = {top}/log
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks_style = host
alias_maps =
alias_database =
local_recipient_maps =
smtpd_relay_restrictions = reject_unauth_destination
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {top}/mail
virtual_mailbox_maps = {mailboxes}
virtual_mailbox_limit = 0
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
message_size_limit = 100000000
mailbox_size_limit = 0
local_header_rewrite_clients =
message_drop_headers =
biff = no
"""

MASTER_CF = """\
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
smtp unix - - n - - smtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
proxymap unix - - n - - proxymap
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A Postfix of our own: other directories, a high port, one Maildir for everything it takes.

    Use as `async with Postfix() as peer`; needs root (or sudo without a question),
    as Postfix itself does. It is ended through its own master process alone.
    """

    def __init__(
        self,
        domains: str = "postfix.example",
        mailboxes: str = "static:box/",
        dead: Mapping[str, int] | None = None,
    ) -> None:
        """`mailboxes`: a lookup table of Postfix; addresses that it does not know are refused.

        `dead`: domains whose mail it sends on to ports where nobody listens, so that it waits.
        """
        self._master = require("postfix")
        self._daemons = require_daemons()
        self.port = free_port()
        self._domains = domains
        self._mailboxes = mailboxes
        self._dead = dead or {}
        self._top = Path(tempfile.mkdtemp(prefix="postroad-postfix-"))
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Postfix:
        try:
            self._furnish()
            # Postfix's own start: it makes its queue directories and becomes the master.
            self._process = await asyncio.create_subprocess_exec(
                *as_root(),
                *(self._master, "-c", str(self._top / "etc"), "start-fg"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            await wait_port(self.port, self._process, self.log)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._end()

    def _furnish(self) -> None:
        self._top.chmod(0o755)
        for name in ("etc", "queue", "data", "mail"):
            (self._top / name).mkdir()
            # Other users look in here, whatever our umask is.
            (self._top / name).chmod(0o755)
        box = self._top / "mail" / "box"
        for folder in (box, box / "new", box / "cur", box / "tmp"):
            folder.mkdir(mode=0o777)
            folder.chmod(0o777)
        main = MAIN_CF.format(
            top=self._top,
            daemons=self._daemons,
            domains=self._domains,
            mailboxes=self._mailboxes,
            uid=os.geteuid() or 65534,
            gid=os.getegid() or 65534,
        )
        if self._dead:
            ways = ", ".join(f"{domain}=smtp:[127.0.0.1]:{port}" for domain, port in self._dead.items())
            main += f"relay_domains = {' '.join(self._dead)}\nrelay_transport = smtp\n"
            main += f"transport_maps = inline:{{ {ways} }}\nenable_long_queue_ids = yes\n"
        (self._top / "etc" / "main.cf").write_text(main)
        (self._top / "etc" / "master.cf").write_text(MASTER_CF.format(port=self.port))
        for name in ("main.cf", "master.cf"):
            (self._top / "etc" / name).chmod(0o644)
        subprocess.run([*as_root(), "chown", "postfix", str(self._top / "data")], check=True)

    async def _end(self) -> None:
        if self._process is not None:
            stop = await asyncio.create_subprocess_exec(
                *as_root(),
                *(self._master, "-c", str(self._top / "etc"), "stop"),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            await stop.wait()
            async with asyncio.timeout(HANGS_AFTER):
                await self._process.wait()
        if as_root():
            await asyncio.to_thread(
                subprocess.run, [*as_root(), "rm", "-rf", "--one-file-system", str(self._top)], check=False
            )
        else:
            shutil.rmtree(self._top, ignore_errors=True)

    def log(self) -> str:
        """Its own log so far."""
        with contextlib.suppress(OSError):
            return (self._top / "log").read_text("utf-8", "replace")
        return ""

    async def command(self, program: str, *words: str) -> str:
        """The output of one of its commands, about its own queue."""
        return await run(*as_root(), require(program, "postfix"), "-c", str(self._top / "etc"), *words)

    def mailbox(self) -> list[bytes]:
        """Every message it has delivered, with the lines its Maildir delivery put on top."""
        folder = self._top / "mail" / "box" / "new"
        return [path.read_bytes() for path in sorted(folder.iterdir())]

    def count(self) -> int:
        """How many messages it has delivered."""
        with os.scandir(self._top / "mail" / "box" / "new") as entries:
            return sum(1 for _ in entries)


def require_daemons() -> str:
    """Where Postfix keeps its daemons."""
    postconf = require("postconf", "postfix")
    found = subprocess.run(
        [postconf, "-d", "-h", "daemon_directory"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "/usr/lib/postfix/sbin"


def without_trace(octets: bytes) -> bytes:
    """A Maildir file less what Postfix put on top (Return-Path ... its own Received), with CRLF."""
    fields = octets.split(b"\n")
    at = next(n for n, line in enumerate(fields) if line.lower().startswith(b"received:"))
    at += 1
    while fields[at][:1] in (b" ", b"\t"):
        at += 1
    return b"\r\n".join(fields[at:])


async def wait_port(
    port: int, process: asyncio.subprocess.Process, log: object = None, timeout: float = HANGS_AFTER
) -> None:
    """Return once something listens on the port; AssertionError when `process` ends or takes too long."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        said = log() if callable(log) else ""
        assert process.returncode is None, f"ended with {process.returncode}: {said}"
        assert asyncio.get_running_loop().time() < deadline, f"nothing listens on port {port}: {said}"
        await asyncio.sleep(0.05)


async def run(
    *command: str, stdin: bytes = b"", timeout: float = HANGS_AFTER, env: dict[str, str] | None = None
) -> str:
    """Run a program to its end; its output. AssertionError with the output when it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=env,
    )
    try:
        async with asyncio.timeout(timeout):
            out, _ = await process.communicate(stdin)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    text = out.decode("utf-8", "replace")
    assert process.returncode == 0, f"{command[0]} ended with {process.returncode}:\n{text}"
    return text


async def smtp_source(
    port: int,
    count: int,
    recipient: str,
    *,
    sender: str = "load@sender.example",
    sessions: int = 10,
    length: int = 1000,
) -> None:
    """Postfix's load generator: `count` messages over `sessions` connections at once.

    Each goes to a recipient of its own: a number stands before `recipient`.
    """
    await run(
        require("smtp-source", "postfix"),
        *("-N", "-s", str(sessions), "-m", str(count), "-l", str(length)),
        *("-f", sender, "-t", recipient, "-d", f"inet:127.0.0.1:{port}"),
    )
