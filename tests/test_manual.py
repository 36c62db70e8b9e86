"""The manual says what the program takes, and man and mandoc have nothing to say about it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from postroad.cli import sendmail_options
from postroad.cli.main import main
from postroad.cli.manual import PAGES, escape, render
from postroad.cli.spool_check import KINDS, Kind
from postroad.cli.tree import Command, tree
from postroad.config.keys import keys
from tests.support.requires import require

COMMANDS = list(tree().walk())


def words(page: str) -> str:
    """A page as it is read, on one line."""
    command = [require("mandoc"), "-T", "utf8", "-O", "width=200"]
    text = subprocess.run(command, input=render(page), capture_output=True, text=True, check=True).stdout
    return " ".join(re.sub(".\b", "", text).split())


READ = {page: words(page) for page in PAGES}


@pytest.mark.parametrize("page", PAGES)
def test_the_checkers_have_nothing_to_say(page: str, tmp_path: Path) -> None:
    source = tmp_path / f"{page}.{PAGES[page]}"
    source.write_text(render(page))
    lint = subprocess.run(
        [require("mandoc"), "-T", "lint", "-W", "warning", source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (lint.returncode, lint.stdout) == (0, "")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"}
    man = [require("man", "man-db"), "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(source)]
    done = subprocess.run(man, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name or "postroad")
def test_every_verb_and_every_option_is_explained(command: Command) -> None:
    page = "postroad-queue" if command.path[:1] == ("queue",) else "postroad"
    if command.path:
        assert command.help, f"postroad {command.name}: give its parser help= (postroad.cli.arguments)"
    for argument in command.arguments:
        where = f"postroad {command.name} {argument.name}"
        assert argument.help or not argument.flags, f"{where}: give the option help= (postroad.cli.arguments)"
        assert all(flag in READ[page] for flag in argument.flags), where
    if not command.children:
        assert command.name in READ[page]


@pytest.mark.parametrize("table", [*keys(Path()).tables, *keys(Path()).repeated, *keys(Path()).named, ""])
def test_every_key_of_a_table_is_in_the_manual(table: str) -> None:
    known = keys(Path())
    readers = {"": known.top, **known.tables, **known.repeated, **known.named}[table]
    missing = [key for key in readers if f"{key} = " not in READ["postroad.toml"]]
    assert missing == [], f"explain them in conf/postroad.toml, in [{table}]"
    assert table in READ["postroad.toml"]


def test_every_kind_of_finding_is_in_the_manual_with_its_cure() -> None:
    assert set(KINDS) == set(get_args(Kind))
    for kind, meaning in KINDS.items():
        assert f" {kind} " in READ["postroad"]
        assert meaning.text[1:] in READ["postroad"]
        assert meaning.cure[1:] in READ["postroad"]


def test_every_option_of_sendmail_is_in_its_manual() -> None:
    letters = sendmail_options._WITH_VALUE | sendmail_options._MAYBE_GLUED | sendmail_options._FLAGS
    options = {f"-{letter}" for letter in letters} | {f"-b{mode}" for mode in sendmail_options._MODES}
    options |= {f"-q{selector}" for selector in sendmail_options._SELECTORS}
    missing = {
        option for option in options if not re.search(rf"(?<![\w-]){option}", READ["postroad-sendmail"])
    }
    # "-b" itself is nothing without its letter.
    assert missing - {"-b"} == set(), "explain them in src/postroad/man/postroad-sendmail.1"


def test_the_pages_are_those_that_the_command_shows(capsys: pytest.CaptureFixture[str]) -> None:
    (argument,) = tree().at("manual").arguments
    assert set(argument.choices) == set(PAGES)
    for page in PAGES:
        assert main(["manual", page]) == 0
        assert capsys.readouterr().out == render(page)


@pytest.mark.parametrize("text", [".TH of nothing", "'", "a\\b", "-x", "`x`"])
def test_no_text_is_taken_for_a_request(text: str) -> None:
    source = f".TH X 1 2026-01-01\n.SH NAME\nx \\- y\n.PP\n{escape(text)}\n"
    command = [require("mandoc"), "-T", "utf8"]
    shown = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    assert text.replace("`", "") in re.sub(".\b", "", shown)
