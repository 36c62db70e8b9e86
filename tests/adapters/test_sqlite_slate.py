"""What had left or was heard, and not yet committed, at a crash: what a start makes of the slate."""

from __future__ import annotations

import os
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.adapters.sqlite_changes import Changes
from postroad.adapters.sqlite_files import open_writable
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.adapters.sqlite_slate import OPEN, RING, SIZE, SLOT, Slate, encode_entry, runs
from postroad.mail.lifecycle import State
from postroad.mail.message import Notify, Recipient
from postroad.mail.queue_id import format_id, parse_id
from postroad.ports.queue import Restarted
from postroad.ports.storage import StorageBroken
from tests.support.build import NOW, message, queue_id, recipient
from tests.support.running import running

LATER = NOW + 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.slate"


def index_with(path: Path, *rows: Recipient) -> Path:
    """An index as a process left it that died."""
    index = path.with_suffix(".sqlite")
    connection = open_writable(index)
    Changes(connection).add([(message(), list(rows))])
    connection.close()
    return index


def active(n: int = 0, notify: Notify | None = None) -> Recipient:
    return recipient(f"b{n}@example.org", n, state=State.ACTIVE, attempts=1, due=LATER, notify=notify)


def slate(path: Path) -> Slate:
    """That of a process which has started on it."""
    made = Slate(path)
    made.begin()
    return made


async def restart(queue: SqliteQueue) -> Restarted:
    async with running(queue):
        return await queue.restart(NOW, 60)


def names(found: Restarted) -> list[str]:
    """Local parts of those who may get it twice."""
    return [one.local for to in found.ambiguous.values() for one in to]


async def test_what_was_taken_is_delivered_what_had_left_is_ambiguous_and_the_rest_neither(
    path: Path,
) -> None:
    rows = [active(0), active(1), active(2)]
    index = index_with(path, *rows)
    told = slate(path)
    one, other = told.witness(), told.witness()
    one.about(rows[1].message, [1])
    one.leaves()
    one.taken()
    other.about(rows[2].message, [2])
    other.leaves()
    queue = SqliteQueue(index)
    async with running(queue):
        found = await queue.restart(NOW, 60)
        assert (found.messages, found.recipients, found.heard, names(found)) == (1, 2, 1, ["b2"])
        after = await queue.find(rows[0].message)
        assert after is not None
        assert [row.state for row in after.recipients] == [State.WAITING, State.DELIVERED, State.WAITING]


async def test_a_message_all_of_whose_recipients_were_taken_is_gone_before_anybody_asks(path: Path) -> None:
    index = index_with(path, active())
    witness = slate(path).witness()
    witness.about(message().id, [0])
    witness.leaves()
    witness.taken()
    queue = SqliteQueue(index)
    async with running(queue):
        assert await queue.live() == {}
        assert await queue.restart(NOW, 60) == Restarted(0, 0, {}, 1)
        assert await queue.find(message().id) is None


@pytest.mark.parametrize(
    ("row", "ambiguous"),
    [
        (recipient("b0@example.org", state=State.WAITING, attempts=1), []),
        (recipient("b0@example.org", state=State.HELD, attempts=1), []),
        # The sender is to be told the receiver's words, which are not on the slate: this one comes twice.
        (active(notify=Notify.SUCCESS), ["b0"]),
    ],
)
async def test_only_what_was_in_an_attempt_and_asks_for_no_success_report_is_taken_from_it(
    path: Path, row: Recipient, ambiguous: list[str]
) -> None:
    index = index_with(path, row)
    told = slate(path)
    witness = told.witness()
    for number in (1, 2):
        # The message after it has the open slot now.
        witness.about(queue_id(number), [0])
        witness.leaves()
        witness.taken()
    queue = SqliteQueue(index)
    async with running(queue):
        found = await queue.restart(NOW, 60)
        assert (found.heard, names(found)) == (0, ambiguous)
        after = await queue.find(row.message)
        assert after is not None
        assert after.recipients[0].state.is_open


@pytest.mark.parametrize(
    ("numbers", "refused", "heard"),
    [
        ([3, 4, 5], [], [(3, 5)]),
        ([3, 4, 5], [1], [(3, 3), (5, 5)]),
        ([5, 3, 4], [0], [(3, 4)]),
        ([1, 4, 5, 9], [], [(1, 1), (4, 5), (9, 9)]),
        ([0], [], [(0, 0)]),
    ],
)
def test_of_a_transaction_only_those_are_noted_who_were_not_refused(
    path: Path, numbers: list[int], refused: list[int], heard: list[tuple[int, int]]
) -> None:
    made = slate(path)
    witness = made.witness()
    witness.about(message().id, numbers)
    witness.leaves()
    witness.taken(refused)
    id = parse_id(message().id)
    assert made.answered() == [(id, *each) for each in heard]
    assert made.left() == [(id, min(numbers), max(numbers))]


@given(st.sets(st.integers(0, 60)))
def test_runs_name_every_number_once_and_no_other(numbers: set[int]) -> None:
    found = list(runs(sorted(numbers)))
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(numbers)
    assert all(second[0] > first[1] + 1 for first, second in pairwise(found))


async def test_after_a_start_of_the_machine_all_that_was_in_an_attempt_is_ambiguous(path: Path) -> None:
    """A power cut may leave the slate of any age, but not one of this start of the machine."""
    index = index_with(path, active(0), active(1))
    Slate(path, boot=b"another start").begin()
    found = await restart(SqliteQueue(index))
    assert names(found) == ["b0", "b1"]
    again = await restart(SqliteQueue(index))
    assert again == Restarted(1, 2, {}, 0)


async def test_what_left_once_is_forgotten_when_it_was_accounted_for(path: Path) -> None:
    index = index_with(path, active())
    witness = slate(path).witness()
    witness.about(message().id, [0])
    witness.leaves()
    queue = SqliteQueue(index)
    assert names(await restart(queue)) == ["b0"]
    connection = open_writable(index)
    connection.execute("UPDATE recipient SET state = 1")
    connection.close()
    assert names(await restart(SqliteQueue(index))) == []


def test_a_slot_that_was_given_back_keeps_its_words_until_all_others_were_used(path: Path) -> None:
    made = slate(path)
    first = made.witness()
    first.about(message().id, [7])
    first.leaves()
    first.close()
    for number in range(2, OPEN + 1):
        witness = made.witness()
        witness.about(queue_id(number), [0])
        witness.leaves()
        witness.close()
    left = made.left()
    assert left is not None
    assert len(left) == OPEN
    assert (parse_id(message().id), 7, 7) in left


def test_more_connections_than_slots_make_everything_ambiguous(path: Path) -> None:
    made = slate(path)
    several = [made.witness() for _ in range(OPEN)]
    assert made.left() == []
    over = made.witness()
    assert made.left() is None
    for witness in (over, over, *several):
        witness.close()
    assert {id(made.witness()) for _ in range(OPEN)}
    made.begin()
    assert made.left() == []


def test_the_oldest_entries_are_overwritten(path: Path) -> None:
    made = slate(path)
    for n in range(RING + 2):
        made.note(encode_entry(message().id, n, n))
    assert {n for _, n, _ in made.answered()} == set(range(2, RING + 2))


@given(
    st.integers(0, 2**60 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, SLOT - 1),
    st.integers(1, 255),
)
def test_a_torn_or_damaged_entry_names_nobody(id: int, first: int, last: int, at: int, flip: int) -> None:
    whole = encode_entry(format_id(id), first, last)
    assert len(whole) == SLOT
    torn = bytearray(whole)
    torn[at] ^= flip
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(torn) + whole + bytes(SIZE - 2 * SLOT))
        file.flush()
        assert Slate(Path(file.name)).answered() == [(id, first, last)]


@pytest.mark.parametrize("octets", [b"", b"short", os.urandom(SIZE), bytes(2 * SIZE)])
def test_a_file_of_another_make_is_begun_anew_or_names_nobody(path: Path, octets: bytes) -> None:
    path.write_bytes(octets)
    assert (Slate(path).answered(), Slate(path).left()) == ([], None)
    assert path.stat().st_size == SIZE


def test_a_slate_that_cannot_be_made_is_an_error_that_names_it(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageBroken, match=r"queue\.slate"):
        SqliteQueue(path.with_suffix(".sqlite"))
