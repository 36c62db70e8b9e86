"""Knowledge about real replies, as data: one ordered list of rules, the first match wins.

A rule names the class (a `Reason`) of the replies it matches and carries one such
reply as its example. The loader proves of every rule that it matches its own
example and that no earlier rule takes it away, so that a rule which can never
apply is an error and not a surprise.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources

from postroad.mail.frozen import dataclass
from postroad.mail.outcome import Reason, Stage
from postroad.mail.reply import Reply

_KEYS = frozenset({"class", "provider", "stage", "code", "enhanced", "text", "wait", "example"})
_CODE = re.compile(r"[45](?:\d\d|\dx|xx)")
_ENHANCED = re.compile(r"[45*]\.(?:\d{1,3}|\*)\.(?:\d{1,3}|\d{0,2}x|\*)")
_PROVIDER = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_WAIT = re.compile(r"(\d{1,5})([smh])")
_REPLY = re.compile(r"([45]\d\d)(?:[ -]([245]\.\d{1,3}\.\d{1,3}))?(?: +|$)(.*)", re.DOTALL)
_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0}
# Read with the code: whom root became later may not look into its folder.
_PACKAGED = resources.files("postroad.mail").joinpath("replies.toml").read_text("utf-8")
# Longer texts are not searched: no reply says anything new after this.
SEARCHED = 2000


class RuleError(ValueError):
    """The rules are wrong; `problems` says everything that is, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; an empty condition holds for every reply.

    `provider` is a suffix of the MX host's name. `codes` match the basic code,
    `enhanced` the RFC 3463 code, where "" stands for its absence. `wait` are the
    seconds to wait for a receiver known not to say them.
    """

    reason: Reason
    example: Reply
    provider: str = ""
    stages: frozenset[Stage] = frozenset()
    codes: re.Pattern[str] | None = None
    enhanced: re.Pattern[str] | None = None
    text: re.Pattern[str] | None = None
    wait: float | None = None

    def matches(self, stage: Stage, reply: Reply, text: str, host: str) -> bool:
        """Whether the rule holds for a reply; `text` is the reply's, normalised, `host` a lower-case name."""
        if self.codes is not None and not self.codes.fullmatch(str(reply.code)):
            return False
        if self.stages and stage not in self.stages:
            return False
        if self.enhanced is not None and not self.enhanced.fullmatch(reply.enhanced or ""):
            return False
        if self.provider and not f".{host}".endswith(f".{self.provider}"):
            return False
        return self.text is None or self.text.search(text) is not None


@dataclass(frozen=True, slots=True)
class Rules:
    """The compiled list, in order."""

    rules: tuple[Rule, ...]

    def find(self, stage: Stage, reply: Reply, host: str = "") -> Rule | None:
        """The first rule that holds, or None. `host` is the name of the MX host."""
        text = normalised(reply)
        name = host.lower().rstrip(".")
        return next((rule for rule in self.rules if rule.matches(stage, reply, text, name)), None)


def normalised(reply: Reply) -> str:
    """The text that rules search: white space collapsed, bounded."""
    return " ".join(reply.text[:SEARCHED].split())


@cache
def default_rules() -> Rules:
    """The rules that come with the package."""
    return load_rules(tomllib.loads(_PACKAGED)["rule"])


def load_rules(tables: Sequence[Mapping[str, object]]) -> Rules:
    """Compile the tables of a TOML array of rules; RuleError lists every problem found."""
    problems: list[str] = []
    numbered: list[tuple[int, Rule]] = []
    for number, table in enumerate(tables, 1):
        found: list[str] = []
        rule = _compile(table, found)
        problems += [f"rule {number}: {problem}" for problem in found]
        if rule is not None:
            numbered.append((number, rule))
    problems += _unreachable(numbered)
    if problems:
        raise RuleError(problems)
    return Rules(tuple(rule for _, rule in numbered))


def _unreachable(numbered: Sequence[tuple[int, Rule]]) -> Iterable[str]:
    for number, rule in numbered:
        reply = rule.example
        stage = min(rule.stages) if rule.stages else Stage.RCPT
        case = (stage, reply, normalised(reply), f"mx.{rule.provider}" if rule.provider else "")
        if not rule.matches(*case):
            yield f"rule {number}: does not match its example: {reply}"
            continue
        taker = next(other for other, earlier in numbered if earlier.matches(*case))
        if taker != number:
            yield f"rule {number}: its example is taken by rule {taker}: {reply}"


def _compile(table: Mapping[str, object], problems: list[str]) -> Rule | None:
    problems += [f"{key}: unknown key" for key in table if key not in _KEYS]
    if not {"code", "enhanced", "text"} & table.keys():
        problems.append("needs a code, an enhanced code or a text")
    reason = _reason(table.get("class"), problems)
    example = _example(table.get("example"), problems)
    provider = _words(table, "provider", _PROVIDER, problems)
    if len(provider) > 1:
        problems.append("provider: one MX suffix only")
    rule_parts = (
        _stages(table, problems),
        _either(_words(table, "code", _CODE, problems), {"x": r"\d"}),
        _either(
            _words(table, "enhanced", _ENHANCED, problems, none=True), {".": r"\.", "*": r"\d+", "x": r"\d"}
        ),
        _pattern(table.get("text"), problems),
        _seconds(table, problems),
    )
    if problems or reason is None or example is None:
        return None
    return Rule(reason, example, provider[0] if provider else "", *rule_parts)


def _reason(value: object, problems: list[str]) -> Reason | None:
    try:
        return Reason(str(value))
    except ValueError:
        problems.append(f"class: {value!r} is not a class")
        return None


def _example(value: object, problems: list[str]) -> Reply | None:
    found = _REPLY.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        problems.append("example: needs a reply such as '450 4.2.0 Greylisted'")
        return None
    code, enhanced, text = found.groups()
    return Reply(int(code), (text,), enhanced if enhanced and enhanced[0] == code[0] else None)


def _words(
    table: Mapping[str, object], key: str, shape: re.Pattern[str], problems: list[str], none: bool = False
) -> list[str]:
    value = table.get(key, [])
    words = value if isinstance(value, list) else [value]
    good = []
    for word in words:
        if isinstance(word, str) and (shape.fullmatch(word) or (none and word == "")):
            good.append(word)
        else:
            problems.append(f"{key}: {word!r} cannot match")
    return good


def _stages(table: Mapping[str, object], problems: list[str]) -> frozenset[Stage]:
    names = _words(table, "stage", re.compile("|".join(Stage)), problems)
    return frozenset(Stage(name) for name in names)


def _either(words: Sequence[str], wild: Mapping[str, str]) -> re.Pattern[str] | None:
    if not words:
        return None
    return re.compile("|".join("".join(wild.get(char, char) for char in word) for word in words))


def _pattern(value: object, problems: list[str]) -> re.Pattern[str] | None:
    if value is None:
        return None
    try:
        return re.compile(str(value), re.IGNORECASE)
    except re.error as error:
        problems.append(f"text: {error}")
        return None


def _seconds(table: Mapping[str, object], problems: list[str]) -> float | None:
    found = [_WAIT.fullmatch(word) for word in _words(table, "wait", _WAIT, problems)]
    return next((int(match[1]) * _UNIT[match[2]] for match in found if match), None)
