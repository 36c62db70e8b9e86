"""The manual pages: prose from `postroad/man`, options from the parser, keys from the reference.

`postroad manual` shows them, `postroad install` puts them where man(1) finds them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from postroad import __version__
from postroad.cli.text import CommandFailed
from postroad.cli.tree import Argument, Command, tree, usage
from postroad.config.reference import Entry, Table, read_reference
from postroad.config.shipped import shipped

# Name and section.
PAGES = {
    "postroad": "8",
    "postroad-queue": "8",
    "postroad-sendmail": "1",
    "postroad.toml": "5",
}
_PROSE = Path(__file__).parent.parent / "man"
_QUEUE = ("queue",)


def show(page: str) -> int:
    """By man(1) on a terminal, else as it is."""
    text = render(page)
    pager = shutil.which("man")
    if not sys.stdout.isatty() or pager is None:
        sys.stdout.write(text)
        return os.EX_OK
    done = subprocess.run([pager, "-l", "-"], input=text.encode(), check=False)  # noqa: S603
    if done.returncode:
        raise CommandFailed(f"{pager} ended with {done.returncode}", os.EX_UNAVAILABLE)
    return os.EX_OK


def render(page: str) -> str:
    """The page as man(7) source."""
    text = (_PROSE / f"{page}.{PAGES[page]}").read_text("utf-8")
    made: dict[str, Callable[[], str]] = {
        "VERSION": lambda: __version__,
        "OPTIONS": lambda: "".join(_option(each) for each in tree().arguments),
        "COMMANDS": lambda: _commands(each for each in tree().children if each.path != _QUEUE),
        "QUEUE": lambda: _commands(tree().at(*_QUEUE).children),
        "FINDINGS": _findings,
        "TABLES": lambda: "".join(map(_table, _tables())),
    }
    return re.sub(r"@([A-Z]+)@", lambda found: made[found[1]]().rstrip("\n"), text)


def escape(text: str) -> str:
    """Text that means itself, wherever it begins."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "").replace("'", "\\(aq")
    text = text.replace('"', "\\(dq").replace("^", "\\(ha").replace("~", "\\(ti")
    return f"\\&{text}" if text.startswith(".") else text


def _commands(commands: Iterable[Command]) -> str:
    return "".join(_command(leaf) for command in commands for leaf in command.walk() if not leaf.children)


def _command(command: Command) -> str:
    lines = [".TP\n", f".B {escape(usage(command))}\n", f"{escape(_sentence(command.help))}\n"]
    if any(each.help for each in command.arguments):
        # A word that needs no explanation is in the synopsis.
        options = "".join(_option(each) for each in command.arguments if each.help)
        lines += [".RS\n", options, ".RE\n"]
    return "".join(lines)


def _option(argument: Argument) -> str:
    names = ", ".join(f"\\fB{escape(flag)}\\fR" for flag in argument.flags)
    value = f"\\fI{escape(argument.value)}\\fR" if argument.value else ""
    head = " ".join(part for part in (names, value) if part)
    return f".TP\n{head}\n{escape(_sentence(argument.help))}\n"


def _findings() -> str:
    from postroad.cli.spool_check import KINDS

    return "".join(
        f".TP\n.B {escape(kind)}\n{escape(_sentence(meaning.text))}\n{escape(_sentence(meaning.cure))}\n"
        for kind, meaning in KINDS.items()
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _tables() -> list[Table]:
    return read_reference(shipped("conf/postroad.toml").read_text("utf-8"))


def _table(table: Table) -> str:
    lines = [f".SS {escape(table.header) if table.header else 'At the top'}\n"]
    if table.text:
        lines.append(f"{escape(_sentence(table.text))}\n")
    before = ""
    for entry in table.entries:
        lines.append(_entry(entry, told=entry.text == before))
        before = entry.text
    return "".join(lines)


def _entry(entry: Entry, *, told: bool) -> str:
    """`told`: the key before it has the same explanation."""
    # Long values may be broken behind a colon.
    value = escape(entry.value).replace(":", ":\\:")
    head = f"\\fB{escape(entry.key)}\\fR = {value}"
    state = "" if entry.is_default else " (example)"
    text = "As above." if told and entry.text else _sentence(entry.text) if entry.text else "See above."
    return f".TP\n{head}{state}\n{escape(text)}\n"
