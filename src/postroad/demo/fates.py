"""What became of each letter for each recipient, told by the daemon's own log, in words."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from postroad.demo.letters import ENDS, End, Letter

Line = dict[str, Any]


class Stand(StrEnum):
    """Where a letter stands for one recipient."""

    SENDING = "sending"
    WAITING = "waiting"
    REFUSED = "refused"
    DELIVERED = "delivered"
    BOUNCED = "bounced"

    @property
    def is_final(self) -> bool:
        return self in (Stand.DELIVERED, Stand.BOUNCED)


@dataclass(slots=True)
class Fate:
    """One recipient of one letter. `waited_for` are the reasons of its deferrals in order."""

    letter: Letter
    recipient: str
    id: str = ""
    stand: Stand = Stand.SENDING
    attempts: int = 0
    words: str = "being submitted"
    waited_for: list[str] = field(default_factory=list)
    refusal: str = ""
    bounce: str = ""


def reply_of(line: Line) -> str:
    """The text of a line: what the receiver said, or what went wrong."""
    return str(line.get("reply") or line.get("text") or "no reply")


class Ledger:
    """All fates; fed with log lines, tells `on_change` which fate changed.

    The log may be ahead of the client: lines about an id that no letter has yet
    are kept until `accepted` names its letter.
    """

    def __init__(self, letters: tuple[Letter, ...], relays: dict[str, str]) -> None:
        """`relays`: where each recipient domain's mail goes, as "host:port"."""
        self._relays = relays
        self.fates = [Fate(letter, recipient) for letter in letters for recipient in letter.recipients]
        self.removed: set[str] = set()
        self.on_change: Callable[[Fate], None] = lambda fate: None
        self._sent_at: dict[str, float] = {}
        self._early: defaultdict[str, list[Line]] = defaultdict(list)
        self._bounces: dict[str, str] = {}

    @property
    def complete(self) -> bool:
        """Every fate is final and the daemon has let go of every message, bounces too."""
        ids = {fate.id for fate in self.fates} | set(self._bounces)
        return all(fate.stand.is_final for fate in self.fates) and ids <= self.removed

    @property
    def waiting(self) -> bool:
        """Everybody who is to be greylisted has been turned away once."""
        return all(fate.waited_for for fate in self.fates if ENDS[fate.recipient] is End.AFTER_GREYLISTING)

    def accepted(self, letter: Letter, id: str) -> None:
        """The daemon said 250 for a letter."""
        self._sent_at[id] = time.monotonic()
        for fate in self._of(letter):
            fate.id = id
            self._change(fate, Stand.SENDING, f"accepted as {id}")
        for line in self._early.pop(id, []):
            self.read(line)

    def read(self, line: Line) -> None:
        """Take one line of the daemon's log."""
        id = str(line.get("id", ""))
        event = line.get("event")
        if event == "removed":
            self.removed.add(id)
        elif event in ("hop-deferred", "site-paused"):
            self._put_off(str(line.get("hop") or line.get("site")), line)
        elif event in ("tried", "notified"):
            if id in self._bounces:
                self._bounce_tried(self._bounces[id], line)
            elif id in self._sent_at:
                self._concerns(id, event, line)
            else:
                self._early[id].append(line)

    def _of(self, letter: Letter) -> list[Fate]:
        return [fate for fate in self.fates if fate.letter is letter]

    def _concerns(self, id: str, event: str, line: Line) -> None:
        if event == "notified":
            self._notified(id, line)
            return
        for fate in self.fates:
            if fate.id == id and fate.recipient == line.get("to"):
                self._tried(fate, line)

    def _tried(self, fate: Fate, line: Line) -> None:
        fate.attempts = int(line.get("attempts") or fate.attempts + 1)
        status = line.get("status")
        reply = reply_of(line)
        if status == "sent":
            self._change(fate, Stand.DELIVERED, self._delivered(fate))
        elif status == "deferred":
            fate.waited_for.append(str(line.get("reason", "")))
            self._change(fate, Stand.WAITING, f"{why(line)}; next try {when(line.get('next'))}")
        else:
            fate.refusal = reply
            self._change(fate, Stand.REFUSED, f"refused: {reply}")

    def _put_off(self, where: str, line: Line) -> None:
        """A site that is known to be down: what waits for it is put off without an attempt each."""
        for fate in self.fates:
            relay = self._relays[fate.recipient.partition("@")[2]]
            if fate.id and fate.stand in (Stand.SENDING, Stand.WAITING) and where.endswith(relay):
                fate.waited_for.append("site")
                self._change(fate, Stand.WAITING, f"{reply_of(line)}; next try {when(line.get('until'))}")

    def _delivered(self, fate: Fate) -> str:
        seconds = time.monotonic() - self._sent_at[fate.id]
        tries = "1 attempt" if fate.attempts == 1 else f"{fate.attempts} attempts"
        after = ""
        if any("greylist" in reason for reason in fate.waited_for):
            after = " after greylisting"
        elif fate.waited_for:
            after = " once the site answered"
        return f"delivered{after}, {tries}, {seconds:.1f} s"

    def _notified(self, id: str, line: Line) -> None:
        bounce = str(line.get("dsn", ""))
        self._bounces[bounce] = id
        for fate in self.fates:
            if fate.id == id and fate.stand is Stand.REFUSED:
                fate.bounce = bounce
                self._change(fate, Stand.REFUSED, f"refused: {fate.refusal}; bounce {bounce} on its way")
        for early in self._early.pop(bounce, []):
            self.read(early)

    def _bounce_tried(self, id: str, line: Line) -> None:
        for fate in self.fates:
            if fate.id == id and fate.bounce == line.get("id") and line.get("status") == "sent":
                told = f"bounce {fate.bounce} delivered to {line.get('to')}"
                self._change(fate, Stand.BOUNCED, f"refused: {fate.refusal}; {told}")

    def _change(self, fate: Fate, stand: Stand, words: str) -> None:
        if (stand, words) == (fate.stand, fate.words):
            return
        fate.stand = stand
        fate.words = words
        self.on_change(fate)


def why(line: Line) -> str:
    """A deferral in words."""
    reason = str(line.get("reason", ""))
    if "greylist" in reason:
        return f"greylisted ({reply_of(line)})"
    return reply_of(line)


def when(instant: object) -> str:
    """The time of day of an RFC 3339 time; anything else as it is."""
    text = str(instant)
    return f"at {text[11:19]}" if len(text) >= 19 and text[10] in "T " else text
