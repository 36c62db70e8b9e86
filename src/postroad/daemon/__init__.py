"""The daemon: what it begins with, how it runs and stops, and how it takes a new configuration."""
