"""The configuration: a TOML file in, one frozen Config out, or all its problems at once."""

from postroad.config.load import accounts_file, load, load_sound
from postroad.config.model import Config
from postroad.config.problems import ConfigError, Problem

__all__ = ["Config", "ConfigError", "Problem", "accounts_file", "load", "load_sound"]
