"""`sendmail -v -v`: what becomes of the message, as the daemon tells it, until each recipient was tried."""

from __future__ import annotations

import sys


class Trace:
    """Prints the daemon's answers to one submission; `enough` after each recipient's first attempt."""

    def __init__(self, recipients: int) -> None:
        self._left = recipients

    @property
    def enough(self) -> bool:
        return self._left <= 0

    def tell(self, said: dict[str, object]) -> None:
        event = said.get("event")
        if event is None:
            _print(f"queued as {said.get('id')}")
        elif event in ("delivered", "deferred", "failed"):
            self._left -= 1
            host = f" by {said['host']}" if said.get("host") else ""
            tls = f" over {said['tls']}" if said.get("tls") else ""
            following = f", next attempt {said['next']}" if said.get("next") else ""
            line = f"{said.get('recipient')}... {event}{host}{tls}{following}: {said.get('text')}"
            _print(line)
        elif event == "settled":
            self._left = 0


def _print(line: str) -> None:
    """To who may have closed his side: the message is accepted all the same."""
    shown = "".join(c if c.isprintable() else "?" for c in line)
    try:
        print(shown, flush=True)
    except OSError:
        # What print keeps would be tried again with each flush.
        sys.stdout = None
