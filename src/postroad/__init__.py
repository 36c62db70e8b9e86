"""Postroad: an outbound mail transfer agent as one asyncio process."""

__version__ = "0.1.0"
