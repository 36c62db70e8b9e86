"""What a client says: its commands, one after the other or pipelined (RFC 2920), and its errors.

What a client sends is dealt with where it arrives, in `data_received`, as far as
that needs no wait: a command more costs no task its turn. What has to wait for
something (a login, a handshake, a message that becomes durable) is `Work`, which
the session's task does; what comes meanwhile stays in the inbox.

Replies of a pipelined group leave together: `say` collects them until no complete
command is left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_context import Door
from postroad.adapters.smtpd_session import Session
from postroad.adapters.smtpd_stream import BadLine, SessionOver
from postroad.mail.reply import Reply
from postroad.mail.verbs import COMMAND_LONGEST, LINE_LIMITS, NOT_OFFERED, split_command

GROUP_LONGEST: Final = 100
"""Replies written together, at most."""

# Cross-protocol attacks (ALPACA) make a browser speak to us: its verbs end the session.
_HTTP: Final = frozenset(
    {"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PRI"}
)

Work = Awaitable[None]
"""What is left to do where it has to wait for something."""
Verb = Callable[[Any, str], Work | None]
"""Does what its command asks, or all of it that needs no wait."""


class CommandSession(Session):
    """One command after the other, each by its verb; `VERBS` are those of the subclass."""

    VERBS: Mapping[str, Verb] = {}
    HELLO_FIRST: ClassVar[Reply] = replies.HELLO_FIRST

    def __init__(self, door: Door) -> None:
        super().__init__(door)
        self._errors = 0
        self._idle_commands = 0
        # Who takes octets that are no commands (a message), in place of `_obey_all`.
        self._taker: Callable[[bytes], Work | None] | None = None
        self._work: Work | None = None
        self._failure: Exception | None = None

    async def _handle_client(self) -> None:
        how = "error"
        try:
            self._greet()
            while True:
                work = await self._next_work()
                while work is not None:
                    await self._do(work)
                    work = self._consume(b"")
        except SessionOver as over:
            how = over.how
            if over.farewell is not None:
                self.say(over.farewell)
        except Exception as error:
            self._report(error)
            self.say(replies.OUT_OF_STEP)
        finally:
            self._end(how)

    async def _next_work(self) -> Work | None:
        """Wait for the client; what it wants that could not be done at once, None to look again."""
        if self._unsent:
            await self.flush()
        self.deadline.set(self._patience())
        chunk = self._inbox.take()
        if chunk is None:
            self._listening = True
            await self._inbox.more()
            self._listening = False
            if self._failure is not None:
                raise self._failure
            work, self._work = self._work, None
            return work
        if not chunk:
            raise SessionOver("lost")
        return self._consume(chunk)

    def _hear(self, chunk: bytes) -> None:
        """Deal with what came, then and there; wake the task for what is left to do."""
        try:
            self._work = self._consume(chunk)
            if self._work is None:
                if self._unsent:
                    self._write()
                elif self._taker is None:
                    # A command in drips does not move the limit.
                    return
                if not self._paused:  # type: ignore[attr-defined]
                    self.deadline.set(self._patience())
                    return
        except Exception as error:
            self._failure = error
        self._inbox.wake()

    def _consume(self, chunk: bytes) -> Work | None:
        """Deal with these octets and all before them, up to the first thing that has to wait."""
        if self._taker is not None:
            return self._taker(chunk)
        if chunk:
            self.put(chunk)
        return self._obey_all()

    def _obey_all(self) -> Work | None:
        while True:
            if self._leaving is not None:
                raise self._leaving
            if len(self._unsent) > GROUP_LONGEST:
                return self.flush()
            try:
                line = self.pending_line()
                if line is None:
                    return None
                work = self._obey(line)
            except BadLine as bad:
                self._error(bad.reply)
                continue
            except SessionOver:
                raise
            except Exception as error:
                self._report(error)
                self._error(replies.INTERNAL)
                continue
            if work is not None:
                return work
            if self._taker is not None:
                return self._taker(self.take_pending())

    async def _do(self, work: Work) -> None:
        # A pipelined command was not waited for, and has its time all the same.
        self.deadline.set(self._config.idle_timeout)
        try:
            await work
        except SessionOver:
            raise
        except Exception as error:
            self._report(error)
            self._error(replies.INTERNAL)

    def _patience(self) -> float:
        """Seconds that the client may take for what it sends next."""
        return self._config.idle_timeout

    def _obey(self, line: bytes) -> Work | None:
        verb, argument = split_command(line)
        method = self.VERBS.get(verb)
        if method is None or argument is None:
            self._unknown(verb, argument)
        elif len(line) + 2 > LINE_LIMITS.get(verb, COMMAND_LONGEST):
            self._error(replies.LINE_TOO_LONG)
        else:
            return method(self, argument)
        return None

    def _unknown(self, verb: str, argument: str | None) -> None:
        if argument is None:
            self._error(replies.NOT_UTF8)
        elif verb in _HTTP:
            raise SessionOver("error", replies.NOT_SMTP)
        else:
            self._error(replies.NOT_OFFERED if verb in NOT_OFFERED else replies.UNKNOWN)

    def _error(self, reply: Reply) -> None:
        self.say(reply)
        self._count_error()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors >= self._config.max_errors:
            raise SessionOver("limit", replies.TOO_MANY_ERRORS)

    def _idle_command(self, reply: Reply) -> None:
        self._idle_commands += 1
        if self._idle_commands > self._config.max_idle_commands:
            self._error(reply)
        else:
            self.say(reply)

    # --- verbs that change nothing ---

    def smtp_NOOP(self, argument: str) -> None:
        self._idle_command(replies.OK)

    def smtp_VRFY(self, argument: str) -> None:
        self._idle_command(replies.NOT_VERIFIED if argument else replies.VRFY_SYNTAX)

    async def smtp_EXPN(self, argument: str) -> None:
        self._error(replies.NOT_OFFERED)

    def smtp_QUIT(self, argument: str) -> None:
        if argument:
            self._error(replies.NO_ARGUMENT)
            return
        raise SessionOver("quit", replies.BYE)
