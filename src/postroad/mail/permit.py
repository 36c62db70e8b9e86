"""What one account may do, read once from its policy: the answers to MAIL, RCPT and a whole submission."""

from __future__ import annotations

from postroad.mail.account import AccountPolicy
from postroad.mail.address import Address, AddressError, parse_address
from postroad.mail.headers import fields
from postroad.mail.mailboxes import LONGEST, scan
from postroad.mail.message import Submission
from postroad.mail.quota import has_quota
from postroad.mail.reply import Reply
from postroad.mail.senders import Senders

SHOWN = 5


class Permit:
    """An account and its policy.

    `free`: nothing but the lane and the keys is the account's own; `counted`: it has
    quotas; `limited`: a quota or a rate.
    """

    __slots__ = ("_authors", "_senders", "account", "counted", "free", "limited", "policy")

    def __init__(self, account: str, policy: AccountPolicy) -> None:
        self.account = account
        self.policy = policy
        self.counted = has_quota(policy)
        self.limited = self.counted or policy.max_rate is not None
        self._senders = Senders(policy.allowed_senders, account)
        self._authors = self._senders
        if policy.allowed_from is not None:
            self._authors = Senders(policy.allowed_from, account)
        self.free = (
            policy.enabled
            and self._senders.anyone
            and self._authors.anyone
            and policy.max_message_size is None
            and policy.max_recipients is None
            and not self.limited
        )

    def sender(self, sender: Address | None, size: int | None) -> Reply | None:
        """The answer to MAIL: None, or why not. `size` is what the client announced, in octets.

        The null sender is always allowed: it is that of notifications (RFC 5321 4.5.5),
        and whom those come from is said by From.
        """
        if not self.policy.enabled:
            return Reply(550, (f"enabled: account {self.account} is disabled",), "5.7.13")
        if sender is not None and not self._senders.allow(sender):
            return self._not_as("allowed_senders", "send as", self.policy.allowed_senders)
        return None if size is None else self._size(size)

    def submission(self, submission: Submission, origin: str) -> Reply | None:
        """The answer to a whole submission. `origin` completes addresses without a domain."""
        envelope, content = submission.envelope, submission.content
        refusal = self.sender(envelope.sender, content.size)
        if refusal is not None:
            return refusal
        most = self.policy.max_recipients
        if most is not None and len(envelope.recipients) > most:
            return Reply(550, (f"max_recipients: {most} a message for account {self.account}",), "5.5.3")
        if not self._authors.anyone and not self._all_allowed(content.head, origin):
            own = self.policy.allowed_from
            allowed = self.policy.allowed_senders if own is None else own
            return self._not_as("allowed_from", "write in From", allowed)
        return None

    def _size(self, size: int) -> Reply | None:
        most = self.policy.max_message_size
        if most is None or size <= most:
            return None
        return Reply(552, (f"max_message_size: {most} octets for account {self.account}",), "5.3.4")

    def _all_allowed(self, head: bytes, origin: str) -> bool:
        """Every address of every From field, as readers may take any of them for the author.

        A head without the field gets one from the envelope, which was looked at before; one with more of
        them than anybody looks at has too many.
        """
        values = [field.raw.partition(b":")[2] for field in fields(head) if field.name == b"from"]
        if sum(map(len, values)) > LONGEST:
            return False
        return all(self._author_allowed(value, origin) for value in values)

    def _author_allowed(self, value: bytes, origin: str) -> bool:
        try:
            written = [
                parse_address(each.spec.decode(), smtputf8=True, default_domain=origin)
                for each in scan(value)
            ]
        except (AddressError, UnicodeDecodeError):
            return False
        return bool(written) and all(map(self._authors.allow, written))

    def _not_as(self, key: str, what: str, allowed: tuple[str, ...]) -> Reply:
        shown = ", ".join(allowed[:SHOWN])
        if len(allowed) > SHOWN:
            shown += f" and {len(allowed) - SHOWN} more"
        may = f"may {what} {shown}" if allowed else "may send notifications alone"
        return Reply(550, (f"{key}: account {self.account} {may}",), "5.7.1")
