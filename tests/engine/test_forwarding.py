"""Local names through the whole engine: forwarded at once, or waiting until there is an alias."""

from __future__ import annotations

import pytest

from postroad.mail.aliases import Target
from postroad.mail.commands import Capabilities
from postroad.mail.events import Expanded
from postroad.mail.headers import split
from postroad.mail.lifecycle import State
from postroad.mail.local_names import ALWAYS_LOCAL, LocalNames
from postroad.mail.message import Content, Notify
from tests.support import dsn_reading
from tests.support.build import address
from tests.support.engine import Engine, engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, refuse

ORG = {"mx.example.org": Host()}
ANNA = address("anna@example.org")


def know(post: Engine, fallback: Target | None = None, **aliases: tuple[Target, ...]) -> None:
    post.packer.names = LocalNames(ALWAYS_LOCAL, aliases, "localhost", fallback)
    post.scheduler.names_changed()


@virtual
async def test_a_name_with_an_alias_is_forwarded_at_once_and_the_log_says_to_whom() -> None:
    async with engine(ORG) as post:
        know(post, root=(ANNA,))
        id = await post.submit("root@localhost")
        await post.gone()
    assert [str(one.recipient) for one in post.arrived()] == ["anna@example.org"]
    assert post.events.of(Expanded) == [Expanded(id, "root@localhost", ("anna@example.org",), id)]


@virtual
async def test_a_name_without_alias_waits_and_says_why() -> None:
    async with engine(ORG) as post:
        id = await post.submit("root@localhost", "b@example.org")
        await post.until(lambda: post.rows(id)[0].last is not None)
        (row, *_) = post.rows(id)
        assert (row.state, str(row.hop)) == (State.WAITING, "local:root")
        assert row.last is not None
        assert "no alias for root" in row.last.text
        await post.until(lambda: len(post.arrived("b@example.org")) == 1)


@virtual
async def test_what_waited_goes_on_as_soon_as_there_is_an_alias() -> None:
    async with engine(ORG) as post:
        id = await post.submit("root@localhost", notify=Notify.FAILURE)
        await post.until(lambda: post.rows(id)[0].last is not None)
        know(post, root=(ANNA, address("bert@example.org")))
        await post.gone(within=60.0)
        await post.until(lambda: len(post.arrived()) == 2)
    assert {str(one.recipient) for one in post.arrived()} == {"anna@example.org", "bert@example.org"}
    (expanded,) = post.events.of(Expanded)
    assert (expanded.id, expanded.recipient) == (id, "root@localhost")
    assert post.notices() == []


@virtual
async def test_a_name_that_never_gets_an_alias_comes_back_to_its_sender() -> None:
    async with engine(ORG) as post:
        id = await post.submit("root@localhost", sender="b@example.org")
        await post.gone(within=6 * 86400.0)
    assert [notice.kind for notice in post.notices(id)] == ["delayed", "failed"]
    assert len(post.arrived("b@example.org")) == 2


@virtual
async def test_a_notification_for_a_local_sender_follows_its_alias() -> None:
    async with engine({**ORG, "mx.example.net": Host()}, zone=None) as post:
        know(post, root=(ANNA,))
        await post.submit("b@nowhere.invalid", sender="root@localhost")
        await post.gone(within=6 * 86400.0)
    assert {str(one.recipient) for one in post.arrived()} == {"anna@example.org"}


def lists(post: Engine) -> None:
    know(post, team=(ANNA, address("bert@example.org")), solo=(ANNA,))


@pytest.mark.parametrize(
    ("to", "notify", "kinds"),
    [
        ("team@localhost", Notify.SUCCESS | Notify.FAILURE, ["expanded"]),
        ("team@localhost", Notify.SUCCESS, ["expanded"]),
        ("team@localhost", Notify.FAILURE, []),
        ("team@localhost", Notify.NEVER, []),
        ("team@localhost", None, []),
        ("solo@localhost", Notify.SUCCESS, ["relayed"]),
    ],
)
@virtual
async def test_that_a_name_stood_for_several_is_told_to_who_wants_to_hear_of_success(
    to: str, notify: Notify | None, kinds: list[str]
) -> None:
    hosts = {"mx.example.org": Host(capabilities=Capabilities()), "mx.example.com": Host()}
    async with engine(hosts) as post:
        lists(post)
        await post.submit(to, notify=notify)
        await post.gone(within=60.0)
        assert [notice.kind for notice in post.notices()] == kinds
        told = post.arrived("a@example.com")
        assert len(told) == len(kinds)
        if told:
            head, body = split(told[0].content)
            report = dsn_reading.read(Content(head, body, False, False))
            assert [(g["Action"], g["Status"][0]) for g in report.groups] == [(kinds[0], "2")]
        reached = {str(one.recipient) for one in post.arrived()} - {"a@example.com"}
        assert len(reached) == (2 if to.startswith("team") else 1)


@virtual
async def test_members_of_a_list_report_their_failures_and_not_their_success() -> None:
    refusing = Host(refuse("bert@example.org"))
    async with engine({"mx.example.org": refusing, "mx.example.com": Host()}) as post:
        lists(post)
        await post.submit("team@localhost", notify=Notify.SUCCESS | Notify.FAILURE)
        await post.gone(within=60.0)
        assert sorted(notice.kind for notice in post.notices()) == ["expanded", "failed"]
        told = [one for connection in post.transport.established for one, _ in connection.transactions]
        members = [to for envelope in told for to in envelope.recipients if envelope.sender is not None]
        assert {to.notify for to in members} == {Notify.FAILURE}
        assert {to.orcpt for to in members} == {"rfc822;team@localhost"}
