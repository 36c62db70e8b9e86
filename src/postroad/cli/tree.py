"""The command line as a tree of values, read from its parser: for the manual and for completion."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from postroad.cli.arguments import parser


@dataclass(frozen=True, slots=True)
class Argument:
    """An option by its `flags`, or without any a word in its place; `value`: its name, "" for none."""

    flags: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    help: str
    required: bool

    @property
    def name(self) -> str:
        return self.flags[-1] if self.flags else self.value


@dataclass(frozen=True, slots=True)
class Command:
    """A verb by the words that lead to it; () is the program itself."""

    path: tuple[str, ...]
    help: str
    arguments: tuple[Argument, ...]
    children: tuple[Command, ...]

    @property
    def name(self) -> str:
        return " ".join(self.path)

    def walk(self) -> Iterator[Command]:
        yield self
        for child in self.children:
            yield from child.walk()

    def at(self, *path: str) -> Command:
        """KeyError where there is none."""
        for command in self.walk():
            if command.path == path:
                return command
        raise KeyError(" ".join(path))


def tree() -> Command:
    return _command(parser(), (), "")


def _command(of: argparse.ArgumentParser, path: tuple[str, ...], purpose: str) -> Command:
    children: list[Command] = []
    arguments = []
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            children += [
                _command(below, (*path, name), helps.get(name, "")) for name, below in action.choices.items()
            ]
        elif not isinstance(action, argparse._HelpAction):
            arguments.append(_argument(action))
    return Command(path, purpose, tuple(arguments), tuple(children))


def _argument(action: argparse.Action) -> Argument:
    choices = tuple(str(choice) for choice in action.choices or ())
    takes_value = action.nargs != 0 and not isinstance(action, argparse._StoreTrueAction)
    value = ""
    if takes_value:
        value = str(action.metavar or ("|".join(choices) if choices else action.dest.upper()))
        if action.nargs in ("+", "*"):
            value += "..."
    text = (action.help or "") % {"default": action.default} if action.help else ""
    required = action.required if action.option_strings else action.nargs not in ("?", "*")
    return Argument(tuple(action.option_strings), value, choices, text, bool(required))


def usage(command: Command) -> str:
    """As a synopsis has it, without the program's name."""
    words = list(command.path)
    for argument in command.arguments:
        word = " ".join(part for part in (argument.name if argument.flags else "", argument.value) if part)
        words.append(word if argument.required else f"[{word}]")
    return " ".join(words)
