"""A submission that is made again: one message, one id, whatever was lost on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.account import AccountPolicies, AccountPolicy
from postroad.mail.canonical import relaxed_body_hash
from postroad.mail.events import Accepted, Replayed
from postroad.mail.idempotency import BAD_KEY, Key, digest_of, key_of, without_key
from postroad.mail.message import Content, Envelope, StagedBody, Submission
from postroad.mail.reply import Reply
from tests.support.build import address, content, envelope_recipient
from tests.support.engine import PEER, Engine, engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host

ORG = {"mx.example.org": Host()}
HEAD = b"From: a@example.com\r\nMessage-ID: <1@example.com>\r\n"


def submission(
    key: bytes | None = b"k1", to: tuple[str, ...] = ("b@example.org",), **changes: Any
) -> Submission:
    head = HEAD + (b"Idempotency-Key: " + key + b"\r\n" if key is not None else b"") + b"\r\n"
    envelope = Envelope(
        address("a@example.com"), tuple(map(envelope_recipient, to)), envid=changes.pop("envid", None)
    )
    body = changes.pop("body", b"hello\r\n")
    return replace(Submission(envelope, content(head, body), "user", PEER, 0.0), **changes)


def marks(*words: str) -> AccountPolicies:
    return AccountPolicies(AccountPolicy(idempotency=words))


async def accept(post: Engine, *made: Submission) -> list[Reply]:
    return [await post.gate.accept(each) for each in made]


@virtual
async def test_a_repeat_is_answered_with_the_id_of_the_first_and_queued_once() -> None:
    async with engine(ORG) as post:
        first, again = await accept(post, submission(), submission())
        id = post.events.of(Accepted)[0].id
        assert str(first) == f"250 2.0.0 Ok: queued as {id}"
        assert str(again) == f"250 2.0.0 Ok: queued as {id}, id={id} (replayed)"
        await post.gone()
        (later,) = await accept(post, submission())
        assert later == again
        assert len(post.arrived()) == len(post.events.of(Accepted)) == 1
        assert [event.id for event in post.events.of(Replayed)] == [id, id]


@pytest.mark.parametrize(
    ("words", "first", "again", "code"),
    [
        (("header",), {}, {"body": b"other\r\n"}, 554),
        (("header",), {}, {"to": ("c@example.org",)}, 554),
        (("header",), {}, {"account": "other"}, 250),
        (("header",), {}, {"key": b"k2"}, 250),
        (
            ("header",),
            {"to": ("b@example.org", "c@example.org")},
            {"to": ("c@example.org", "b@example.org")},
            0,
        ),
        (("header",), {}, {"key": b'"k1"', "body": b"other\r\n"}, 554),
        ((), {}, {}, 250),
        (("header", "envid"), {"key": None, "envid": "e1"}, {"key": None, "envid": "e1"}, 0),
        (("envid",), {"key": None, "envid": "e1"}, {"key": None, "envid": "e1", "body": b"other\r\n"}, 250),
        (("unique-envid",), {"key": None, "envid": "e"}, {"key": None, "envid": "e", "body": b"o\r\n"}, 554),
        (("message-id",), {"key": None}, {"key": None}, 0),
        (("message-id",), {"key": None}, {"key": None, "to": ("c@example.org",)}, 250),
        (("message-id",), {"key": None}, {"key": None, "body": b"other\r\n"}, 554),
        (("header", "envid"), {"key": None}, {"key": None}, 250),
    ],
)
def test_what_is_the_same_and_what_is_not(
    words: tuple[str, ...], first: dict[str, Any], again: dict[str, Any], code: int
) -> None:
    """`code` 0: a repeat."""

    @virtual
    async def run() -> None:
        async with engine(ORG, accounts=marks(*words)) as post:
            replies = await accept(post, submission(**(first | {})), submission(**again))
            assert replies[0].code == 250
            assert replies[1].code == (code or 250)
            assert ("(replayed)" in replies[1].text) is (code == 0)
            assert replies[1].enhanced == ("5.5.4" if code == 554 else "2.0.0")

    run()


@virtual
async def test_two_at_the_same_time_become_one_message() -> None:
    async with engine(ORG) as post:
        replies = await asyncio.gather(*(post.gate.accept(submission()) for _ in range(5)))
        assert {reply.code for reply in replies} == {250}
        assert sum("(replayed)" in reply.text for reply in replies) == 4
        assert len(post.events.of(Accepted)) == 1


@virtual
async def test_a_key_whose_first_message_was_not_accepted_is_free() -> None:
    async with engine(ORG) as post:
        post.queue.full = True
        (refused,) = await accept(post, submission())
        post.queue.full = False
        (taken,) = await accept(post, submission(body=b"other\r\n"))
        assert (refused.code, taken.code) == (452, 250)


@virtual
async def test_a_key_is_forgotten_when_its_time_is_over() -> None:
    async with engine(ORG) as post:
        await accept(post, submission())
        await asyncio.sleep(post.replays.window + 1)
        (later,) = await accept(post, submission(body=b"other\r\n"))
        assert (later.code, len(post.events.of(Accepted))) == (250, 2)


@virtual
async def test_a_repeat_costs_no_quota() -> None:
    policies = AccountPolicies(AccountPolicy(max_messages_per_hour=1))
    async with engine(ORG, accounts=policies) as post:
        assert [reply.code for reply in await accept(post, submission(), submission())] == [250, 250]


@virtual
async def test_the_key_is_taken_out_of_the_message() -> None:
    async with engine(ORG) as post:
        await accept(post, submission())
        (record,) = post.spool.records.values()
        assert b"dempotency" not in record.content.head
        assert b"Message-ID: <1@example.com>\r\n" in record.content.head


def test_what_comes_signed_keeps_its_key() -> None:
    signed = b"DKIM-Signature: v=1\r\nIdempotency-Key: k\r\n\r\n"
    assert without_key(signed) == signed
    assert without_key(b"A: b\r\nIDEMPOTENCY-KEY:\r\n k\r\nC: d\r\n\r\n") == b"A: b\r\nC: d\r\n\r\n"


@pytest.mark.parametrize("key", [b"", b"a b", b"\xff", b'"', b"x" * 256, b"a\r\nIdempotency-Key: b", b"\x00"])
def test_what_is_no_key_is_refused(key: bytes) -> None:
    assert key_of(submission(key), ("header",)) is BAD_KEY


@given(st.binary(max_size=60))
def test_any_octets_are_a_key_none_or_a_refusal(octets: bytes) -> None:
    made = submission(None)
    head = b"Idempotency-Key:" + octets + b"\r\nMessage-ID:" + octets + b"\r\n\r\n"
    changed = replace(made, content=Content(head, b"", False, False))
    found = key_of(changed, ("header", "message-id"))
    assert found is None or found is BAD_KEY or isinstance(found, Key)
    assert not isinstance(found, Key) or (found.name.isprintable() and len(found.name) < 300)


@given(st.lists(st.sampled_from(["b@example.org", "c@example.org"]), min_size=1, max_size=3), st.binary())
def test_the_digest_tells_head_from_body_and_knows_no_order(to: list[str], body: bytes) -> None:
    one = submission(None, tuple(to), body=body)
    assert digest_of(one.envelope, one.content) == digest_of(
        submission(None, tuple(reversed(to))).envelope, one.content
    )
    moved = Content(one.content.head + b"x", body, False, False)
    assert digest_of(one.envelope, moved) != digest_of(one.envelope, replace(one.content, body=b"x" + body))


@virtual
async def test_who_is_out_of_messages_still_hears_what_became_of_one() -> None:
    policies = AccountPolicies(AccountPolicy(max_messages_per_hour=1))
    async with engine(ORG, accounts=policies) as post:
        permit = post.rights.permit("user")
        (first,) = await accept(post, submission())
        # At MAIL nobody can tell; the message does.
        assert post.rights.mail(permit, None, None) is None
        again, other = await accept(post, submission(), submission(b"k2"))
        assert str(again).startswith(str(first))
        assert "(replayed)" in str(again)
        assert str(other).startswith("450 4.7.1 quota: 1 messages an hour, 0 left until ")
        # An account that never gave a key is told at once.
        await accept(post, submission(None, account="plain"))
        told = post.rights.mail(post.rights.permit("plain"), None, None)
        assert str(told).startswith("450 4.7.1 quota: ")


def test_the_same_octets_are_the_same_message_in_memory_and_on_disk() -> None:
    made = submission()
    body = b"hello  \r\n\r\nthere\r\n\r\n"
    staged = StagedBody("stage/1", len(body), crc32(body), relaxed_body_hash(body))
    others: list[tuple[bytes | StagedBody, bool]] = [
        (staged, True),
        (replace(staged, crc=1), False),
        (body + b"x", False),
    ]
    first = digest_of(made.envelope, content(HEAD, body))
    for other, same in others:
        assert (digest_of(made.envelope, replace(content(HEAD, body), body=other)) == first) is same
