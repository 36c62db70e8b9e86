"""The maildrop: messages that the sendmail command left while the daemon was down.

A file is one line of JSON, the `submit` request of the local socket, and the content.
Its owner, as the kernel knows it, is who submitted. Every user may put files there
(mode 1733), so each is taken for whatever it may be: a link, a pipe, gigabytes.

A message enters the queue exactly once, whenever the process dies: the file is first
renamed to carry the queue id that the message will get, durably; at the next start a
file whose id the queue knows is removed, any other is submitted under that same id.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import os
import secrets
import stat
import time
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Protocol

from postroad.adapters.local_request import (
    BadRequest,
    SubmitRequest,
    Unacceptable,
    canonical_content,
    check_own,
    parse_request,
    submit_request,
)
from postroad.adapters.maildrop_names import CLAIMED, FRESH, REFUSED, REFUSED_DAYS, REFUSED_OF_ONE
from postroad.mail.account import Own, of_user
from postroad.mail.events import Notified, Refused, StorageTrouble
from postroad.mail.frozen import dataclass
from postroad.mail.local_names import LocalNames
from postroad.mail.message import Content, Peer, Submission
from postroad.mail.refusal import returned
from postroad.mail.reply import Reply
from postroad.ports.clock import Clock
from postroad.ports.events import Events
from postroad.ports.queue import Queue
from postroad.ports.queue_id import NewId

POLL = 30.0
BATCH = 500
MAX_REQUEST = 1 << 20
# A writer that has not finished its file after this long was killed.
ABANDONED = 86400.0
REFUSED_KEPT = f"what was refused is kept for {REFUSED_DAYS} days, the latest {REFUSED_OF_ONE} of a user"
# Where a file is told of that nobody may have written.
NOBODY = Peer("maildrop", protocol="local")


class NamedIntake(Protocol):
    """The inward port for a door that chooses the queue id."""

    async def accept(self, submission: Submission, id: str | None = None) -> Reply: ...


class NoMessage(Exception):
    """What lies there is no message; the text says what it is."""


@dataclass(frozen=True, slots=True)
class MaildropSettings:
    """What a reload may change. `origin` completes addresses; the size is in octets.

    `hostname` is who tells a sender that his mail is refused after all.
    """

    origin: str
    max_message_size: int
    names: LocalNames = field(default_factory=LocalNames)
    own_senders: Own = lambda uid: False
    hostname: str = "localhost"


@dataclass(frozen=True, slots=True)
class _Dropped:
    """A file as it was read: its owner and what he asked."""

    uid: int
    request: SubmitRequest
    content: Content


class MaildropDoor:
    """Takes up what lies in `directory`: at the start of `run`, at each `poke`, and now and then."""

    def __init__(
        self,
        directory: Path,
        intake: NamedIntake,
        queue: Queue,
        new_id: NewId,
        clock: Clock,
        events: Events,
        settings: MaildropSettings,
        notices: NamedIntake,
        poll: float = POLL,
    ) -> None:
        """`notices` takes what tells senders of refusals: the intake without rights and quotas."""
        self._directory = directory
        self._intake = intake
        self._notices = notices
        self._queue = queue
        self._new_id = new_id
        self._clock = clock
        self._events = events
        self.settings = settings
        self._poll = poll
        self._wake = asyncio.Event()
        self._closing = False

    def prepare(self) -> None:
        """Make the directory, or give it its mode; OSError where that cannot be."""
        self._directory.mkdir(parents=True, exist_ok=True)
        # mkdir's mode is cut by the umask.
        self._directory.chmod(0o1733)

    async def run(self) -> None:
        """Until `close`; a message that is being submitted then is finished."""
        while not self._closing:
            self._wake.clear()
            try:
                while await self.sweep() and not self._closing:
                    # There may be more than one sweep takes.
                    pass
            except OSError as error:
                self._events.emit(StorageTrouble("maildrop", str(error)))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll):
                    await self._wake.wait()

    def poke(self) -> None:
        """Look now."""
        self._wake.set()

    def close(self) -> None:
        self._closing = True
        self._wake.set()

    async def sweep(self) -> int:
        """Take up what lies there now, `BATCH` files at most; how many are done with. Raises OSError."""
        names, refused = await asyncio.to_thread(self._names)
        for gone in await asyncio.to_thread(self._forget, refused) if refused else ():
            self._events.emit(StorageTrouble("maildrop", gone))
        claimed = [name for name in names if CLAIMED.fullmatch(name)]
        now = self._clock.now()
        fresh = {name: self._new_id(now) for name in names if FRESH.fullmatch(name)}
        if fresh:
            claimed += await asyncio.to_thread(self._claim, fresh)
        done = 0
        for name in claimed:
            if self._closing:
                break
            done += await self._submit(name)
        return done

    def _claim(self, fresh: dict[str, str]) -> list[str]:
        """Give files the names that carry their queue ids, durably."""
        claimed = []
        for name, id in fresh.items():
            mine = f"claimed.{id}.{name}"
            with suppress(FileNotFoundError):
                os.rename(self._directory / name, self._directory / mine)
                claimed.append(mine)
        self._sync()
        return claimed

    def _names(self) -> tuple[list[str], list[str]]:
        """What waits, as many as one sweep takes (the rest is found by the next), and what was refused."""
        names, refused = [], []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name.startswith("tmp."):
                    _remove_abandoned(entry)
                elif FRESH.fullmatch(entry.name) or CLAIMED.fullmatch(entry.name):
                    names.append(entry.name)
                elif REFUSED.fullmatch(entry.name):
                    refused.append(entry.name)
        return heapq.nsmallest(BATCH, names), refused

    def _forget(self, refused: list[str]) -> list[str]:
        """Remove what was refused too long ago, or is too much of one user's; what is to be said of it."""
        of_users: dict[int, list[tuple[float, str]]] = {}
        for name in refused:
            with suppress(OSError):
                status = os.lstat(self._directory / name)
                # Its last change was to be given this name.
                of_users.setdefault(status.st_uid, []).append((status.st_ctime, name))
        said = []
        oldest = time.time() - REFUSED_DAYS * 86400
        for uid, files in of_users.items():
            for place, (since, name) in enumerate(sorted(files, reverse=True)):
                if place >= REFUSED_OF_ONE or since < oldest:
                    with suppress(OSError):
                        os.unlink(self._directory / name)
                        said.append(f"{name} of uid {uid} is removed: {REFUSED_KEPT}")
        return said

    def _sync(self) -> None:
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    async def _submit(self, name: str) -> bool:
        """Whether the file is done with; one that is put off stays for the next time."""
        found = CLAIMED.fullmatch(name)
        assert found is not None
        id, path = found[1], self._directory / name
        if await self._queue.find(id) is not None:
            # Accepted by a process that died before it came to the line below.
            path.unlink(missing_ok=True)
            return True
        try:
            dropped = await asyncio.to_thread(read, path, self.settings)
        except FileNotFoundError:
            return True
        except OSError as error:
            # The machine's trouble, not the message's.
            self._events.emit(StorageTrouble("maildrop", str(error)))
            return False
        except (NoMessage, BadRequest) as error:
            self._set_aside(path, found[2], f"554 5.6.0 {error}")
            return True
        except Unacceptable as refused:
            self._set_aside(path, found[2], str(refused.reply))
            return True
        submission = self._submission(dropped)
        reply = await self._intake.accept(submission, id)
        if reply.kind == 5:
            # Intake has told the log why.
            reply = await self._tell_sender(submission, reply, id)
        if reply.kind == 2:
            # No await since the acceptance: the message cannot have left the queue before its file.
            path.unlink(missing_ok=True)
        elif reply.kind == 5:
            self._set_aside(path, found[2])
        return reply.kind != 4

    async def _tell_sender(self, submission: Submission, refusal: Reply, id: str) -> Reply:
        """What becomes of the notification: it has the id of what it tells of, so that it is sent once.

        The refusal itself where nobody is to be told.
        """
        now, hostname = self._clock.now(), self.settings.hostname
        notice = returned(
            submission, refusal, id=id, hostname=hostname, now=now, boundary=secrets.token_hex(12)
        )
        if notice is None:
            return refusal
        reply = await self._notices.accept(notice, id)
        if reply.kind == 2:
            told = str(submission.envelope.sender)
            self._events.emit(Notified(id=id, dsn=id, kind="failed", to=told, size=notice.content.size))
        return reply

    def _submission(self, dropped: _Dropped) -> Submission:
        return Submission(
            envelope=dropped.request.envelope,
            content=dropped.content,
            account=of_user(dropped.uid),
            peer=dropped.request.peer(dropped.uid),
            received_at=self._clock.now(),
            gateway=dropped.request.gateway,
            later=dropped.request.later,
        )

    def _set_aside(self, path: Path, name: str, why: str | None = None) -> None:
        """Keep what was refused and nobody could be told of, under a name that is not looked at."""
        kept = f"refused.{name}"
        if why is not None:
            self._events.emit(Refused(NOBODY, "maildrop", "", "", f"{why} ({kept})"))
        with suppress(FileNotFoundError):
            path.rename(self._directory / kept)


def _remove_abandoned(entry: os.DirEntry[str]) -> None:
    with suppress(OSError):
        if time.time() - entry.stat(follow_symlinks=False).st_mtime > ABANDONED:
            os.unlink(entry.path)


def read(path: Path, settings: MaildropSettings) -> _Dropped:
    """A file of the maildrop.

    Raises NoMessage for what is none, BadRequest and Unacceptable as for the socket, OSError.
    """
    limit = settings.max_message_size + MAX_REQUEST
    fd = opened(path)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NoMessage("not a regular file")
        if status.st_nlink != 1:
            # A link to somebody else's file would be sent as if its owner had asked for it.
            raise NoMessage("a file with several names")
        if status.st_size > limit:
            raise NoMessage(f"larger than {limit} octets")
        with open(fd, "rb", closefd=False) as file:
            # It may grow under our hands, but not in them.
            data = file.read(limit)
    finally:
        os.close(fd)
    return _understood(data, status.st_uid, settings)


def opened(path: Path) -> int:
    try:
        # NONBLOCK: opening a pipe would wait for its writer.
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EACCES, errno.ENXIO):
            raise NoMessage(f"not to be read: {error.strerror}") from None
        raise


def _understood(data: bytes, uid: int, settings: MaildropSettings) -> _Dropped:
    line, _, raw = data.partition(b"\n")
    request = parse_request(line)
    if request["verb"] != "submit":
        raise NoMessage("a request that is no submission")
    wanted = submit_request(request, settings.origin, settings.max_message_size, settings.names)
    if uid not in (0, os.geteuid()) and settings.own_senders(uid):
        check_own(wanted, uid, settings.origin, settings.names)
    if wanted.size != len(raw):
        raise NoMessage(f"{len(raw)} octets of content where {wanted.size} were announced")
    return _Dropped(uid, wanted, canonical_content(raw))
