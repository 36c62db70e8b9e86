"""Who the client is, and what it may do: EHLO, STARTTLS (RFC 3207), AUTH (RFC 4954)."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_auth import MECHANISMS, Credentials, ExchangeFailed
from postroad.adapters.smtpd_session import Session
from postroad.adapters.smtpd_stream import BadLine, SessionOver
from postroad.mail.esmtp import MAIL_PARAMETERS
from postroad.mail.events import LoggedIn, LoginFailed
from postroad.mail.handling import HOLD_PARAMETERS, PRIORITY, REQUIRETLS, HandlingLimits
from postroad.mail.reply import Reply
from postroad.mail.timestamps import rfc3339

LOGIN_DELAY_LONGEST: Final = 5.0

# What may stand in Received without changing its grammar.
_HELLO: Final = re.compile(r"[!#-'*+\-./0-9:=?A-Z\[\]^_`a-z{|}~]{1,255}")


class EntrySession(Session):
    """The verbs that come before mail; `_account` and `_denial` say what they led to."""

    _failed_logins = 0
    # What MAIL may carry: the parameters of what EHLO offered last.
    _parameters = MAIL_PARAMETERS

    def smtp_HELO(self, argument: str) -> None:
        if self._hello(argument, extended=False):
            self._idle_command(Reply(250, (self.hostname,)))

    def smtp_EHLO(self, argument: str) -> None:
        if self._hello(argument, extended=True):
            self._idle_command(Reply(250, (self.hostname, *self._extensions())))

    def _hello(self, argument: str, *, extended: bool) -> bool:
        if not _HELLO.fullmatch(argument):
            self._error(replies.HELLO_SYNTAX)
            return False
        self._reset()
        self._helo, self._extended = argument, extended
        return True

    def _extensions(self) -> list[str]:
        words = [f"SIZE {self._config.max_message_size}", "8BITMIME", "SMTPUTF8", "PIPELINING"]
        words += ["ENHANCEDSTATUSCODES", "DSN", "CHUNKING", "BINARYMIME", "MT-PRIORITY MIXER"]
        parameters = MAIL_PARAMETERS | {PRIORITY}
        if self._config.max_hold:
            until = rfc3339(self._world.clock.now() + self._config.max_hold)
            words.append(f"FUTURERELEASE {self._config.max_hold:.0f} {until}")
            parameters |= HOLD_PARAMETERS
        if self.tls is not None:
            words.append(REQUIRETLS)
            parameters |= {REQUIRETLS}
        self._parameters = parameters
        if self._starttls_offered():
            words.append("STARTTLS")
        if self.tls is not None and self._logins_offered():
            words.append("AUTH " + " ".join(MECHANISMS))
        return [*words, "HELP"]

    def _limits(self) -> HandlingLimits:
        config = self._config
        return HandlingLimits(
            config.max_hold,
            self._listener.max_priority,
            config.transactional_priority,
            config.bulk_priority,
        )

    def _starttls_offered(self) -> bool:
        return self._listener.tls == "starttls" and self.tls is None and self._world.tls() is not None

    def _logins_offered(self) -> bool:
        return self._listener.auth != "off" and self._world.accounts is not None

    async def smtp_STARTTLS(self, argument: str) -> None:
        if self.tls is not None:
            self._error(replies.TLS_ON)
            return
        if argument:
            self._error(replies.NO_ARGUMENT)
            return
        context = self._world.tls() if self._listener.tls == "starttls" else None
        if context is None:
            self._error(replies.TLS_UNAVAILABLE)
            return
        if self.has_unread:
            # Injected before the handshake, it would be obeyed after it (CVE-2011-0411).
            raise SessionOver("error", replies.TLS_PIPELINED)
        self.say(replies.TLS_READY)
        await self.flush()
        if self.has_unread:
            raise SessionOver("error")
        await self.start_tls(context)
        self._reset()
        self._helo, self._extended = "", False

    async def smtp_AUTH(self, argument: str) -> None:
        objection = self._objection_to_login()
        if objection is not None:
            self._error(objection)
            return
        words = argument.split(" ")
        exchange = MECHANISMS.get(words[0].upper())
        if not argument or len(words) > 2:
            self._error(replies.LOGIN_SYNTAX)
            return
        if exchange is None:
            self._error(replies.MECHANISM_UNKNOWN)
            return
        initial = words[1].encode() if len(words) == 2 else None
        try:
            credentials = await exchange(initial, self._ask)
        except (ExchangeFailed, BadLine) as failed:
            if failed.reply is replies.LOGIN_INVALID:
                await self._login_failed(words[0].upper(), "")
            else:
                self._error(failed.reply)
            return
        await self._check(words[0].upper(), credentials)

    def _objection_to_login(self) -> Reply | None:
        if not self._extended:
            return self.HELLO_FIRST
        if not self._logins_offered():
            return replies.NOT_OFFERED
        if self.tls is None:
            return replies.ENCRYPTION_REQUIRED
        if self._login is not None:
            return replies.LOGIN_TWICE
        return replies.LOGIN_IN_TRANSACTION if self._mail is not None else None

    async def _ask(self, challenge: str) -> bytes:
        self.say(Reply(334, (challenge,)))
        return await self.read_line()

    async def _check(self, method: str, credentials: Credentials) -> None:
        accounts = self._world.accounts
        assert accounts is not None
        self.deadline.clear()
        self._busy = True
        try:
            account = await accounts.verify(credentials.login, credentials.secret)
        except Exception as error:
            self._report(error)
            self._error(replies.LOGIN_UNAVAILABLE)
            return
        finally:
            self._busy = False
        if account is None:
            await self._login_failed(method, credentials.login)
            return
        self._login, self._method = account, method
        self._world.events.emit(LoggedIn(self._peer(), method, account))
        self.say(replies.LOGGED_IN)

    async def _login_failed(self, method: str, login: str) -> None:
        self._failed_logins += 1
        self.deadline.clear()
        self._world.events.emit(LoginFailed(self._peer(), method, login))
        await asyncio.sleep(min(self._failed_logins * self._world.login_delay, LOGIN_DELAY_LONGEST))
        self._error(replies.LOGIN_INVALID)
        if self._failed_logins >= self._config.max_auth_failures:
            raise SessionOver("limit", replies.TOO_MANY_LOGINS)

    def _account(self) -> str | None:
        """Whose mail it is: the login's, or the trusted network's where the listener lets it in."""
        if self._login is not None:
            return self._login
        return None if self._listener.auth == "required" else self._trusted

    def _denial(self) -> Reply | None:
        if self._account() is not None:
            return None
        if self._listener.auth == "off":
            return replies.RELAY_DENIED
        return replies.STARTTLS_FIRST if self._starttls_offered() else replies.LOGIN_FIRST
