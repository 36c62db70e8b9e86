"""Configurations as text: loaded, or their problems."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroad.config import Config, ConfigError, Problem, load

HOST = 'hostname = "mail.example.com"\n'


def config(directory: Path, text: str) -> Config:
    file = directory / "postroad.toml"
    file.write_text(text)
    return load(file)


def problems(directory: Path, text: str) -> list[str]:
    """Every problem of a text as `line: key: problem`."""
    with pytest.raises(ConfigError) as caught:
        config(directory, text)
    prefix = f"{directory / 'postroad.toml'}:"
    told = str(caught.value).split("\n")
    assert all(line.startswith(prefix) for line in told)
    return [line.removeprefix(prefix) for line in told]


def told(file: Path) -> list[Problem]:
    """The problems of any file, none where it loads."""
    try:
        load(file)
    except ConfigError as error:
        return error.problems
    return []
