"""XCLIENT (Postfix, XCLIENT_README): a named host says for whom it speaks.

Where a listener names no such hosts, or not this one, the verb is not offered and
answered as one that is not. Who may use it is decided by where the connection comes
from, not by what an earlier XCLIENT said.
"""

from __future__ import annotations

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_context import among
from postroad.adapters.smtpd_entry import EntrySession
from postroad.adapters.smtpd_stream import SessionOver
from postroad.mail.reply import Reply
from postroad.mail.xclient import ATTRIBUTES, Claim, XclientError, parse

METHOD = "XCLIENT"
"""The login method of an account that a named host vouches for."""


class RelayedSession(EntrySession):
    """Adds the verb; what was claimed is address, trust, limits, login and log from then on."""

    _named_host: bool | None = None

    def _extensions(self) -> list[str]:
        words = super()._extensions()
        if self._listener.xclient and self._may_claim():
            words.insert(-1, f"XCLIENT {ATTRIBUTES}")
        return words

    def _verbs_honoured(self) -> list[str]:
        verbs = super()._verbs_honoured()
        if self._listener.xclient and self._may_claim():
            verbs.append("XCLIENT")
        return verbs

    def _may_claim(self) -> bool:
        if self._named_host is None:
            self._named_host = among(self._address, self._listener.xclient)
        return self._named_host

    def smtp_XCLIENT(self, argument: str) -> None:
        if not self._may_claim():
            self._error(replies.NOT_OFFERED)
        elif self._mail is not None:
            self._error(replies.XCLIENT_IN_TRANSACTION)
        else:
            try:
                claim = parse(argument)
            except XclientError as error:
                self._error(replies.bad_xclient(str(error)))
            else:
                objection = self._objection_to_account(claim.login) if claim.login else None
                if objection is None:
                    self._begin_again(claim)
                else:
                    self._refused("auth", objection)
                    self._error(objection)

    def _objection_to_account(self, account: str) -> Reply | None:
        """A name that no login could have, or that may not send, is no account."""
        if not self._world.logins.knows(account):
            return replies.NO_ACCOUNT
        if not self._world.rights.permit(account).policy.enabled:
            return replies.ACCOUNT_DISABLED
        return None

    def _begin_again(self, claim: Claim) -> None:
        """The session of the client that was named, from its greeting on; TLS stays as it is."""
        self._reset()
        self._extended = False
        self._helo = claim.helo or ""
        if claim.name is not None or claim.address is not None:
            self._name = claim.name or ""
        if claim.protocol is not None:
            self._unextended = claim.protocol
        if claim.login is not None:
            self._login = claim.login or None
        elif self._method != METHOD:
            self._login = None
        self._method = METHOD if self._login is not None else None
        self._move(
            self._address if claim.address is None else claim.address,
            self._port if claim.port is None else claim.port,
        )
        if self._login is not None:
            self._claim(self._login)
        self._greet()

    def _move(self, address: str, port: int) -> None:
        self._registry.gone(self)
        refusal = self.admit(address, port)
        if refusal is not None:
            raise SessionOver("limit", refusal)
