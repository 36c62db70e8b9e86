from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from postroad.engine.mending import Fitness
from postroad.engine.policies import Asked
from postroad.mail.events import Accepted, Held, PolicyFailed, Refused
from postroad.mail.lifecycle import State
from postroad.mail.policy import Verdict, View, hold, refuse
from tests.support.engine import engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host

ORG = {"mx.example.org": Host()}


class Scripted:
    """`Policy` that answers by a function and remembers what it was shown."""

    def __init__(self, answer: Callable[[View], Verdict | None] | Verdict | None = None) -> None:
        self._answer = answer
        self.shown: list[View] = []

    async def consider(self, view: View) -> Verdict | None:
        self.shown.append(view)
        return self._answer(view) if callable(self._answer) else self._answer


class Slow:
    def __init__(self, stubborn: bool = False) -> None:
        self._stubborn = stubborn

    async def consider(self, view: View) -> Verdict | None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if not self._stubborn:
                    raise
                self._stubborn = False


@virtual
async def test_a_policy_sees_the_message_as_it_would_be_sent_without_our_trace_field() -> None:
    policy = Scripted()
    async with engine(ORG, policies=(Asked("p", policy),)) as post:
        id = await post.submit("b@example.org")
        await post.gone()
        (shown,) = policy.shown
        sent = post.arrived()[0].content
    assert (shown.id, shown.account) == (id, "user")
    assert shown.head.startswith(b"Date: ")
    assert sent.startswith(b"Received: ")
    assert sent.endswith(shown.head + b"".join(shown.body()))


@virtual
async def test_each_policy_sees_what_those_before_it_made_of_the_message() -> None:
    first = Scripted(Verdict(add=(("X-First", "1"),), recipients=("c@example.org",)))
    second = Scripted(Verdict(add=(("X-Second", "2"),)))
    async with engine(ORG, policies=(Asked("one", first), Asked("two", second))) as post:
        await post.submit("b@example.org")
        await post.gone()
        assert second.shown[0].header("x-first") == "1"
        assert [str(to.address) for to in second.shown[0].envelope.recipients] == ["c@example.org"]
        (arrived,) = post.arrived()
        assert str(arrived.recipient) == "c@example.org"
        assert post.events.of(Accepted)[0].recipients == ("c@example.org",)
        lines = arrived.content.split(b"\r\n")
    assert b"for <c@example.org>" in b" ".join(lines[:4])
    assert lines.index(b"X-Second: 2") < lines.index(b"X-First: 1")
    assert b"b@example.org>;" not in arrived.content


@virtual
async def test_a_refusal_ends_it_and_nothing_is_kept() -> None:
    after = Scripted()
    policies = (Asked("no", Scripted(refuse("Not like this", 550, "5.7.1"))), Asked("after", after))
    async with engine(ORG, policies=policies) as post:
        reply = await post.offer("b@example.org")
        assert str(reply) == "550 5.7.1 Not like this"
        assert after.shown == []
        assert post.events.of(Refused)[0].reply == str(reply)
        assert post.spool.records == {}


@virtual
async def test_a_held_message_is_taken_and_waits_with_its_reason() -> None:
    async with engine(ORG, policies=(Asked("scan", Scripted(hold("looks odd"))),)) as post:
        id = await post.submit("b@example.org", "c@example.org")
        await asyncio.sleep(7200)
        rows = post.rows(id)
        assert [row.state for row in rows] == [State.HELD, State.HELD]
        assert {str(row.held) for row in rows} == {"held by policy scan: looks odd"}
        assert {row.last for row in rows} == {None}
        assert [(event.policy, event.reason) for event in post.events.of(Held)] == [("scan", "looks odd")]
        (record,) = post.spool.records.values()
        assert {(each.state, each.held) for each in record.recipients} == {(State.HELD, rows[0].held)}
        await post.operate("release", id)
        assert post.spool.held[id] == {0: None, 1: None}
        await post.gone()
        assert len(post.arrived()) == 2


@virtual
async def test_what_is_held_may_still_be_refused() -> None:
    policies = (Asked("one", Scripted(hold("odd"))), Asked("two", Scripted(refuse("No"))))
    async with engine(ORG, policies=policies) as post:
        assert (await post.offer("b@example.org")).code == 550


def boom(view: View) -> Verdict | None:
    raise KeyError("bug\r\n")


FAILING: list[Callable[[], Scripted | Slow]] = [
    lambda: Scripted(boom),
    lambda: Slow(),
    lambda: Slow(stubborn=True),
    lambda: Scripted(Verdict(recipients=())),
    lambda: Scripted(Verdict(add=(("X", "a\nb"),))),
    lambda: Scripted(lambda view: "reject"),  # type: ignore[arg-type,return-value]
]


@pytest.mark.parametrize("make", FAILING)
@pytest.mark.parametrize(("on_error", "code"), [("accept", 250), ("tempfail", 451), ("reject", 550)])
def test_a_policy_that_fails_means_what_is_configured(
    make: Callable[[], Scripted | Slow], on_error: str, code: int
) -> None:
    @virtual
    async def check() -> None:
        async with engine(ORG, policies=(Asked("bad", make(), 5.0, on_error),)) as post:
            began = post.clock.now()
            reply = await post.offer("b@example.org")
            assert reply.code == code
            assert post.clock.now() - began < 6
            (event,) = post.events.of(PolicyFailed)
            assert (event.policy, event.meaning) == ("bad", on_error)
            assert event.text.isprintable()
            await post.gone()

    check()


@virtual
async def test_a_body_staged_anew_is_gone_when_a_policy_refuses() -> None:
    async with engine(ORG, policies=(Asked("no", Scripted(refuse("No"))),), fitness=Fitness()) as post:
        file = post.spool.stage("A")
        await file.write(b"x" * 2000 + b"\r\n")
        reply = await post.offer("b@example.org", body=file.finish(b"h" * 32), long_lines=True)
        assert reply.code == 550
        assert post.spool.waiting == {}


@virtual
async def test_a_staged_body_can_be_read_both_ways() -> None:
    read: list[bytes] = []

    class Reader:
        async def consider(self, view: View) -> None:
            read.append(b"".join([chunk async for chunk in view.chunks()]))
            read.append(b"".join(view.body()))

    async with engine(ORG, policies=(Asked("read", Reader()),)) as post:
        file = post.spool.stage("A")
        await file.write(b"short\r\n")
        await post.submit("b@example.org", body=file.finish(b"h" * 32))
        await post.gone()
    assert read == [b"short\r\n", b"short\r\n"]
