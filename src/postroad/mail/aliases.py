"""The text of an alias file, as aliases(5) describes it: names and those to whom their mail goes.

Only forwarding is done here: programs and files as targets are told as flaws, and
the rest of their line counts. Reading files is `config.alias_files`; who a message
is for is `mail.local_names`.
"""

from __future__ import annotations

from collections.abc import Iterator

from postroad.mail.address import Address, AddressError, parse_address
from postroad.mail.frozen import dataclass
from postroad.mail.mailboxes import scan

MAX_LINE = 1 << 20
_INCLUDE = ":include:"

Target = Address | str
"""A full address, or a local name in lower case."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a line of an alias file; `grave`: its author must have meant something else."""

    line: int
    name: str
    text: str
    grave: bool = True


@dataclass(frozen=True, slots=True)
class Include:
    """`:include:/path`: the addresses in that file, one or more a line."""

    path: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One name, lower case, with its targets in order. `line` counts from 1."""

    name: str
    line: int
    targets: tuple[Target | Include, ...]


def parse(text: str) -> tuple[list[Entry], list[Flaw]]:
    """The entries of an alias file in order, and its flaws; a name comes once, the first time counts."""
    entries: dict[str, Entry] = {}
    flaws: list[Flaw] = []
    for number, line in _logical_lines(text):
        key, colon, value = _cut(line, ":")
        name = _unquoted(key.strip()).lower()
        if not colon or not name or not name.isprintable() or "@" in name:
            shown = ascii(line.strip()[:60])
            flaws.append(Flaw(number, "", f'not of the form "name: address, ...": {shown}'))
            continue
        targets = tuple(_targets(value, number, name, flaws))
        if name in entries:
            flaws.append(Flaw(number, name, f"is defined in line {entries[name].line} already; that counts"))
            continue
        if not targets and not any(flaw.line == number for flaw in flaws):
            flaws.append(Flaw(number, name, "has no address behind it"))
        entries[name] = Entry(name, number, targets)
    return list(entries.values()), flaws


def parse_list(text: str) -> tuple[list[Target], list[Flaw]]:
    """The addresses of an included file; in it, nothing is included."""
    found: list[Target] = []
    flaws: list[Flaw] = []
    for number, line in _logical_lines(text):
        for target in _targets(line, number, "", flaws):
            if isinstance(target, Include):
                flaws.append(Flaw(number, "", "an included file cannot include another"))
            else:
                found.append(target)
    return found, flaws


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations, which begin with white space; without comments and empty lines."""
    pending: tuple[int, str] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped[0] == "#":
            continue
        if line[0] in " \t" and pending is not None:
            pending = pending[0], f"{pending[1]} {stripped}"[:MAX_LINE]
            continue
        if pending is not None:
            yield pending
        pending = number, stripped[:MAX_LINE]
    if pending is not None:
        yield pending


def _cut(text: str, mark: str) -> tuple[str, str, str]:
    """As str.partition, but not inside quotes."""
    quoted = escaped = False
    for at, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\" and quoted:
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == mark and not quoted:
            return text[:at], mark, text[at + 1 :]
    return text, "", ""


def _unquoted(text: str) -> str:
    """What stands in quotes that enclose all of it, else the text as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"' or _cut(text[1:], '"')[2]:
        return text
    return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")


def _targets(value: str, line: int, name: str, flaws: list[Flaw]) -> Iterator[Target | Include]:
    rest, more = value, ","
    while more:
        word, more, rest = _cut(rest, ",")
        word = word.strip()
        if not word:
            continue
        try:
            yield _target(word, name)
        except _Refused as refused:
            flaws.append(Flaw(line, name, str(refused), refused.grave))


class _Refused(Exception):
    def __init__(self, text: str, grave: bool = True) -> None:
        super().__init__(text)
        self.grave = grave


def _target(word: str, name: str) -> Target | Include:
    plain = _unquoted(word)
    if plain[:1] == "|":
        raise _Refused(f"runs no program ({plain[:40]!a}): the rest of the line counts", grave=False)
    if plain[:1] == "/":
        raise _Refused(f"writes to no file ({plain[:40]!a}): the rest of the line counts", grave=False)
    if plain[: len(_INCLUDE)].lower() == _INCLUDE:
        path = plain[len(_INCLUDE) :].strip()
        if path[:1] != "/" or not path.isprintable():
            raise _Refused(":include: needs a path that begins with /")
        return Include(path)
    if plain[:1] == "\\" and plain[1:].lower() == name:
        raise _Refused("there are no mailboxes here: a name that stays itself is passed over", grave=False)
    return _address(word.lstrip("\\"))


def _address(word: str) -> Target:
    """`address`, `name <address>` or a name alone."""
    if "<" in word or "(" in word:
        found = scan(word.encode("utf-8", "replace"), longest=len(word) * 4)
        if len(found) != 1:
            raise _Refused(f"not one address: {word[:60]!a}")
        word = found[0].spec.decode("utf-8", "replace")
    elif "@" not in word:
        word = _unquoted(word)
        if " " in word or ":" in word:
            raise _Refused(f"not an address: {word[:60]!a}")
    if "@" not in word:
        return _name(word)
    try:
        return parse_address(word, smtputf8=True)
    except AddressError as error:
        raise _Refused(str(error)) from None


def _name(word: str) -> str:
    try:
        return parse_address(word, smtputf8=True, default_domain="localhost").local.lower()
    except AddressError as error:
        raise _Refused(str(error)) from None
