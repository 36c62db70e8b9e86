"""LMTP (RFC 2033): LHLO in place of EHLO, and after the message one reply for each recipient.

A message is accepted or refused as one, so these replies are alike; a client that
wants to know what became of each recipient asks for notifications, as with SMTP.
"""

from __future__ import annotations

from collections.abc import Mapping

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_bdat import ChunkSession
from postroad.adapters.smtpd_commands import Verb
from postroad.mail.reply import Reply


class LmtpSession(ChunkSession):
    """A session of a listener with protocol = "lmtp"."""

    HELLO_FIRST = replies.HELLO_FIRST_LMTP
    NO_RECIPIENTS = replies.NO_RECIPIENTS_LMTP
    HELLO_VERBS = ("LHLO",)
    EXTENDED = "LMTP"

    def smtp_LHLO(self, argument: str) -> None:
        self.smtp_EHLO(argument)

    def _answer(self, reply: Reply) -> None:
        for _ in self._recipients[1:]:
            self.say(reply)
        super()._answer(reply)


def _lmtp(verbs: Mapping[str, Verb]) -> dict[str, Verb]:
    return {verb: method for verb, method in verbs.items() if verb not in ("HELO", "EHLO")} | {
        "LHLO": LmtpSession.smtp_LHLO
    }


LmtpSession.VERBS = _lmtp(ChunkSession.VERBS)
LmtpSession.AMID_CHUNKS = _lmtp(ChunkSession.AMID_CHUNKS)
