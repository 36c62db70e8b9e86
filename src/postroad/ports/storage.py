"""How storage fails: what the spool and the index of the queue raise."""

from __future__ import annotations


class StorageFull(Exception):
    """No room to make a message durable; the submission is told 452 4.3.1. Nothing was kept."""


class StorageBroken(Exception):
    """A write or sync failed and what is on disk is unknown: the process must end, saying why."""
