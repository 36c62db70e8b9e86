"""The local door: a Unix socket where programs submit and the operator looks and acts.

One connection carries one request: a line of JSON, for `submit` followed by the
content, answered by lines of JSON. Whoever may reach the socket may submit; who
asks is known from the kernel (SO_PEERCRED), and only root and the daemon's own
user may look at the queue or change it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from postroad.adapters.local_events import event_lines
from postroad.adapters.local_request import (
    OPERATIONS,
    BadRequest,
    SubmitRequest,
    Unacceptable,
    canonical_content,
    check_own,
    hold_reason,
    parse_request,
    queue_filter,
    submit_request,
    word,
)
from postroad.adapters.unix_socket import peer_uid, remove_stale
from postroad.mail.account import Own, of_user
from postroad.mail.address import Address
from postroad.mail.events import Event, Reloaded, Removed
from postroad.mail.frozen import dataclass
from postroad.mail.local_names import LocalNames
from postroad.mail.message import Submission
from postroad.mail.reply import Reply
from postroad.mail.routing import Hop
from postroad.mail.timestamps import rfc3339
from postroad.mail.why import as_row
from postroad.ports.clock import Clock
from postroad.ports.control import Control, ImpossibleOperation
from postroad.ports.intake import Intake
from postroad.ports.storage import StorageFull

MAX_LINE = 1 << 20
MAX_CONNECTIONS = 500
MAX_CONNECTIONS_PER_USER = 50
REQUEST_TIMEOUT = 10.0
CONTENT_TIMEOUT = 300.0
ANSWER_TIMEOUT = 30.0
# Above this a content is worked on in a thread, and only a few at a time are held in memory.
LARGE = 1 << 20
LARGE_AT_A_TIME = 4
LOOKS = ("status", "aliases", "site", "way", "why", "reload")
# The loop is not to be held up for long.
MOST_EXPLAINED = 300

_T = TypeVar("_T")

_QUEUED_AS = re.compile(r"\bqueued as ([0-9A-Z]{12})\b")


class Follower(Protocol):
    """Events as they come; after `narrow` only those of one message and its hops."""

    def narrow(self, id: str, hops: Collection[str]) -> None: ...

    async def next(self) -> Event: ...


class Following(Protocol):
    """Where a follower is had for the time of a block."""

    def follow(self) -> AbstractContextManager[Follower]: ...


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """What a reload may change. `hop_of` answers str(Hop) of an address, to follow what waits for a hop.

    `own_senders`: which users send as themselves alone; operators do as anybody.
    """

    origin: str
    max_message_size: int
    hop_of: Callable[[Address], str]
    names: LocalNames = field(default_factory=LocalNames)
    own_senders: Own = lambda uid: False


@dataclass(frozen=True, slots=True)
class _Client:
    """One connection: its streams and who is at the other end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    uid: int

    async def say(self, **words: object) -> None:
        self.writer.write(json.dumps(words, separators=(",", ":")).encode("ascii") + b"\n")
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await self.writer.drain()


class LocalDoor:
    """Serves the socket at `path` from `bind` and `run` until `close`."""

    def __init__(
        self,
        path: Path,
        control: Control,
        intake: Intake,
        events: Following,
        clock: Clock,
        settings: LocalSettings,
        operators: Collection[int] | None = None,
    ) -> None:
        """`operators` are the uids that may look and change: by default root and the daemon's own user."""
        self._path = path
        self._operators = frozenset({0, os.geteuid()} if operators is None else operators)
        self._control = control
        self._intake = intake
        self._events = events
        self._clock = clock
        self.settings = settings
        # Reads the alias files again; what is wrong with them.
        self.reread: Callable[[], Awaitable[Sequence[str]]] | None = None
        # Reads the whole configuration again.
        self.reload: Callable[[], Awaitable[Reloaded]] | None = None
        self._socket: socket.socket | None = None
        self._passed = False
        self._closing = asyncio.Event()
        self._users: Counter[int] = Counter()
        # Connections that may be cut at any time: they wait to be asked, or follow.
        self._idle: set[asyncio.Task[None]] = set()
        self._large = asyncio.Semaphore(LARGE_AT_A_TIME)

    def bind(self, passed: socket.socket | None = None) -> None:
        """Take the socket; OSError where that cannot be, also when another daemon answers there.

        One that systemd passed stays when the daemon ends: who connects then waits for the next.
        """
        self._passed = passed is not None
        if passed is not None:
            passed.setblocking(False)
            self._socket = passed
            return
        remove_stale(self._path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(os.fspath(self._path))
            # Who may submit is decided by nobody, who may do more by uid: see `_serve`.
            self._path.chmod(0o666)
            listening.listen(128)
            listening.setblocking(False)
        except OSError:
            listening.close()
            raise
        self._socket = listening

    async def run(self) -> None:
        """Serve until `close`; what is being submitted or changed then is finished first."""
        assert self._socket is not None, "bind() comes first"
        try:
            async with asyncio.TaskGroup() as clients:
                accepting = clients.create_task(self._accept(self._socket, clients))
                await self._closing.wait()
                accepting.cancel()
                for task in self._idle:
                    task.cancel()
        finally:
            self._socket.close()
            if not self._passed:
                with contextlib.suppress(OSError):
                    self._path.unlink()

    def close(self) -> None:
        self._closing.set()

    async def _accept(self, listening: socket.socket, clients: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError:
                # Out of descriptors: the backlog waits until some are free again.
                await asyncio.sleep(1.0)
                continue
            clients.create_task(self._connection(connection))

    async def _connection(self, connection: socket.socket) -> None:
        uid = peer_uid(connection)
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_LINE)
        client = _Client(reader, writer, uid)
        self._users[uid] += 1
        try:
            await self._serve(client)
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            # Nobody is there any more to be told.
            pass
        finally:
            self._users[uid] -= 1
            if not self._users[uid]:
                del self._users[uid]
            writer.close()

    async def _serve(self, client: _Client) -> None:
        try:
            if self._crowded(client.uid):
                raise BadRequest("too many connections at this socket", os.EX_TEMPFAIL)
            request = await self._cut_at_close(self._request(client))
            await self._obey(request, client)
        except BadRequest as bad:
            await client.say(error=str(bad), exit=bad.exit)
        except ImpossibleOperation as impossible:
            await client.say(error=str(impossible), exit=os.EX_DATAERR)
        except StorageFull as full:
            # An operator's wish is the last thing that a full disk may end us for.
            text = f"{full}; what was not changed yet stays as it is"
            await client.say(error=text, exit=os.EX_TEMPFAIL)

    def _crowded(self, uid: int) -> bool:
        # The operator gets in whatever others do.
        return uid not in self._operators and (
            self._users[uid] > MAX_CONNECTIONS_PER_USER or self._users.total() > MAX_CONNECTIONS
        )

    async def _request(self, client: _Client) -> dict[str, Any]:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                return parse_request(await client.reader.readuntil(b"\n"))
        except asyncio.LimitOverrunError:
            raise BadRequest(f"the request is longer than {MAX_LINE} octets") from None

    async def _obey(self, request: Mapping[str, Any], client: _Client) -> None:
        verb = request["verb"]
        if verb == "ping":
            await client.say(ok=True)
        elif verb == "submit":
            await self._submit(request, client)
        elif verb in LOOKS or verb in OPERATIONS:
            if client.uid not in self._operators:
                raise BadRequest(
                    f"uid {client.uid} may submit, but not look at the queue or change it; "
                    "be root or the user of the daemon",
                    os.EX_NOPERM,
                )
            await self._operate(verb, request, client)
        else:
            raise BadRequest("no such verb")

    async def _operate(self, verb: str, request: Mapping[str, Any], client: _Client) -> None:
        if verb == "status":
            await client.say(**{"running": True, "pid": os.getpid()} | await self._control.status())
            return
        if verb in ("site", "way"):
            await client.say(**self._seen(verb, request))
            return
        if verb == "why":
            for found in await self._control.explain(queue_filter(request), MOST_EXPLAINED):
                await client.say(**as_row(found.message, found.recipient, found.why, found.origin))
            return
        if verb == "aliases":
            await client.say(done=True, problems=list(await self.reread() if self.reread else ()))
            return
        if verb == "reload":
            done = await self.reload() if self.reload else Reloaded("", ())
            await client.say(
                done=not done.problems, problems=list(done.problems), needs_restart=list(done.needs_restart)
            )
            return
        reason = hold_reason(request)
        changed = await self._control.operate(verb, queue_filter(request), client.uid, reason)
        for id, recipient in changed:
            await client.say(id=id, recipient=recipient)
        await client.say(done=len(changed))

    def _seen(self, verb: str, request: Mapping[str, Any]) -> dict[str, object]:
        """The hops of a site, or how the way of a hop stands."""
        if verb == "site":
            return {"hops": self._control.hops_of(word(request, "site"))}
        live = self._control.live(Hop(word(request, "route"), word(request, "name")))
        pause = live.pause
        return {
            "site": live.site,
            "connections": live.busy,
            "window": live.window,
            "ready": live.ready,
            "paused_until": None if pause is None else rfc3339(pause.at),
            "paused_because": None if pause is None or pause.why is None else pause.why.text,
        }

    async def _submit(self, request: Mapping[str, Any], client: _Client) -> None:
        try:
            given = self.settings
            wanted = submit_request(request, given.origin, given.max_message_size, given.names)
            if client.uid not in self._operators and given.own_senders(client.uid):
                await asyncio.to_thread(check_own, wanted, client.uid, given.origin, given.names)
        except Unacceptable as refused:
            await _say_reply(client, refused.reply)
            return
        with contextlib.ExitStack() as stack:
            follower = stack.enter_context(self._events.follow()) if wanted.follow else None
            reply = await self._take(wanted, client)
            await _say_reply(client, reply)
            if follower is not None and reply.kind == 2:
                await self._cut_at_close(self._follow(wanted, reply, follower, client))

    async def _take(self, wanted: SubmitRequest, client: _Client) -> Reply:
        large = wanted.size > LARGE
        async with contextlib.AsyncExitStack() as room:
            if large:
                await room.enter_async_context(self._large)
            async with asyncio.timeout(CONTENT_TIMEOUT):
                raw = await client.reader.readexactly(wanted.size)
            content = await asyncio.to_thread(canonical_content, raw) if large else canonical_content(raw)
            submission = Submission(
                envelope=wanted.envelope,
                content=content,
                account=of_user(client.uid),
                peer=wanted.peer(client.uid),
                received_at=self._clock.now(),
                gateway=wanted.gateway,
                later=wanted.later,
            )
            return await self._intake.accept(submission)

    async def _follow(self, wanted: SubmitRequest, reply: Reply, follower: Follower, client: _Client) -> None:
        """Tell what happens to the message until it is settled or the client has gone."""
        id = _queue_id(reply)
        if id is None:
            return
        by_hop: dict[str, list[str]] = {}
        for recipient in wanted.envelope.recipients:
            by_hop.setdefault(self.settings.hop_of(recipient.address), []).append(str(recipient.address))
        follower.narrow(id, by_hop)
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(_tell(follower, by_hop, client))
            leaving = group.create_task(_left(client))
            await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
            telling.cancel()
            leaving.cancel()

    async def _cut_at_close(self, waiting: Awaitable[_T]) -> _T:
        """Wait for something that the end of the daemon need not wait for."""
        task = asyncio.current_task()
        assert task is not None
        if self._closing.is_set():
            task.cancel()
        self._idle.add(task)
        try:
            return await waiting
        finally:
            self._idle.discard(task)


async def _tell(follower: Follower, by_hop: Mapping[str, list[str]], client: _Client) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError):
        while True:
            event = await follower.next()
            for line in event_lines(event, by_hop):
                await client.say(**line)
            if isinstance(event, Removed):
                return


async def _left(client: _Client) -> None:
    """Returns when the client closes its side: nothing more is expected of it."""
    with contextlib.suppress(ConnectionError):
        await client.reader.read(1)


async def _say_reply(client: _Client, reply: Reply) -> None:
    await client.say(code=reply.code, enhanced=reply.enhanced, text=reply.text, id=_queue_id(reply))


def _queue_id(reply: Reply) -> str | None:
    found = _QUEUED_AS.search(reply.text) if reply.kind == 2 else None
    return found[1] if found else None
