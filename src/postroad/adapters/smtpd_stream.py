"""One client's octets: lines in, replies out, TLS and time limits (RFC 5321 2.3.8, 4.5.3; RFC 2920).

From aiosmtpd comes the protocol class: its streams, its session object, the way a
connection becomes a task. What it does with time, lines, ends and cancellation
does not suit a queue that must decide every message, and is replaced here:

- its constructor inspects class and handler for every connection and asks DNS for
  our name: not called;
- its timer runs through DATA and the commit, and closes without a word: `Deadline`;
- it cancels the session when the client half-closes: here a session ends when it
  next wants to read, so a message once received always gets its decision;
- it takes a bare LF for a line end and echoes control characters: `read_line`;
- it writes every reply by itself: `say` collects, `flush` writes the whole group.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import suppress
from typing import Final, cast

from aiosmtpd.smtp import SMTP
from aiosmtpd.smtp import Session as AiosmtpdSession

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_deadline import Deadline
from postroad.adapters.smtpd_inbox import Inbox
from postroad.mail.reply import Reply

LINE_LONGEST: Final = 12288
"""Octets of any line with its CRLF: RFC 4954 4 for base64; most verbs allow less."""
JUNK_LONGEST: Final = 128 * 1024
"""Octets of a line without an end that are worth waiting for its end."""
HANDSHAKE_SECONDS: Final = 30.0
LINGER_SECONDS: Final = 5.0
"""How long a closed connection may take to fetch our last words."""
IGNORED_LONGEST: Final = 16 * 1024 * 1024
"""Octets that are still taken off a connection, and thrown away, for the client to read why it ends."""

_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


class SessionOver(Exception):
    """The session is to end: `how` as in `SessionEnded`, with or without a last reply."""

    def __init__(self, how: str, farewell: Reply | None = None) -> None:
        super().__init__(how)
        self.how = how
        self.farewell = farewell


class BadLine(Exception):
    """A line that is none; `reply` is the answer to give."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class SmtpStream(SMTP):
    """The connection as the session sees it. Its task is never cancelled from in here.

    `tls`: version and cipher once a handshake succeeded, as "TLSv1.3 TLS_AES_256_GCM_SHA384".
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, hostname: str) -> None:
        asyncio.StreamReaderProtocol.__init__(
            self,
            asyncio.StreamReader(loop=loop),
            client_connected_cb=self._cb_client_connected,
            loop=loop,
        )
        self._inbox = Inbox(loop)
        self.loop = loop
        self.hostname = hostname
        self.transport = None
        self.session = None
        self._original_transport = None
        self._handler_coroutine = None
        self.deadline = Deadline(loop, self._time_is_up)
        self.tls: str | None = None
        self._pending = b""
        self._position = 0
        self._dropped = 0
        self._torn = False
        self._listening = False
        self._shaking = False
        self._ignored = -1
        self._unsent: list[bytes] = []
        self._linger: asyncio.TimerHandle | None = None

    # --- reading ---

    def pending_line(self) -> bytes | None:
        """The next line without its CRLF, None while none is complete.

        BadLine when it is too long, has a bare LF or controls. Only CRLF ends a line: what
        follows a bare LF is the rest of a line that was answered already, and is no command.
        """
        if self._torn:
            self._skip_rest()
        if self._position == len(self._pending):
            return None
        newline = self._pending.find(b"\n", self._position)
        if newline >= 0:
            return self._take_line(newline)
        self._keep_rest()
        return None

    async def read_line(self) -> bytes:
        """The next line as `pending_line` gives it, once it came."""
        while (line := self.pending_line()) is None:
            self.put(await self.receive())
        return line

    def put(self, chunk: bytes) -> None:
        """Octets that came, behind those that are no line's yet."""
        rest = len(self._pending) - self._position
        self._pending = self._pending[self._position :] + chunk if rest else chunk
        self._position = 0

    def _take_line(self, newline: int) -> bytes:
        line = self._pending[self._position : newline + 1]
        self._position = newline + 1
        dropped, self._dropped = self._dropped, 0
        self._torn = not line.endswith(b"\r\n")
        if dropped or len(line) > LINE_LONGEST:
            raise BadLine(replies.LINE_TOO_LONG)
        if self._torn:
            # There is a LF in half of them.
            self._check_start(line)
            raise BadLine(replies.BARE_NEWLINE)
        line = line[:-2]
        if _CONTROLS.search(line):
            self._check_start(line)
            # RFC 5321 4.1.1: white space at the end is to be tolerated.
            line = line.rstrip(b" \t")
            if _CONTROLS.search(line):
                raise BadLine(replies.CONTROLS)
        return line

    def _skip_rest(self) -> None:
        """Pass over a torn line's rest, as far as it came."""
        end = self._pending.find(b"\r\n", self._position)
        if end >= 0:
            self._position = end + 2
            self._torn = False
            self._dropped = 0
            return
        rest = self.take_pending()
        self._dropped += len(rest)
        if self._dropped > JUNK_LONGEST:
            raise SessionOver("limit", replies.LINE_TOO_LONG)
        self._pending = _first_half(rest)

    def _keep_rest(self) -> None:
        """A line without its end: of one that is too long only the length is kept."""
        rest = self._pending[self._position :]
        if self._dropped or len(rest) >= LINE_LONGEST:
            self._dropped += len(rest)
            rest = _first_half(rest)
        self._pending, self._position = rest, 0
        if self._dropped > JUNK_LONGEST:
            raise SessionOver("limit", replies.LINE_TOO_LONG)
        self._check_start(rest)

    async def receive(self) -> bytes:
        """What comes next, at least one octet, after what we have to say has left."""
        try:
            if self._unsent:
                self._write()
                if self._paused:  # type: ignore[attr-defined]
                    await self._drained()
            while (chunk := self._inbox.take()) is None:
                await self._inbox.more()
        except OSError:
            raise SessionOver("lost") from None
        if not chunk:
            raise SessionOver("lost")
        return chunk

    def take_pending(self) -> bytes:
        """What was read already and is no line's yet; the caller owns it now."""
        rest = self._pending[self._position :]
        self._pending, self._position = b"", 0
        return rest

    def give_back(self, rest: bytes) -> None:
        """Octets to be read next, before anything new."""
        if rest:
            self._pending, self._position = rest + self.take_pending(), 0

    def _check_start(self, start: bytes) -> None:
        """A TLS ClientHello where SMTP is spoken: nothing more to say to each other."""
        if start.startswith(b"\x16\x03"):
            raise SessionOver("error")

    # --- writing ---

    def say(self, reply: Reply) -> None:
        """To be sent with the next `flush`: once no complete command is left to answer."""
        self._unsent.append(replies.encode(reply))

    async def flush(self) -> None:
        """Send what was said, and wait while the client takes too little of it."""
        self._write()
        if self._paused:  # type: ignore[attr-defined]
            await self._drained()

    def _write(self) -> None:
        data = self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent)
        self._unsent.clear()
        self._inbox.check()
        if self.transport is None or self.transport.is_closing():
            raise SessionOver("lost")
        cast(asyncio.WriteTransport, self.transport).write(data)

    async def _drained(self) -> None:
        try:
            await self._drain_helper()  # type: ignore[attr-defined]
        except OSError:
            self._inbox.check()
            raise SessionOver("lost") from None

    # --- the connection ---

    def interrupt(self, over: SessionOver) -> None:
        """End the session when it next waits for the client."""
        self._inbox.fail(over)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """The server's side of a handshake; SessionOver where it fails. Nothing may be read before it."""
        self.deadline.clear()
        assert self.transport is not None
        self._shaking = True
        try:
            upgraded = await self.loop.start_tls(
                cast(asyncio.Transport, self.transport),
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=LINGER_SECONDS,
            )
        except OSError:
            upgraded = None
        finally:
            self._shaking = False
        if upgraded is None:
            # The upgrade took the connection away; nobody will tell us of its end.
            self.connection_lost(None)
            raise SessionOver("error")
        self.transport = upgraded
        self._over_ssl = True
        self.tls = _tls_words(upgraded)
        self._inbox.attach(upgraded)

    @property
    def has_unread(self) -> bool:
        """Whether the client sent more than was read so far."""
        return self._position < len(self._pending) or len(self._inbox) > 0

    def close(self, patience: float = 0.0) -> None:
        """Say what is left to say, then close; a client that does not fetch it is cut off.

        With `patience`, seconds, what a client without TLS still sends is taken and thrown away until it
        closes: closed with something unread, its connection would be reset, and our last words lost.
        """
        self.deadline.close()
        transport = self.transport
        if transport is None:
            return
        if self._unsent and not transport.is_closing():
            with suppress(OSError):
                cast(asyncio.WriteTransport, transport).write(b"".join(self._unsent))
        self._unsent.clear()
        if patience and self.tls is None and self._inbox.open and not transport.is_closing():
            with suppress(OSError):
                cast(asyncio.WriteTransport, transport).write_eof()
            self._ignored = 0
            self._inbox.clear()
        else:
            transport.close()
        self._cut_off_later(patience or LINGER_SECONDS)

    def eof_received(self) -> bool | None:
        # aiosmtpd would cancel the session; see the top. A plain connection stays
        # half open, so that what was received still gets its answer; TLS cannot.
        self._inbox.end()
        return self.tls is None and self._ignored < 0

    def data_received(self, data: bytes) -> None:
        if self._listening and self._inbox.awaited:
            self._hear(data)
        elif self._ignored < 0:
            self._inbox.feed(data)
        else:
            self._ignored += len(data)
            if self._ignored > IGNORED_LONGEST:
                self._cut_off()

    def _hear(self, chunk: bytes) -> None:
        """What comes while the session waits for nothing else: read, or done at once (`smtpd_commands`)."""
        self._inbox.feed(chunk)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inbox.attach(cast(asyncio.ReadTransport, transport))
        super().connection_made(transport)
        self.tls = _tls_words(transport)

    def connection_lost(self, error: Exception | None) -> None:
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self._inbox.end()
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self.deadline.close()
        self.transport = None

    def _time_is_up(self) -> None:
        self.interrupt(SessionOver("timeout", replies.TIMED_OUT))
        # A client that does not read holds us in flush(), where no reading ends.
        self._cut_off_later()

    def _cut_off_later(self, seconds: float | None = None) -> None:
        """After `seconds`, or sooner where that was said before."""
        if self.transport is None:
            return
        at = self.loop.time() + (LINGER_SECONDS if seconds is None else seconds)
        if self._linger is not None:
            if self._linger.when() <= at:
                return
            self._linger.cancel()
        self._linger = self.loop.call_at(at, self._cut_off)

    def _cut_off(self) -> None:
        self._linger = None
        if self.transport is not None:
            cast(asyncio.Transport, self.transport).abort()

    # --- hooks of aiosmtpd's connection_made ---

    def _create_session(self) -> AiosmtpdSession:
        return AiosmtpdSession(self.loop)

    def _set_rset_state(self) -> None:
        """The transaction is the session's own (`smtpd_transaction`)."""

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Time limits are the session's own (`deadline`)."""


def _first_half(rest: bytes) -> bytes:
    """The CR at the end whose LF may still come."""
    return rest[-1:] if rest.endswith(b"\r") else b""


def _tls_words(transport: asyncio.BaseTransport) -> str | None:
    session = transport.get_extra_info("ssl_object")
    return f"{session.version()} {session.cipher()[0]}" if session is not None else None
