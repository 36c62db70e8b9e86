"""The daemon's local socket, from outside: what commands and the sendmail wrapper speak.

Standard library only and synchronous, so that a command starts at once. One
connection carries one request: a line of JSON, for `submit` followed by the
content, answered by lines of JSON. `adapters.local` is the other side.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence

from postroad.mail.frozen import dataclass

TIMEOUT = 60.0
MAX_LINE = 1 << 20


class DaemonDown(Exception):
    """Nobody listens at the socket; the text says which and why."""


class NotAnswered(Exception):
    """The daemon was there but gave no usable answer: it went away, took too long, or speaks otherwise."""


class TimedOut(NotAnswered):
    """No further answer came before the deadline."""


class Denied(Exception):
    """The daemon refused the request; `code` is of sysexits.h."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to a submission, in the words of SMTP; `id` is the queue id when it was accepted."""

    code: int
    enhanced: str | None
    text: str
    id: str | None

    @property
    def accepted(self) -> bool:
        return self.code // 100 == 2

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced or "", self.text) if part)


@dataclass(frozen=True, slots=True)
class LocalEnvelope:
    """A submission's envelope as a program gives it.

    `sender` "" is the null reverse-path; addresses without a domain are completed
    by the daemon. `notify`: of "never", "success", "failure", "delay"; `ret`: "full"
    or "hdrs"; `envid` as plain text; `body`: "7BIT" or "8BITMIME".
    """

    sender: str
    recipients: Sequence[str]
    notify: Sequence[str] | None = None
    ret: str | None = None
    envid: str | None = None
    body: str | None = None

    def request(self, size: int, follow: bool) -> dict[str, object]:
        return {
            "verb": "submit",
            "sender": self.sender,
            "recipients": list(self.recipients),
            "notify": None if self.notify is None else list(self.notify),
            "ret": self.ret,
            "envid": self.envid,
            "body": self.body,
            "size": size,
            "follow": follow,
        }


def ask(
    path: str | os.PathLike[str],
    request: Mapping[str, object],
    content: bytes = b"",
    timeout: float = TIMEOUT,
    follow: float | None = None,
) -> Iterator[dict[str, object]]:
    """The answers to one request, as they come; all must be there `timeout` seconds from now.

    With `follow` that holds for the first; the others have so many seconds from it on.

    Raises DaemonDown, TimedOut, NotAnswered and, where the daemon said no, Denied.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        _connect(connection, path)
        try:
            _send(connection, request, content)
            with connection.makefile("rb") as answers:
                while line := answers.readline(MAX_LINE):
                    yield _checked(line)
                    if follow is not None:
                        deadline, follow = time.monotonic() + follow, None
                    # Zero would mean "do not block" to the socket.
                    connection.settimeout(max(0.001, deadline - time.monotonic()))
        except TimeoutError:
            raise TimedOut(f"the daemon at {os.fspath(path)} did not answer within {timeout:g} s") from None
        except OSError as error:
            raise NotAnswered(f"the daemon at {os.fspath(path)} went away: {error.strerror}") from None


def ping(path: str | os.PathLike[str]) -> bool:
    """Whether a daemon answers at the socket."""
    try:
        return any(answer.get("ok") for answer in ask(path, {"verb": "ping"}, timeout=5.0))
    except (DaemonDown, NotAnswered, Denied):
        return False


def elsewhere(name: str, configuration: str, trusted: Collection[int]) -> str | None:
    """The socket, called `name` in some directory, of a daemon that runs by this configuration file.

    The kernel says who listens where (proc(5), /proc/net/unix), and whoever is asked must have made
    the socket as one of the `trusted` users; None where no daemon says it is the one.
    """
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as lines:
            # Num RefCount Protocol Flags Type St Inode Path; the flag is SO_ACCEPTCON.
            rows = [line.rstrip("\n").split(" ", 7) for line in lines]
    except OSError:
        return None
    paths = dict.fromkeys(row[7].strip() for row in rows if len(row) == 8 and row[3] == "00010000")
    for path in paths:
        if os.path.basename(path) == name:
            try:
                if os.stat(path).st_uid not in trusted:
                    continue
                said = next(ask(path, {"verb": "status"}, timeout=5.0), {})
            except (OSError, DaemonDown, NotAnswered, Denied):
                continue
            theirs = said.get("configuration")
            if isinstance(theirs, str) and os.path.realpath(theirs) == os.path.realpath(configuration):
                return path
    return None


def submit(
    path: str | os.PathLike[str], envelope: LocalEnvelope, content: bytes, timeout: float = 300.0
) -> Answer:
    """Hand one message over; the Answer says whether the daemon took it. Line ends may be LF.

    Raises as `ask`.
    """
    for answer in ask(path, envelope.request(len(content), follow=False), content, timeout):
        return as_answer(answer)
    raise NotAnswered(f"the daemon at {os.fspath(path)} closed without an answer; it may be stopping")


def as_answer(said: Mapping[str, object]) -> Answer:
    """The first line of the answers to `submit` as a value."""
    code, enhanced, id = said.get("code"), said.get("enhanced"), said.get("id")
    return Answer(
        code=code if isinstance(code, int) else 451,
        enhanced=enhanced if isinstance(enhanced, str) else None,
        text=str(said.get("text", "")),
        id=id if isinstance(id, str) else None,
    )


def _connect(connection: socket.socket, path: str | os.PathLike[str]) -> None:
    try:
        connection.connect(os.fspath(path))
    except FileNotFoundError:
        raise DaemonDown(f"no daemon: {os.fspath(path)} does not exist") from None
    except ConnectionRefusedError:
        raise DaemonDown(f"no daemon: nobody listens at {os.fspath(path)}") from None
    except OSError as error:
        raise DaemonDown(f"{os.fspath(path)}: {error.strerror or error}") from None


def _send(connection: socket.socket, request: Mapping[str, object], content: bytes) -> None:
    line = json.dumps(request, separators=(",", ":")).encode("ascii") + b"\n"
    try:
        connection.sendall(line)
        connection.sendall(content)
    except (BrokenPipeError, ConnectionResetError):
        # Refused before all was sent: the reason waits to be read.
        return


def _checked(line: bytes) -> dict[str, object]:
    try:
        answer = json.loads(line)
    except ValueError:
        raise NotAnswered("the daemon's answer is not JSON; is it of another version?") from None
    if not isinstance(answer, dict):
        raise NotAnswered("the daemon's answer is not an object; is it of another version?")
    if "error" in answer:
        code = answer.get("exit")
        raise Denied(str(answer["error"]), code if isinstance(code, int) else os.EX_SOFTWARE)
    return answer
