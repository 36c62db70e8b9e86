"""Alias files as aliases(5) writes them, and whom local names stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.address import Address
from postroad.mail.aliases import Include, Target, parse, parse_list
from postroad.mail.completion import Completion, received
from postroad.mail.local_names import (
    ALWAYS_LOCAL,
    LocalNames,
    addresses_for,
    expand,
    forwarded,
    resolve,
    rounds,
    waiting,
)
from postroad.mail.message import EnvelopeRecipient, Notify, Peer

ANNA, BERT = Address("anna", "away.example"), Address("bert", "away.example")
HOME = Address("root", "localhost")


@pytest.mark.parametrize(
    ("text", "name", "targets"),
    [
        ("root: anna@away.example", "root", (ANNA,)),
        ("Root:\tanna@away.example , bert@away.example", "root", (ANNA, BERT)),
        ("root: anna@away.example,\n\n# note\n  bert@away.example", "root", (ANNA, BERT)),
        ('"two words": Anna', "two words", ("anna",)),
        ('root: "Anna A., Dr." <anna@away.example>', "root", (ANNA,)),
        ('root: "a b"@away.example', "root", (Address("a b", "away.example"),)),
        ("ops: :include:/etc/ops", "ops", (Include("/etc/ops"),)),
        ('ops: ":include:/etc/my ops", bert@away.example', "ops", (Include("/etc/my ops"), BERT)),
        ("root: \\anna", "root", ("anna",)),
    ],
)
def test_a_line_is_read_as_aliases_5_says(text: str, name: str, targets: tuple[Target, ...]) -> None:
    entries, flaws = parse(text)
    assert [(entry.name, entry.targets) for entry in entries] == [(name, targets)]
    assert flaws == []


@pytest.mark.parametrize(
    ("text", "line", "grave", "says"),
    [
        ('a: "|/usr/bin/vacation x, y", anna@away.example', 1, False, "runs no program"),
        ("a: |/bin/sh", 1, False, "runs no program"),
        ("a: /var/mail/a", 1, False, "writes to no file"),
        ("a: \\a, anna@away.example", 1, False, "no mailboxes"),
        ("# x\n\nnonsense", 3, True, "not of the form"),
        ("a: b\na: c", 2, True, "line 1 already"),
        ("a:", 1, True, "no address"),
        ("a: b@@c", 1, True, "not a domain"),
        ("a: :include:relative", 1, True, "begins with /"),
        ("  : b", 1, True, "not of the form"),
    ],
)
def test_what_is_not_done_or_not_understood_is_told_with_its_line(
    text: str, line: int, grave: bool, says: str
) -> None:
    (flaw,) = parse(text)[1]
    assert (flaw.line, flaw.grave) == (line, grave)
    assert says in flaw.text


def test_an_included_file_is_a_list_of_addresses() -> None:
    text = "anna@away.example\n# x\nbert@away.example, carl\n:include:/x\n"
    assert parse_list(text)[0] == [ANNA, BERT, "carl"]


PIECES = st.sampled_from(
    [*'abc:,"\\|/@<>() \t\n#', "anna@away.example", ":include:/x", "\n ", "root", "ü", "\r", "\0", "\ud800"]
)


@given(st.lists(PIECES, max_size=30).map("".join))
def test_any_text_is_entries_and_printable_flaws(text: str) -> None:
    entries, flaws = parse(text)
    assert all(flaw.text.isprintable() for flaw in flaws)
    assert all(flaw.name.isprintable() for flaw in flaws)
    assert len({entry.name for entry in entries}) == len(entries)
    parse_list(text)


# --- whom a name stands for ---------------------------------------------------------


Table = dict[str, tuple[Target, ...]]


def known_as(aliases: Table, origin: str = "host.example", fallback: Target | None = None) -> LocalNames:
    return LocalNames(ALWAYS_LOCAL | {"host.example"}, aliases, origin, fallback)


def names(
    origin: str = "host.example", fallback: Target | None = None, **aliases: tuple[Target, ...]
) -> LocalNames:
    return known_as(aliases, origin, fallback)


@pytest.mark.parametrize(
    ("name", "known", "found"),
    [
        ("root", names(root=(ANNA,)), (ANNA,)),
        ("ROOT", names(root=(ANNA, BERT, ANNA)), (ANNA, BERT)),
        ("postmaster", names(root=(ANNA,)), (ANNA,)),
        ("mailer-daemon", names(root=(ANNA,)), (ANNA,)),
        ("ops", names(ops=("root", BERT), root=(ANNA,)), (ANNA, BERT)),
        ("ops", names(ops=(Address("Root", "host.example"),), root=(ANNA,)), (ANNA,)),
        ("nobody", names(root=(ANNA,)), ()),
        ("nobody", names(fallback="root", root=(ANNA,)), (ANNA,)),
        ("nobody", names(fallback=BERT), (BERT,)),
        ("a", names(a=("b",), b=("a",)), ()),
        ("a", names(a=("a", ANNA)), (ANNA,)),
        ("a", names(a=("b",), b=("a",), fallback=BERT), ()),
        ("root", names(origin="away.example", root=("anna",)), (ANNA,)),
        # A line of its own that leads to a program alone: the name is nobody's elsewhere.
        ("dev", names(origin="away.example", dev=()), ()),
        (
            "root",
            names(origin="away.example", root=("dev", ANNA), dev=()),
            (ANNA, Address("dev", "localhost")),
        ),
        ("dev", names(origin="away.example", dev=(), fallback=BERT), (BERT,)),
        ("postmaster", names(postmaster=(), root=(ANNA,)), (ANNA,)),
    ],
)
def test_a_local_name_stands_for_addresses_elsewhere(
    name: str, known: LocalNames, found: tuple[Address, ...]
) -> None:
    assert addresses_for(name, known) == found


def test_a_name_on_the_way_that_leads_nowhere_is_not_lost() -> None:
    assert addresses_for("ops", names(ops=(ANNA, "bob"))) == (ANNA, Address("bob", "localhost"))


def test_a_circle_is_named() -> None:
    assert resolve("a", names(a=("b",), b=("a",))).wanting == ("aliases lead in a circle: a -> b -> a",)
    assert "circle: a -> b -> a" in waiting("a", names(a=("b",), b=("a",))).text


def test_a_name_without_alias_says_what_to_do() -> None:
    assert waiting("root", names()).text == (
        'no alias for root in /etc/aliases; add "root: you@example.com" there and run newaliases, '
        "or set fallback in [local]"
    )
    assert waiting("dev", names(dev=())).text.startswith(
        "the alias of dev in /etc/aliases has no address behind it; add"
    )


WORDS = st.sampled_from(["a", "b", "c", "d", ANNA, BERT, Address("a", "localhost")])


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(WORDS, max_size=4).map(tuple)), st.none() | WORDS)
def test_following_aliases_ends_and_finds_only_addresses_elsewhere(
    table: dict[str, tuple[Target, ...]], fallback: Target | None
) -> None:
    known = known_as(table, fallback=fallback)
    for name in "abcde":
        way = resolve(name, known)
        assert set(way.found) <= {ANNA, BERT}
        assert way.found or way.wanting


@pytest.mark.parametrize(
    ("notify", "targets", "left"),
    [
        (None, (ANNA,), None),
        (Notify.SUCCESS | Notify.FAILURE, (ANNA,), Notify.SUCCESS | Notify.FAILURE),
        (Notify.SUCCESS | Notify.FAILURE, (ANNA, BERT), Notify.FAILURE),
        (Notify.SUCCESS, (ANNA, BERT), Notify.NEVER),
        (None, (ANNA, BERT), None),
        (Notify.NEVER, (ANNA, BERT), Notify.NEVER),
    ],
)
def test_reports_name_the_alias_and_success_is_asked_of_one_alone(
    notify: Notify | None, targets: tuple[Target, ...], left: Notify | None
) -> None:
    """RFC 3461 5.2.7."""
    to, alone = EnvelopeRecipient(HOME, notify), len(targets) == 1
    onward = [forwarded(to, target, alone=alone) for target in targets if isinstance(target, Address)]
    assert [(to.address, to.notify, to.orcpt) for to in onward] == [
        (target, left, "rfc822;root@localhost") for target in targets
    ]
    wants_success = notify is not None and Notify.SUCCESS in notify
    done = expand([to], names(root=targets))
    if wants_success and not alone:
        # That it was sent on to several is told of the name itself.
        assert (done.recipients, done.renamed) == ((to,), ())
    else:
        assert done.recipients == tuple(onward)
        assert done.renamed == (("root@localhost", tuple(map(str, targets))),)


def test_who_is_named_twice_gets_it_once_and_what_is_not_local_stays() -> None:
    given_ = [
        EnvelopeRecipient(ANNA),
        EnvelopeRecipient(HOME),
        EnvelopeRecipient(Address("x", "host.example")),
    ]
    assert [to.address for to in expand(given_, names(root=(ANNA,))).recipients] == [
        ANNA,
        Address("x", "host.example"),
    ]


@pytest.mark.parametrize(
    ("origin", "name", "domain"),
    [
        ("host.example", "root", "host.example"),
        ("far.example", "root", "localhost"),
        ("far.example", "x", "far.example"),
    ],
)
def test_a_name_without_domain_is_local_if_it_has_an_alias(origin: str, name: str, domain: str) -> None:
    assert names(root=(ANNA,)).domain_for(name, origin) == domain


@pytest.mark.parametrize("peer", [Peer("userid 0", protocol="local"), Peer("192.0.2.1", helo="x")])
def test_our_own_received_fields_for_a_name_are_counted(peer: Peer) -> None:
    def trace(host: str, to: Address) -> bytes:
        date = "Mon, 23 Nov 2026 01:15:12 +0000"
        return received(Completion(peer, host, "ABCDEF123456", date, None, "x.y", to))

    head = trace("host.example", HOME) + trace("host.example", ANNA) + trace("else.example", HOME)
    assert rounds(head + trace("host.example", HOME) + b"\r\n", "host.example", HOME) == 2
