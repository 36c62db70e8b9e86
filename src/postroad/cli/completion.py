"""Completion for bash, zsh and fish: scripts made of the parser, so that they know every verb and option."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from postroad.cli.tree import Argument, Command, tree

SHELLS = ("bash", "zsh", "fish")


def script(shell: str) -> str:
    """What the shell reads, "bash" | "zsh" | "fish"."""
    make = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    first = "#compdef postroad\n" if shell == "zsh" else ""
    return f"{first}# Made by `postroad completion {shell}`.\n{make(tree())}"


def _key(command: Command) -> str:
    """How the scripts call a verb: "queue list", "" for the program."""
    return command.name


def _with_value(command: Command) -> list[Argument]:
    return [argument for argument in command.arguments if argument.flags and argument.value]


def _flags(root: Command) -> Iterator[tuple[str, Argument]]:
    """Every option that takes a value, by the verb before it."""
    for command in root.walk():
        for argument in _with_value(command):
            yield _key(command), argument


def _offers(command: Command) -> list[tuple[str, str]]:
    """What may come next, with what it is for."""
    verbs = [(child.path[-1], child.help) for child in command.children]
    options = [(flag, argument.help) for argument in command.arguments for flag in argument.flags]
    words = [
        (choice, argument.help)
        for argument in command.arguments
        if not argument.flags
        for choice in argument.choices
    ]
    return [*verbs, *words, *options, ("--help", "what it takes")]


def _words(command: Command) -> str:
    return " ".join(word for word, _ in _offers(command))


def _patterns(root: Command) -> str:
    """Options with a value, as a case pattern over "VERB OPTION"."""
    return "|".join(shlex.quote(f"{key} {flag}") for key, argument in _flags(root) for flag in argument.flags)


def _verbs(root: Command) -> str:
    return "|".join(shlex.quote(_key(command)) for command in root.walk() if command.path)


# The verb that the words before the cursor lead to, the same way in bash and zsh.
_WALK = """\
    local at="" word skip=0
    for word in "${{before[@]}}"; do
        if (( skip )); then skip=0; continue; fi
        case "$at $word" in
            {valued}) skip=1; continue ;;
        esac
        case "${{at:+$at }}$word" in
            {verbs}) at="${{at:+$at }}$word" ;;
        esac
    done
"""


def _choices(root: Command) -> Iterator[tuple[str, str]]:
    """A verb with an option whose values are known, and these values."""
    for key, argument in _flags(root):
        for flag in argument.flags:
            if argument.choices:
                yield f"{key} {flag}", " ".join(argument.choices)


def _cases(branches: Iterable[tuple[str, str]]) -> str:
    """The branches of a `case`: where, and what to do there."""
    return "".join(f"        {shlex.quote(where)}) {action} ;;\n" for where, action in branches)


def _bash(root: Command) -> str:
    walk = _WALK.format(valued=_patterns(root), verbs=_verbs(root))
    values = _cases((where, f"words={shlex.quote(chosen)}") for where, chosen in _choices(root))
    offers = _cases((_key(each), f"words={shlex.quote(_words(each))}") for each in root.walk())
    return (
        "_postroad() {\n"
        '    local current="${COMP_WORDS[COMP_CWORD]}" words=""\n'
        '    local before=("${COMP_WORDS[@]:1:COMP_CWORD-1}")\n'
        f"{walk}"
        '    local last="${COMP_WORDS[COMP_CWORD-1]}"\n'
        "    if (( skip )); then\n"
        f'        case "$at $last" in\n{values}        esac\n'
        "    else\n"
        f'        case "$at" in\n{offers}        esac\n'
        "    fi\n"
        # Without an offer the shell's own: names of files.
        '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")\n'
        "}\n"
        "complete -o default -F _postroad postroad\n"
    )


def _zsh(root: Command) -> str:
    walk = _WALK.format(valued=_patterns(root), verbs=_verbs(root))
    values = _cases((where, f"compadd -- {chosen}") for where, chosen in _choices(root))
    offers = _cases(
        (_key(each), f"offers=({' '.join(map(_described, _offers(each)))})") for each in root.walk()
    )
    return (
        "_postroad() {\n"
        "    local -a before offers\n"
        '    before=("${(@)words[2,CURRENT-1]}")\n'
        f"{walk}"
        '    local last="${before[-1]}"\n'
        "    if (( skip )); then\n"
        f'        case "$at $last" in\n{values}            *) _files ;;\n        esac\n'
        "        return\n"
        "    fi\n"
        f'    case "$at" in\n{offers}    esac\n'
        "    _describe -o postroad offers\n"
        "    _files\n"
        "}\n"
        # Autoloaded from a file of its name it is called, read by a shell it is registered.
        'if [ "$funcstack[1]" = "_postroad" ]; then _postroad "$@"; else compdef _postroad postroad; fi\n'
    )


def _described(offer: tuple[str, str]) -> str:
    word, help = offer
    return shlex.quote(f"{word}:{help}" if help else word)


def _fish(root: Command) -> str:
    valued = " ".join(shlex.quote(f"{key} {flag}") for key, arg in _flags(root) for flag in arg.flags)
    verbs = " ".join(shlex.quote(_key(command)) for command in root.walk() if command.path)
    lines = [
        "function __postroad_at",
        "    set -l at ''",
        "    set -l skip 0",
        "    for word in (commandline -opc)[2..-1]",
        "        if test $skip = 1",
        "            set skip 0",
        "            continue",
        "        end",
        f'        if contains -- "$at $word" {valued}',
        "            set skip 1",
        "            continue",
        "        end",
        '        set -l next (string trim -- "$at $word")',
        f"        if contains -- $next {verbs}",
        "            set at $next",
        "        end",
        "    end",
        '    test "$at" = "$argv[1]"',
        "end",
    ]
    for command in root.walk():
        where = f"-n {shlex.quote(f'__postroad_at {shlex.quote(_key(command))}')}"
        for child in command.children:
            lines.append(f"complete -c postroad -f {where} -a {child.path[-1]} -d {_fish_quoted(child.help)}")
        for argument in command.arguments:
            lines.append(_fish_argument(where, argument))
        lines.append(f"complete -c postroad {where} -l help -d 'what it takes'")
    return "\n".join(line for line in lines if line) + "\n"


def _fish_argument(where: str, argument: Argument) -> str:
    choices = f" -xa {shlex.quote(' '.join(argument.choices))}" if argument.choices else ""
    if not argument.flags:
        return f"complete -c postroad {where}{choices}" if choices else ""
    names = " ".join(
        f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in argument.flags
    )
    value = choices or (" -r" if argument.value else "")
    return f"complete -c postroad {where} {names}{value} -d {_fish_quoted(argument.help)}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
