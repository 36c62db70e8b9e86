"""Local names through the whole engine: forwarded at once, or waiting until there is an alias."""

from __future__ import annotations

from postroad.mail.aliases import Target
from postroad.mail.events import Expanded
from postroad.mail.lifecycle import State
from postroad.mail.local_names import ALWAYS_LOCAL, LocalNames
from postroad.mail.message import Notify
from tests.support.build import address
from tests.support.engine import Engine, engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host

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
