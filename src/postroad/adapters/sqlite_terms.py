"""What is written with a message that is accepted on terms: its charge, its key; and sweeping both.

Sweeping needs no clockwork: who adds a key takes some of those away that have expired, and so
with charges of past days. Each burst takes more than it adds, so neither table outgrows its use.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from postroad.adapters.sqlite_files import load_queries
from postroad.mail.idempotency import Kept
from postroad.mail.queue_id import parse_id
from postroad.mail.quota import DAY, Charge
from postroad.ports.queue import Terms

# Rows that one burst takes away beside those it adds.
SWEPT_BESIDE = 64
# Charges of the last hours are kept a little longer than the day: the clock may be set back.
KEPT_HOURS = 2 * DAY


class TermsWriter:
    """Runs in the writer's thread, inside its transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._many = connection.executemany
        self._sql = load_queries()

    def write(self, accepted: Sequence[tuple[str, Terms]]) -> None:
        """The terms of a burst, each with the id of its message."""
        self._charge([terms.charge for _, terms in accepted if terms.charge is not None])
        self._keep([(id, terms.kept) for id, terms in accepted if terms.kept is not None])

    def _charge(self, charges: Sequence[Charge]) -> None:
        if not charges:
            return
        together: dict[tuple[int, str], tuple[int, int]] = {}
        for charge in charges:
            place = charge.hour, charge.account
            messages, recipients = together.get(place, (0, 0))
            together[place] = messages + charge.messages, recipients + charge.recipients
        self._many(self._sql["charge"], [(*place, *sums) for place, sums in together.items()])
        oldest = max(charge.hour for charge in charges) - KEPT_HOURS
        self._execute(self._sql["sweep_charges"], (oldest, len(together) + SWEPT_BESIDE))

    def _keep(self, kept: Sequence[tuple[str, Kept]]) -> None:
        if not kept:
            return
        self._many(self._sql["expire_key"], [(k.key.account, k.key.name, k.now) for _, k in kept])
        self._many(
            self._sql["keep_key"],
            [(k.key.account, k.key.name, parse_id(id), k.key.digest, k.expires_at) for id, k in kept],
        )
        now = min(k.now for _, k in kept)
        self._execute(self._sql["sweep_keys"], (now, len(kept) + SWEPT_BESIDE))
