"""Headers outside the rules, told or refused as the account's policy has it (`mail.lint`)."""

from __future__ import annotations

from collections.abc import Callable

from postroad.mail.account import AccountPolicies
from postroad.mail.events import Linted
from postroad.mail.lint import LintFacts, lint, refusal
from postroad.mail.message import Submission
from postroad.mail.reply import Reply
from postroad.ports.events import Events

REMEMBERED = 10_000


class Linter:
    """`active`: whether any account is looked at; while none is, nothing else is asked of it."""

    def __init__(
        self, events: Events, accounts: AccountPolicies, signs: Callable[[str], bool] | None
    ) -> None:
        """`signs`: whether a DKIM key can sign for a From domain; None where there are no keys."""
        self._events = events
        self.reload(accounts, signs)

    def reload(self, accounts: AccountPolicies, signs: Callable[[str], bool] | None) -> None:
        self._accounts = accounts
        self._signs = signs
        self._levels: dict[str, str] = {}
        self.active = any(policy.lint != "off" for policy in (accounts.defaults, *accounts.tables.values()))

    def judge(self, submission: Submission, id: str) -> Reply | None:
        """The reply that refuses the submission for its header, None: it may go on; what is wrong is told."""
        level = self._level(submission.account)
        if level == "off":
            return None
        found = lint(
            submission.content, LintFacts(submission.lane, submission.envelope.smtputf8, self._signs)
        )
        if not found:
            return None
        sender = submission.envelope.sender
        self._events.emit(
            Linted(
                id=id,
                peer=submission.peer,
                account=submission.account,
                sender=str(sender) if sender else "",
                findings=tuple(map(str, found)),
            )
        )
        return refusal(found) if level == "reject" else None

    def _level(self, account: str) -> str:
        level = self._levels.get(account)
        if level is None:
            if len(self._levels) >= REMEMBERED:
                self._levels.clear()
            level = self._levels[account] = self._accounts.of(account)[1].lint
        return level
