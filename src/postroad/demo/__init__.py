"""A demonstration that is a test: the real daemon, a small receiving world, the fate of each message."""
