from __future__ import annotations

import pytest

from postroad.mail.outcome import Reason, Stage
from postroad.mail.reply import Reply
from postroad.mail.rules import SEARCHED, RuleError, default_rules, load_rules, normalised

GREY: dict[str, object] = {
    "class": "greylist",
    "stage": ["rcpt", "dot"],
    "code": "45x",
    "text": "grey",
    "example": "450 4.2.0 Greylisted",
}
WIDE: dict[str, object] = {"class": "other-temp", "code": "4xx", "example": "451 4.3.0 anything"}


def problems(*tables: dict[str, object]) -> tuple[str, ...]:
    with pytest.raises(RuleError) as caught:
        load_rules(tables)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_the_packaged_rules_load_and_are_read_once() -> None:
    assert len(default_rules().rules) > 30
    assert default_rules() is default_rules()


def test_every_packaged_rule_finds_its_own_example() -> None:
    for rule in default_rules().rules:
        stage = min(rule.stages) if rule.stages else Stage.RCPT
        assert default_rules().find(stage, rule.example, f"mx1.{rule.provider}") is rule


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"class": "gray"}, "class: 'gray' is not a class"),
        ({"colour": "red"}, "colour: unknown key"),
        ({"code": "250"}, "code: '250' cannot match"),
        ({"code": ["450", 451]}, "code: 451 cannot match"),
        ({"enhanced": "4.7"}, "enhanced: '4.7' cannot match"),
        ({"stage": "quit"}, "stage: 'quit' cannot match"),
        ({"provider": "example.com."}, "provider: 'example.com.' cannot match"),
        ({"provider": "google"}, "provider: 'google' cannot match"),
        ({"provider": ["a.example", "b.example"]}, "provider: one MX suffix only"),
        ({"wait": "soon"}, "wait: 'soon' cannot match"),
        ({"text": "(grey"}, "text: missing ), unterminated subpattern at position 0"),
        ({"example": "Greylisted"}, "example: needs a reply such as '450 4.2.0 Greylisted'"),
        ({"example": 450}, "example: needs a reply such as '450 4.2.0 Greylisted'"),
        ({"example": "450 4.2.0 White"}, "does not match its example: 450 4.2.0 White"),
        ({"text": r"\[HCM1\]"}, "does not match its example: 450 4.2.0 Greylisted"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_number(change: dict[str, object], problem: str) -> None:
    assert problems(WIDE | {"code": "452", "example": "452 x"}, GREY | change) == (f"rule 2: {problem}",)


def test_a_rule_without_conditions_is_refused() -> None:
    assert problems({"class": "spam", "example": "550 x"}) == (
        "rule 1: needs a code, an enhanced code or a text",
    )


def test_a_rule_shadowed_by_an_earlier_one_is_refused() -> None:
    assert problems(WIDE, GREY) == ("rule 2: its example is taken by rule 1: 450 4.2.0 Greylisted",)
    load_rules([GREY, WIDE])


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(GREY | {"class": "gray", "wait": "soon"}, WIDE | {"code": "999"})) == 3


def test_a_rule_for_a_provider_holds_for_its_hosts_alone() -> None:
    rules = load_rules([GREY | {"provider": "mail.example", "wait": "2m"}])
    reply = Reply(450, ("Greylisted",))
    assert rules.find(Stage.RCPT, reply, "mx1.mail.example") is rules.rules[0]
    assert rules.find(Stage.RCPT, reply, "MAIL.example.") is rules.rules[0]
    assert rules.find(Stage.RCPT, reply, "evilmail.example") is None
    assert rules.find(Stage.RCPT, reply) is None
    assert rules.rules[0].wait == 120


@pytest.mark.parametrize(
    ("stage", "reply", "found"),
    [
        (Stage.RCPT, Reply(450, ("greylisted",), "4.7.1"), True),
        (Stage.MAIL, Reply(450, ("greylisted",), "4.7.1"), False),
        (Stage.RCPT, Reply(421, ("greylisted",), "4.7.1"), False),
        (Stage.RCPT, Reply(450, ("greylisted",)), True),
        (Stage.RCPT, Reply(450, ("greylisted",), "4.2.2"), False),
        (Stage.RCPT, Reply(450, ("listed",), "4.7.1"), False),
    ],
)
def test_every_condition_must_hold(stage: Stage, reply: Reply, found: bool) -> None:
    rules = load_rules([GREY | {"enhanced": ["", "4.7.x", "4.0.*"], "example": "450 grey"}])
    assert (rules.find(stage, reply) is not None) is found


def test_an_enhanced_code_of_another_class_in_an_example_is_ignored() -> None:
    rule = load_rules([{"class": "full", "code": "450", "enhanced": "", "example": "450 5.2.2 x"}]).rules[0]
    assert rule.example == Reply(450, ("x",))
    assert rule.reason is Reason.FULL


def test_text_is_searched_with_white_space_collapsed_and_bounded() -> None:
    reply = Reply(550, ("no such\t user", "  here ", "x" * SEARCHED))
    assert normalised(reply).startswith("no such user here x")
    assert len(normalised(reply)) <= SEARCHED
