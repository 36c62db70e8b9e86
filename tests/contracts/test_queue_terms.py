"""What a queue keeps beside messages: charges of accounts, and keys of submissions."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroad.adapters.sqlite_files import open_writable
from postroad.adapters.sqlite_terms import KEPT_HOURS, TermsWriter
from postroad.mail.idempotency import Kept, Key, Known
from postroad.mail.quota import Charge
from postroad.ports.queue import Queue, Terms
from tests.support.build import NOW, message, queue_id, recipient

HOUR = 500_000


def kept(name: str = "header:k", account: str = "anna", now: float = NOW, digest: bytes = b"d") -> Kept:
    return Kept(Key(account, name, digest), now, now + 100.0)


async def accept(queue: Queue, number: int, charge: Charge | None = None, key: Kept | None = None) -> None:
    owner = message(number)
    await queue.accept(owner, [recipient(owner)], Terms(charge, key))


async def test_what_is_accepted_on_terms_is_queued_like_any_other(queue: Queue) -> None:
    await accept(queue, 1, Charge("anna", HOUR, 1), kept())
    found = await queue.find(queue_id(1))
    assert found is not None
    assert found.recipients == (recipient(message(1)),)


async def test_charges_are_summed_by_account_and_hour(queue: Queue) -> None:
    await accept(queue, 1, Charge("bert", HOUR, 3))
    await accept(queue, 2, Charge("anna", HOUR, 1))
    await accept(queue, 3, Charge("anna", HOUR, 2))
    await accept(queue, 4, Charge("anna", HOUR + 1, 5))
    assert await queue.charges(HOUR) == [
        Charge("anna", HOUR, 3, 2),
        Charge("bert", HOUR, 3, 1),
        Charge("anna", HOUR + 1, 5, 1),
    ]
    assert await queue.charges(HOUR + 1) == [Charge("anna", HOUR + 1, 5, 1)]


async def test_a_key_is_known_under_its_account_until_it_expires(queue: Queue) -> None:
    await accept(queue, 1, key=kept())
    known = Known(queue_id(1), b"d")
    assert await queue.known("anna", "header:k", NOW + 99) == known
    assert await queue.known("anna", "header:k", NOW + 100) is None
    assert await queue.known("bert", "header:k", NOW) is None
    assert await queue.known("anna", "header:l", NOW) is None
    assert (await queue.keyed(NOW + 99), await queue.keyed(NOW + 100)) == (["anna"], [])


async def test_a_key_that_is_kept_fails_the_second_whole(queue: Queue) -> None:
    await accept(queue, 1, key=kept())
    with pytest.raises(ValueError, match=r"."):
        await accept(queue, 2, Charge("anna", HOUR, 1), kept(digest=b"e"))
    assert await queue.find(queue_id(2)) is None
    assert await queue.charges(0) == []
    assert await queue.known("anna", "header:k", NOW) == Known(queue_id(1), b"d")


async def test_a_key_that_has_expired_may_be_used_again(queue: Queue) -> None:
    await accept(queue, 1, key=kept())
    await accept(queue, 2, key=kept(now=NOW + 100))
    assert await queue.known("anna", "header:k", NOW + 101) == Known(queue_id(2), b"d")


def test_each_burst_sweeps_more_than_it_adds_and_no_more_than_a_slice(tmp_path: Path) -> None:
    connection = open_writable(tmp_path / "queue.sqlite")
    try:
        writer = TermsWriter(connection)

        def count(table: str) -> int:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

        writer.write([(queue_id(n), Terms(None, kept(f"k{n}"))) for n in range(200)])
        writer.write([(queue_id(1), Terms(Charge(f"a{n}", HOUR, 1), None)) for n in range(200)])
        assert (count("submission_key"), count("charge")) == (200, 200)
        writer.write(
            [(queue_id(300), Terms(Charge("b", HOUR + KEPT_HOURS + 1, 1), kept("l", now=NOW + 200)))]
        )
        assert (count("submission_key"), count("charge")) == (136, 136)
        for n in range(3):
            later = Charge("b", HOUR + KEPT_HOURS + 1, 1)
            writer.write([(queue_id(301 + n), Terms(later, kept(f"m{n}", now=NOW + 200)))])
        assert (count("submission_key"), count("charge")) == (4, 1)
    finally:
        connection.close()
