"""The README is true: its commands parse, its files exist, its configuration loads, CI runs what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from postroad import __version__
from postroad.adapters.journal_fields import name_of
from postroad.cli.arguments import parser
from postroad.config import load
from postroad.demo.house import dkim_key, self_signed
from postroad.mail import events

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """The code blocks of the README in one language."""
    return [text for found, text in BLOCK.findall(README) if found == language]


SHELL = [line for block in blocks("sh") for line in block.splitlines()]
COMMANDS = [line for line in SHELL if line.startswith("postroad ")]
PATHS = sorted(set(re.findall(r"`((?:src|conf|systemd|tests|\.ci)/[\w./-]+)", README)))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_is_one_the_program_has(command: str) -> None:
    assert parser().parse_args(shlex.split(command)[1:]).verb


def test_every_verb_of_the_queue_is_in_the_readme() -> None:
    shown = {shlex.split(command)[2] for command in COMMANDS if command.startswith("postroad queue")}
    assert shown == {"list", "show", "cat", "retry", "hold", "release", "delete", "bounce", "shape"}


@pytest.mark.parametrize("path", PATHS)
def test_a_file_named_by_the_readme_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_configuration_of_the_readme_is_right(tmp_path: Path) -> None:
    text = "\n".join(blocks("toml"))
    self_signed(tmp_path)
    (tmp_path / "dkim").mkdir()
    dkim_key(tmp_path / "dkim" / "example.com.s1.pem")
    (tmp_path / "accounts").touch()
    path = tmp_path / "postroad.toml"
    path.write_text(text)
    config = load(path)
    assert config.hostname == "mail.example.com"
    assert [key.domain for key in config.dkim] == ["example.com"]


def test_the_events_of_the_readme_are_those_of_the_log() -> None:
    known = {name_of(kind) for kind in vars(events).values() if isinstance(kind, type)}
    named = set(re.findall(r"^\| `([\w-]+)` \| ", README, re.MULTILINE))
    assert named
    assert named <= known


def test_the_test_command_of_the_readme_is_the_one_that_ci_runs() -> None:
    assert "bash tests/run" in SHELL
    assert "bash tests/run" in (ROOT / ".ci" / "run").read_text()


def test_the_demo_command_of_the_readme_is_one_line_that_a_shell_understands() -> None:
    (command,) = [line for line in SHELL if line.endswith("postroad demo")]
    assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0


def test_the_changelog_begins_with_this_version() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__
