"""What works today and should not stay so: told by `config check`, and in the log at start."""

from __future__ import annotations

from postroad.config.model import Config
from postroad.mail.descriptors import Share, share, wanting


def descriptors(config: Config, limit: int) -> Share:
    """Whose of `limit` descriptors the doors may use."""
    return share(
        limit,
        sessions=config.submission.max_connections,
        deliveries=config.delivery.max_connections,
        lookups=config.dns.max_in_flight,
    )


def advice(config: Config, limit: int) -> list[str]:
    """Each with the key it is about; `limit`: descriptors of the process."""
    shared = descriptors(config, limit)
    return [] if shared.enough else [f"submission.max_connections: {wanting(shared)}"]
