"""The SASL exchanges of AUTH, as conversations that end in an account (RFC 4954 4).

PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and -PLUS (RFC 7677, RFC 5802), OAUTHBEARER (RFC 7628), XOAUTH2,
EXTERNAL (RFC 4422 A), and any mechanism of a Dovecot behind us.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from functools import partial
from typing import Final, Protocol, TypeVar

from postroad.adapters import smtpd_replies as replies
from postroad.mail import sasl, scram
from postroad.mail.dovecot_auth import Continue, Failed, Passed
from postroad.mail.frozen import dataclass
from postroad.mail.login_limits import LoginLimits
from postroad.mail.reply import Reply
from postroad.ports.logins import Accounts, SaslServer, Tokens

_T = TypeVar("_T")

NONCE_SIZE: Final = 18
RELAYED_STEPS: Final = 8
"""Messages of one exchange with a Dovecot behind us; no mechanism has so many."""


class ExchangeFailed(Exception):
    """No account came out, and nothing was tried; `reply` is the answer to give."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class LoginWrong(Exception):
    """The client could not prove who it is; `login`: the name it tried, "" where it said none."""

    def __init__(self, login: str = "") -> None:
        super().__init__(login)
        self.login = login


class LoginRefused(LoginWrong):
    """Too many were wrong before; this one was not looked at."""


@dataclass(frozen=True, slots=True)
class Logins:
    """All ways to prove who one is that this server has."""

    accounts: Accounts | None = None
    tokens: Tokens | None = None
    server: SaslServer | None = None
    certificates: Callable[[bytes, Mapping[str, object]], str | None] | None = None
    """The account of a verified client certificate, given as DER and as `getpeercert` has it."""
    limits: LoginLimits = field(default_factory=LoginLimits)
    named: Callable[[str], bool] = lambda account: False
    """Whether an account is known by other means than a password: a certificate's, or one with a policy."""

    def __bool__(self) -> bool:
        return bool(self.accounts or self.tokens or self.server or self.certificates)

    def knows(self, account: str) -> bool:
        """Whether there is such an account; an issuer of tokens, or a Dovecot, is not asked: it may."""
        if self.tokens is not None or self.server is not None or self.named(account):
            return True
        return self.accounts is not None and account in self.accounts


@dataclass(frozen=True, slots=True)
class Channel:
    """What TLS knows: channel bindings by name (RFC 5929, 9266), the account of the client's certificate."""

    bindings: Mapping[str, bytes] = field(default_factory=dict)
    certified: str | None = None


class AtWork(Protocol):
    def __call__(self, work: Awaitable[_T]) -> Awaitable[_T]: ...


@dataclass(slots=True)
class Talk:
    """One exchange. `initial`: as it came with the command, None where nothing did.

    `ask` sends a 334 with this text and answers the client's line. `knows` is told the
    name before it is checked, and raises where it may not be. `at_work` waits for what
    is not the client.
    """

    initial: bytes | None
    ask: Callable[[str], Awaitable[bytes]]
    knows: Callable[[str], None]
    at_work: AtWork
    channel: Channel
    address: str
    port: int

    async def line(self, challenge: str = "") -> bytes:
        """The client's first response if it came, else its answer to the challenge: base64 that decodes."""
        initial, self.initial = self.initial, None
        if initial is None:
            answer = await self.ask(challenge)
        else:
            # RFC 4954 4: an empty initial response is written "=".
            answer = b"" if initial == b"=" else initial
        if answer == b"*":
            raise ExchangeFailed(replies.LOGIN_CANCELLED)
        try:
            sasl.decode_line(answer)
        except sasl.NotBase64:
            raise ExchangeFailed(replies.LOGIN_NOT_DECODED) from None
        return answer

    async def hear(self, challenge: bytes = b"") -> bytes:
        """`line`, decoded."""
        return sasl.decode_line(await self.line(sasl.encode_line(challenge)))


Mechanism = Callable[[Talk], Awaitable[str]]
"""Answers the account. Raises LoginWrong, ExchangeFailed, SaslError (a wrong login without a name)."""


def mechanisms(logins: Logins, channel: Channel) -> dict[str, Mechanism]:
    """What can be offered on this channel, by name."""
    found: dict[str, Mechanism] = {}
    accounts, tokens, server = logins.accounts, logins.tokens, logins.server
    if server is not None:
        found.update((name, partial(_relayed, server, name)) for name in server.mechanisms)
    if accounts is not None:
        found |= {"PLAIN": partial(_plain, accounts), "LOGIN": partial(_login, accounts)}
        if accounts.offers_scram:
            plus = bool(channel.bindings)
            found["SCRAM-SHA-256"] = partial(_scram, accounts, plus, None)
            if plus:
                found["SCRAM-SHA-256-PLUS"] = partial(_scram, accounts, plus, channel.bindings)
    if tokens is not None:
        found["OAUTHBEARER"] = partial(_bearer, tokens, "OAUTHBEARER", sasl.parse_oauthbearer)
        found["XOAUTH2"] = partial(_bearer, tokens, "XOAUTH2", sasl.parse_xoauth2)
    if channel.certified is not None:
        found["EXTERNAL"] = partial(_external, channel.certified)
    return found


async def _plain(accounts: Accounts, talk: Talk) -> str:
    """Acting for somebody else is not offered."""
    said = sasl.parse_plain(await talk.hear())
    talk.knows(said.login)
    if said.authzid not in ("", said.login):
        raise LoginWrong(said.login)
    return await _checked(accounts, talk, said.login, said.secret)


async def _login(accounts: Accounts, talk: Talk) -> str:
    """Name, then password, each after its prompt; the name may come with the command."""
    raw = await talk.hear(b"Username:")
    secret = await talk.hear(b"Password:")
    login = sasl.login_name(raw)
    talk.knows(login)
    return await _checked(accounts, talk, login, secret)


async def _checked(accounts: Accounts, talk: Talk, login: str, secret: bytes) -> str:
    account = await talk.at_work(accounts.verify(login, secret))
    if account is None:
        raise LoginWrong(login)
    return account


async def _scram(
    accounts: Accounts, plus_offered: bool, bindings: Mapping[str, bytes] | None, talk: Talk
) -> str:
    """`bindings`: of this channel, with -PLUS; None without."""
    first = scram.parse_first(await talk.hear())
    talk.knows(first.login)
    binding = _binding(first, plus_offered, bindings)
    known = accounts.scram(first.login)
    said = scram.server_first(first, secrets.token_urlsafe(NONCE_SIZE).encode(), known)
    try:
        final = scram.parse_final(await talk.hear(said))
    except sasl.SaslError:
        raise LoginWrong(first.login) from None
    proof = scram.server_final(first, said, final, known, binding)
    if proof is None:
        raise LoginWrong(first.login)
    if await talk.hear(proof):
        raise LoginWrong(first.login)
    return first.login


def _binding(first: scram.ClientFirst, plus_offered: bool, bindings: Mapping[str, bytes] | None) -> bytes:
    """The channel's data, empty where none is bound. A client that was led to believe we bind none is stopped
    (RFC 5802 6)."""
    gs2 = first.gs2
    acts_for_another = gs2.authzid not in ("", first.login)
    if bindings is None:
        refused = gs2.flag == "p" or (gs2.flag == "y" and plus_offered)
    else:
        refused = gs2.flag != "p" or gs2.binding not in bindings
    if refused or acts_for_another:
        raise LoginWrong(first.login)
    return b"" if bindings is None else bindings[gs2.binding]


async def _bearer(tokens: Tokens, name: str, parse: Callable[[bytes], sasl.Bearer], talk: Talk) -> str:
    said = parse(await talk.hear())
    talk.knows(said.login)
    account = await talk.at_work(tokens.check(said.token))
    if account is not None and said.login in ("", account):
        return account
    # The client has to answer what it is told before it learns that it failed (RFC 7628 3.2.3).
    await talk.hear(sasl.oauth_failure(name, tokens.scope, tokens.configuration))
    raise LoginWrong(said.login)


async def _external(account: str, talk: Talk) -> str:
    authzid = await talk.hear()
    talk.knows(account)
    if authzid and sasl.login_name(authzid) != account:
        raise LoginWrong(account)
    return account


async def _relayed(server: SaslServer, name: str, talk: Talk) -> str:
    response = (await talk.line()).decode() if talk.initial is not None else None
    claimed: str | None = None
    async with server.exchange(name, talk.address, talk.port) as step:
        for _ in range(RELAYED_STEPS):
            if claimed is None and response is not None:
                claimed = _claimed(name, sasl.decode_line(response.encode()))
                talk.knows(claimed)
            answer = await talk.at_work(step(response))
            if not isinstance(answer, Continue):
                break
            response = (await talk.line(answer.challenge)).decode()
    if isinstance(answer, Passed):
        return answer.account
    if isinstance(answer, Failed) and answer.temporary:
        raise ExchangeFailed(replies.LOGIN_UNAVAILABLE)
    raise LoginWrong(claimed or "")


_CLAIMS: Final[Mapping[str, Callable[[bytes], str]]] = {
    "PLAIN": lambda said: sasl.parse_plain(said).login,
    "LOGIN": sasl.login_name,
    "SCRAM-SHA-1": lambda said: scram.parse_first(said).login,
    "SCRAM-SHA-256": lambda said: scram.parse_first(said).login,
    "OAUTHBEARER": lambda said: sasl.parse_oauthbearer(said).login,
    "XOAUTH2": lambda said: sasl.parse_xoauth2(said).login,
}


def _claimed(name: str, said: bytes) -> str:
    """Whose login a first response is, "" where that cannot be seen."""
    try:
        return _CLAIMS[name](said)
    except (KeyError, sasl.SaslError):
        return ""
