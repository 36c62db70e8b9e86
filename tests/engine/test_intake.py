from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from postroad.engine.mending import Fitness
from postroad.engine.site import READY_MOST
from postroad.mail.account import AccountPolicies, AccountPolicy
from postroad.mail.backoff import RetryPolicy
from postroad.mail.events import Accepted, Linted, Refused, StorageTrouble
from postroad.mail.headers import fields
from postroad.mail.lifecycle import State
from postroad.mail.message import Content, Envelope, Lane, Location, Message, Recipient, Submission
from postroad.mail.outcome import Stage
from postroad.ports.spool import Record
from postroad.ports.storage import StorageBroken
from tests.support.build import BODY, address, content, envelope_recipient
from tests.support.engine import PEER, CommittingQueue, FragileSpool, NoSigner, engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, down, slow

ORG = {"mx.example.org": Host()}


class WatchedQueue(CommittingQueue):
    """Writes into `steps` when rows are asked for and when they are committed."""

    def __init__(self, steps: list[str]) -> None:
        super().__init__()
        self.steps = steps

    async def add(self, message: Message, recipients: Sequence[Recipient]) -> None:
        self.steps.append("rows begun")
        await super().add(message, recipients)
        self.steps.append("rows committed")


class WatchedSpool(FragileSpool):
    def __init__(self, steps: list[str]) -> None:
        super().__init__()
        self.steps = steps

    async def append(self, record: Record) -> Location:
        location = await super().append(record)
        self.steps.append("record synced")
        return location


@virtual
async def test_the_record_is_synced_before_the_rows_and_the_rows_are_committed_before_the_250() -> None:
    steps: list[str] = []
    async with engine(ORG, queue=WatchedQueue(steps), spool=WatchedSpool(steps)) as post:
        await post.submit("b@example.org")
        steps.append("250")
        await post.gone()
    assert steps[:4] == ["record synced", "rows begun", "rows committed", "250"]


@virtual
async def test_the_reply_and_the_log_name_the_same_id() -> None:
    async with engine(ORG) as post:
        reply = await post.offer("b@example.org")
        assert (reply.code, reply.enhanced) == (250, "2.0.0")
        assert reply.text == f"Ok: queued as {post.events.of(Accepted)[0].id}"
        await post.gone()


@virtual
async def test_what_is_sent_is_what_was_given_below_the_fields_that_were_added() -> None:
    async with engine(ORG) as post:
        id = await post.submit("b@example.org", body=b"Hello.\r\n")
        await post.gone()
        octets = post.arrived()[0].content
        assert octets.startswith(b"Received: from client.example")
        assert f"id {id}".encode() in octets
        assert octets.endswith(b"Subject: hello\r\n\r\nHello.\r\n")


@virtual
async def test_the_first_attempt_starts_at_once() -> None:
    async with engine(ORG) as post:
        submitted = post.clock.now()
        await post.submit("b@example.org")
        await post.gone()
        assert post.arrived()[0].at - submitted < 0.1


@virtual
async def test_a_message_for_a_site_that_has_room_is_claimed_as_it_is_accepted() -> None:
    async with engine(ORG) as post:
        await post.submit("b@example.org")
        await post.gone()
        id = await post.submit("b@example.org")
        (row,) = post.rows(id)
        assert (row.state, row.attempts) == (State.ACTIVE, 1)
        await post.gone()


@pytest.mark.parametrize("disk", ["spool", "queue"])
def test_a_full_disk_answers_452_and_nothing_is_kept(disk: str) -> None:
    @virtual
    async def check() -> None:
        async with engine(ORG) as post:
            await asyncio.sleep(1)
            getattr(post, disk).full = True
            reply = await post.offer("b@example.org")
            assert (reply.code, reply.enhanced) == (452, "4.3.1")
            assert post.queue.messages == {}
            assert post.spool.records == {}
            assert post.events.of(StorageTrouble)[0].operation == "accept"
            assert post.fatal == []
            getattr(post, disk).full = False
            await post.submit("b@example.org")
            await post.gone()

    check()


@virtual
async def test_places_reserved_for_refused_messages_are_free_again() -> None:
    async with engine(ORG) as post:
        await post.submit("b@example.org")
        await post.gone()
        post.spool.full = True
        for _ in range(READY_MOST):
            assert (await post.offer("b@example.org")).code == 452
        post.spool.full = False
        (row,) = post.rows(await post.submit("b@example.org"))
        assert row.state is State.ACTIVE
        await post.gone()


@pytest.mark.parametrize("disk", ["spool", "queue"])
def test_a_broken_disk_ends_the_daemon_and_the_client_keeps_its_message(disk: str) -> None:
    @virtual
    async def check() -> None:
        async with engine(ORG) as post:
            await asyncio.sleep(1)
            getattr(post, disk).broken = True
            reply = await post.offer("b@example.org")
            assert (reply.code, reply.enhanced) == (451, "4.3.0")
            assert [type(error) for error in post.fatal] == [StorageBroken]
            # The movers of this test go on: nothing of theirs needs the disk now.
            getattr(post, disk).broken = False

    check()


class PoisonedSpool(FragileSpool):
    async def append(self, record: Record) -> Location:
        if record.content.body == b"poison\r\n":
            raise ValueError("poison")
        return await super().append(record)


@virtual
async def test_a_bug_while_accepting_refuses_that_message_and_no_other() -> None:
    async with engine(ORG, spool=PoisonedSpool()) as post:
        reply = await post.offer("b@example.org", body=b"poison\r\n")
        assert (reply.code, reply.enhanced) == (451, "4.3.0")
        assert [bug.where for bug in post.bugs()] == ["intake"]
        await post.submit("b@example.org")
        await post.gone()


@virtual
async def test_what_admission_refuses_never_reaches_the_disk() -> None:
    async with engine(ORG) as post:
        reply = await post.offer("b@example.org", body=b"x" * 10_000_001)
        assert (reply.code, reply.enhanced) == (552, "5.3.4")
        assert post.spool.records == {}
        assert post.events.of(Refused)[0].recipient == "b@example.org"


@virtual
async def test_a_message_for_a_paused_site_waits_for_the_end_of_the_pause_and_says_why() -> None:
    async with engine({"mx.example.org": Host(down())}) as post:
        await post.submit("b@example.org")
        await post.until(lambda: bool(post.sites.paused()))
        (_, until, _) = post.sites.paused()[0]
        id = await post.submit("b@example.org")
        (row,) = post.rows(id)
        assert (row.state, row.due, row.attempts) == (State.WAITING, until, 0)
        assert row.last is not None
        assert "refused" in row.last.text


@virtual
async def test_urgent_mail_passes_a_backlog_that_ordinary_mail_waits_behind() -> None:
    hosts = {"mx.one.example": Host(slow(Stage.DOT, 1))}
    zone = {
        "one.example": {"MX": [(10, "mx.one.example")]},
        "two.example": {"MX": [(10, "mx.one.example")]},
        "mx.one.example": {"A": ["192.0.2.1"]},
    }
    async with engine(hosts, zone) as post:
        await post.submit("b@one.example", "b@two.example")
        await post.gone()
        # The receiver takes a second for each.
        for n in range(READY_MOST + 50):
            id = await post.submit(f"b{n}@two.example")
        assert post.rows(id)[0].state is State.WAITING
        ordinary = await post.submit("late@one.example")
        urgent = await post.submit("urgent@one.example", lane=Lane.TRANSACTIONAL)
        await post.gone(within=300)
        order = [str(one.recipient) for one in post.arrived()]
        assert order.index("urgent@one.example") < order.index("late@one.example")
        assert {ordinary, urgent} <= set(post.removed())


@virtual
async def test_a_long_line_is_encoded_before_anything_is_signed_or_kept() -> None:
    class Signer(NoSigner):
        seen: Content | None = None

        def domain_for(self, from_domain: str) -> str | None:
            return from_domain

        async def sign(self, domain: str, content: Content) -> bytes:
            self.seen = content
            return b"DKIM-Signature: d=example.com\r\n"

    signer = Signer()
    async with engine(ORG) as post:
        post.packer.reload(signer, (), RetryPolicy())
        await post.submit("b@example.org", body=b"x" * 2000 + b"\r\n")
        await post.gone()
        octets = post.arrived()[0].content
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert b"Content-Transfer-Encoding: quoted-printable\r\n\r\nxxx" in octets
    assert signer.seen is not None
    assert octets == b"DKIM-Signature: d=example.com\r\n" + signer.seen.head + bytes(signer.seen.body)  # type: ignore[arg-type]


@virtual
async def test_a_long_line_that_cannot_be_encoded_is_refused_and_nothing_is_kept() -> None:
    async with engine(ORG, fitness=Fitness("refuse")) as post:
        reply = await post.offer("b@example.org", body=b"x" * 2000 + b"\r\n")
        assert (reply.code, reply.enhanced) == (550, "5.6.0")
        assert post.events.of(Refused)[0].reply == str(reply)
        assert post.spool.records == {}


@virtual
async def test_a_body_staged_anew_does_not_stay_behind_when_the_message_is_put_off() -> None:
    async with engine(ORG) as post:
        file = post.spool.stage("A")
        await file.write(b"x" * 2000 + b"\r\n")
        body = file.finish(b"h" * 32)
        await asyncio.sleep(1)
        post.queue.full = True
        reply = await post.offer("b@example.org", body=body, long_lines=True)
        assert reply.code == 452
        assert post.spool.waiting == {}
        assert post.spool.records == {}


WARNED = AccountPolicies(tables={"user": AccountPolicy(lint="warn")})
REJECTED = AccountPolicies(AccountPolicy(lint="reject"), {"other": AccountPolicy()})


@virtual
async def test_a_header_outside_the_rules_is_told_and_taken_where_its_account_is_warned() -> None:
    async with engine(ORG, accounts=WARNED, signs=lambda domain: False) as post:
        id = await post.submit("b@example.org")
        (told,) = post.events.of(Linted)
        assert (told.id, told.account, told.sender) == (id, "user", "a@example.com")
        assert [finding.partition(":")[0] for finding in told.findings] == ["from-not-signed"]
        await post.gone()


@virtual
async def test_a_header_outside_the_rules_is_refused_where_its_account_wants_it() -> None:
    async with engine(ORG, accounts=REJECTED, signs=lambda domain: False) as post:
        reply = await post.offer("b@example.org")
        assert (reply.code, reply.enhanced) == (550, "5.7.20")
        assert "example.com" in reply.text
        assert post.events.of(Refused)[0].reply == str(reply)
        assert post.spool.records == {}


@virtual
async def test_nothing_is_told_of_an_account_that_is_not_looked_at() -> None:
    async with engine(
        ORG, accounts=AccountPolicies(tables={"x": AccountPolicy(lint="reject")}), signs=lambda domain: False
    ) as post:
        await post.submit("b@example.org")
        assert post.events.of(Linted) == []
        await post.gone()


def handed(clock_now: float, **wishes: Any) -> Submission:
    envelope = Envelope(address("a@example.com"), (envelope_recipient("b@example.org"),))
    bare = content(b"Subject: x\r\n\r\n", BODY)
    return Submission(envelope, bare, "user", PEER, clock_now, **wishes)


@virtual
async def test_what_is_only_to_be_queued_waits_for_a_run_of_the_queue() -> None:
    async with engine({"mx.example.org": Host()}) as post:
        await post.submit("warm@example.org")
        await post.gone(within=5)
        reply = await post.gate.accept(handed(post.clock.now(), later=True))
        id = reply.text.rpartition(" ")[2]
        (row,) = post.rows(id)
        assert (row.state, row.attempts) == (State.WAITING, 0)
        assert 890 < row.due - post.clock.now() <= 900
        await asyncio.sleep(60)
        assert len(post.arrived()) == 1
        await post.operate("retry")
        await post.gone(id, within=5)
        assert (await post.gate.accept(handed(post.clock.now(), later=True))).code == 250
        await post.gone(within=1000)


@virtual
async def test_what_a_gateway_hands_on_gets_a_trace_field_and_nothing_else() -> None:
    async with engine({"mx.example.org": Host()}) as post:
        await post.gate.accept(handed(post.clock.now(), gateway=True))
        await post.gate.accept(handed(post.clock.now()))
        await post.gone(within=5)
        names = [
            [field.name for field in fields(one.content.partition(b"\r\n\r\n")[0] + b"\r\n")]
            for one in post.arrived()
        ]
    assert names == [
        [b"received", b"subject"],
        [b"received", b"date", b"message-id", b"from", b"subject"],
    ]
