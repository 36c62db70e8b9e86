"""Who is asked about the content of a submission."""

from __future__ import annotations

from typing import Protocol

from postroad.mail.policy import Verdict, View


class Policy(Protocol):
    async def consider(self, view: View) -> Verdict | None:
        """What is to become of a submission; None: it passes as it is.

        May raise anything and take any time: the caller has a limit and an answer for both.
        """
        ...
