"""A site's window, pauses and pace: a state, and what a fact makes of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one site may be asked to bear, with the defaults of `delivery.md` section 0.

    Times are seconds. `messages_per_connection` and `connection_lifetime` end
    the reuse of a connection, `idle_timeout` closes one that has nothing to do.
    """

    connections: int = 10
    initial_window: int = 2
    messages_per_connection: int = 100
    connection_lifetime: float = 300.0
    idle_timeout: float = 5.0
    recipients_per_transaction: int = 100
    pause_first: float = 60.0
    pause_longest: float = 1800.0
