"""Completion knows every verb, option and choice of the parser, in each of the three shells."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from postroad.cli.completion import SHELLS, script
from postroad.cli.main import main
from postroad.cli.tree import Command, tree
from tests.support.requires import require

COMMANDS = list(tree().walk())
# Enough to see the way: all commands in one run of a shell would do as well, and be told less well.
LINES: list[tuple[list[str], set[str]]] = [
    (["--config", "serve", "queue"], {"list", "retry", "--help"}),
    (["queue", "list", "--state"], {"waiting", "active", "held"}),
    (["queue", "list", "--to", "queue"], {"--domain", "--json"}),
    (["completion"], {"bash", "zsh", "fish"}),
]


def offered(command: Command) -> set[str]:
    """What must be offered behind a verb."""
    found = {child.path[-1] for child in command.children}
    for argument in command.arguments:
        found |= set(argument.flags) or set(argument.choices)
    return found


def every() -> list[tuple[list[str], set[str]]]:
    return [*LINES, *((list(command.path), offered(command)) for command in COMMANDS)]


def bash(lines: list[list[str]]) -> list[set[str]]:
    calls = "".join(
        f"COMP_WORDS=(postroad {' '.join(words)} ''); COMP_CWORD={len(words) + 1}; _postroad; "
        'echo "${COMPREPLY[*]}"\n'
        for words in lines
    )
    done = subprocess.run(
        [require("bash"), "--norc", "-uc", script("bash") + calls], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return [set(line.split()) for line in done.stdout.split("\n")]


def zsh(lines: list[list[str]]) -> list[set[str]]:
    # What the completion system of zsh would be asked, written down in its place.
    asked = (
        "compdef() { : }\n_files() { : }\n"
        '_describe() { print -r -- "${offers[@]%%:*}" }\n'
        'compadd() { shift; print -r -- "$@" }\n'
    )
    calls = "".join(
        f"words=(postroad {' '.join(words)} ''); CURRENT={len(words) + 2}; _postroad\n" for words in lines
    )
    done = subprocess.run(
        [require("zsh"), "-f", "-c", asked + script("zsh") + calls],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [set(line.split()) for line in done.stdout.split("\n")]


def fish(lines: list[list[str]]) -> list[set[str]]:
    calls = "".join(
        f"complete -C 'postroad {' '.join(words)} '; complete -C 'postroad {' '.join(words)} -'; echo ===\n"
        for words in lines
    )
    done = subprocess.run(
        [require("fish"), "--no-config", "-c", script("fish") + calls],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    parts = done.stdout.split("===\n")
    return [{line.split("\t")[0] for line in part.split("\n")} for part in parts]


@pytest.mark.parametrize("ask", [bash, zsh, fish], ids=lambda ask: ask.__name__)
def test_behind_every_verb_is_offered_what_it_takes(ask) -> None:  # type: ignore[no-untyped-def]
    lines = every()
    answers = ask([words for words, _ in lines])
    for (words, wanted), answer in zip(lines, answers, strict=False):
        missing = wanted - answer
        assert missing == set(), f"{ask.__name__} does not offer them behind: postroad {' '.join(words)}"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == script(shell)


def test_the_shells_are_those_that_the_parser_names(tmp_path: Path) -> None:
    (argument,) = tree().at("completion").arguments
    assert argument.choices == SHELLS
