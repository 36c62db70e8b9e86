"""Who the client is, and what it may do: EHLO, STARTTLS (RFC 3207), AUTH (RFC 4954)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import ClassVar, Final, TypeVar

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_auth import (
    Channel,
    ExchangeFailed,
    LoginRefused,
    LoginWrong,
    Mechanism,
    Talk,
    mechanisms,
)
from postroad.adapters.smtpd_commands import CommandSession
from postroad.adapters.smtpd_stream import BadLine, SessionOver
from postroad.adapters.smtpd_tls import channel
from postroad.mail.esmtp import MAIL_PARAMETERS
from postroad.mail.events import LoggedIn, LoginFailed, LoginUnavailable
from postroad.mail.handling import HOLD_PARAMETERS, PRIORITY, REQUIRETLS, HandlingLimits
from postroad.mail.reply import Reply
from postroad.mail.sasl import SaslError
from postroad.mail.timestamps import rfc3339
from postroad.mail.verbs import is_hello_name
from postroad.ports.logins import LoginsUnavailable

_T = TypeVar("_T")

LOGIN_DELAY_LONGEST: Final = 5.0
RELAY_PORT: Final = 25


class EntrySession(CommandSession):
    """The verbs that come before mail; `_account` and `_denial` say what they led to."""

    _failed_logins = 0
    # What MAIL may carry: the parameters of what EHLO offered last.
    _parameters = MAIL_PARAMETERS
    _channel: Channel | None = None
    HELLO_VERBS: ClassVar[tuple[str, ...]] = ("EHLO", "HELO")

    def smtp_HELO(self, argument: str) -> None:
        if self._hello(argument, extended=False):
            self._idle_command(Reply(250, (self.hostname,)))

    def smtp_EHLO(self, argument: str) -> None:
        if self._hello(argument, extended=True):
            self._idle_command(Reply(250, (self.hostname, *self._extensions())))

    def _hello(self, argument: str, *, extended: bool) -> bool:
        if not is_hello_name(argument):
            self._error(replies.HELLO_SYNTAX)
            return False
        self._reset()
        self._helo, self._extended = argument, extended
        return True

    def _extensions(self) -> list[str]:
        words = [f"SIZE {self._config.max_message_size}", "8BITMIME", "SMTPUTF8", "PIPELINING"]
        words += ["ENHANCEDSTATUSCODES", "DSN", "CHUNKING", "BINARYMIME", "MT-PRIORITY MIXER"]
        parameters = MAIL_PARAMETERS | {PRIORITY}
        if self._config.max_hold and self._is_for_submission():
            until = rfc3339(self._world.clock.now() + self._config.max_hold)
            words.append(f"FUTURERELEASE {self._config.max_hold:.0f} {until}")
            parameters |= HOLD_PARAMETERS
        if self.tls is not None:
            words.append(REQUIRETLS)
            parameters |= {REQUIRETLS}
        self._parameters = parameters
        if self._starttls_offered():
            words.append("STARTTLS")
        if offered := self._mechanisms_offered():
            words.append("AUTH " + " ".join(offered))
        return [*words, self._told_limits(), "HELP"]

    def _is_for_submission(self) -> bool:
        """RFC 4865 4.2 forbids to offer its extension at the port where hosts relay to each other."""
        here = self.transport and self.transport.get_extra_info("sockname")
        return not (isinstance(here, tuple) and here[1] == RELAY_PORT)

    def _told_limits(self) -> str:
        """RFC 9422, as far as it is known now whose mail it will be."""
        recipients, account = self._config.max_recipients, self._account()
        own = self._world.rights.permit(account).policy.max_recipients if account is not None else None
        if own is not None:
            recipients = min(recipients, own)
        return f"LIMITS RCPTMAX={recipients} MAILMAX={self._config.max_transactions}"

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
        return self._listener.auth != "off" and bool(self._world.logins)

    def _mechanisms_offered(self) -> Mapping[str, Mechanism]:
        if self.tls is None or self._login is not None or not self._logins_offered():
            return {}
        return self._mechanisms()

    def smtp_HELP(self, argument: str) -> None:
        self._idle_command(replies.help_with(self._verbs_honoured()))

    def _verbs_honoured(self) -> list[str]:
        """What this listener does for this client now."""
        verbs = list(self.HELLO_VERBS)
        if self._starttls_offered():
            verbs.append("STARTTLS")
        if self._mechanisms_offered():
            verbs.append("AUTH")
        return [*verbs, "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "HELP", "QUIT"]

    def _mechanisms(self) -> Mapping[str, Mechanism]:
        logins = self._world.logins
        if self._channel is None:
            self._channel = channel(self.transport, logins)
        return mechanisms(logins, self._channel)

    async def smtp_STARTTLS(self, argument: str) -> None:
        if self.tls is not None:
            self._error(replies.TLS_ON)
            return
        if self._listener.tls != "starttls":
            self._error(replies.NOT_OFFERED)
            return
        if argument:
            self._error(replies.NO_ARGUMENT)
            return
        context = self._world.tls()
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
        self._channel = None
        self._helo, self._extended = "", False

    async def smtp_AUTH(self, argument: str) -> None:
        objection = self._objection_to_login()
        if objection is not None:
            self._error(objection)
            return
        words = argument.split(" ")
        if not argument or len(words) > 2:
            self._error(replies.LOGIN_SYNTAX)
            return
        method = words[0].upper()
        mechanism = self._mechanisms().get(method)
        if mechanism is None:
            self._error(replies.MECHANISM_UNKNOWN)
            return
        initial = words[1].encode() if len(words) == 2 else None
        channel = self._channel or Channel()
        talk = Talk(initial, self._ask, self._knows, self._at_work, channel, self._address, self._port)
        await self._converse(method, mechanism(talk))

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

    async def _converse(self, method: str, exchange: Awaitable[str]) -> None:
        try:
            account = await exchange
        except ExchangeFailed as failed:
            self._error(failed.reply)
        except BadLine as bad:
            # RFC 4954 6 has a code of its own for a line that is too long here.
            long = bad.reply is replies.LINE_TOO_LONG
            self._error(replies.EXCHANGE_TOO_LONG if long else bad.reply)
        except LoginWrong as wrong:
            await self._login_failed(method, wrong)
        except SaslError:
            await self._login_failed(method, LoginWrong())
        except LoginsUnavailable as unavailable:
            self._world.events.emit(LoginUnavailable(self._peer(), method, str(unavailable)))
            self._error(replies.LOGIN_UNAVAILABLE)
        except SessionOver:
            raise
        except Exception as error:
            self._report(error)
            self._error(replies.LOGIN_UNAVAILABLE)
        else:
            self._world.guard.succeeded(self._address, account, self.loop.time())
            self._claim(account)
            self._login, self._method = account, method
            self._world.events.emit(LoggedIn(self._peer(), method, account))
            self.say(replies.LOGGED_IN)

    def _claim(self, account: str) -> None:
        """One of the connections that the account may have."""
        most = self._world.rights.permit(account).policy.max_connections
        if not self._registry.claim(self, account, most):
            self._refused("auth", replies.TOO_MANY_OF_ACCOUNT)
            raise SessionOver("limit", replies.TOO_MANY_OF_ACCOUNT)

    async def _ask(self, challenge: str) -> bytes:
        self.say(Reply(334, (challenge,)))
        self.deadline.set(self._config.idle_timeout)
        return await self.read_line()

    def _knows(self, login: str) -> None:
        if self._world.guard.refuses(self._address, login, self.loop.time()):
            raise LoginRefused(login)

    async def _at_work(self, work: Awaitable[_T]) -> _T:
        """What is no fault of the client's does not count against its time, and is not broken off."""
        self.deadline.clear()
        self._busy = True
        try:
            return await work
        finally:
            self._busy = False

    async def _login_failed(self, method: str, wrong: LoginWrong) -> None:
        """Every failure looks the same, and the more there were, the longer it takes to say so."""
        self._failed_logins += 1
        self.deadline.clear()
        refused = isinstance(wrong, LoginRefused)
        count = self._failed_logins
        if not refused:
            count = max(count, self._world.guard.failed(self._address, wrong.login, self.loop.time()))
        reason = "refused" if refused else "wrong"
        self._world.events.emit(LoginFailed(self._peer(), method, wrong.login, reason))
        await asyncio.sleep(min(count * self._world.login_delay, LOGIN_DELAY_LONGEST))
        self._error(replies.TOO_MANY_GUESSES if refused else replies.LOGIN_INVALID)
        if self._failed_logins >= self._config.max_auth_failures:
            raise SessionOver("limit", replies.TOO_MANY_LOGINS)

    def _account(self) -> str | None:
        """Whose mail it is: the login's, or the trusted network's where the listener lets it in."""
        if self._login is not None:
            return self._login
        return None if self._listener.auth == "required" else self._trusted

    def _login_wanted(self) -> Reply | None:
        """What every command of a transaction is told before the login (RFC 3207 4, RFC 4954 6)."""
        return self._denial() if self._helo and self._listener.auth != "off" else None

    def _denial(self) -> Reply | None:
        if self._account() is not None:
            return None
        if self._listener.auth == "off":
            return replies.RELAY_DENIED
        return replies.STARTTLS_FIRST if self._starttls_offered() else replies.LOGIN_FIRST
