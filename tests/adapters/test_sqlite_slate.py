"""Deliveries that were heard and not yet committed: what a start makes of the slate."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.adapters.sqlite_changes import Changes
from postroad.adapters.sqlite_files import open_writable
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.adapters.sqlite_slate import SIZE, SLOT, SLOTS, Slate, encode_entry
from postroad.mail.lifecycle import State
from postroad.mail.message import Notify, Recipient
from postroad.mail.queue_id import format_id, parse_id
from postroad.ports import StorageBroken
from tests.support.build import NOW, change, deferred, delivered, message, recipient
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


async def test_what_was_noted_is_delivered_and_the_rest_is_ambiguous(path: Path) -> None:
    rows = [active(0), active(1)]
    index = index_with(path, *rows)
    Slate(path).note([change(rows[1], delivered())])
    queue = SqliteQueue(index)
    async with running(queue):
        assert await queue.restart(NOW, 60) == (1, 1, 1, 1)
        found = await queue.find(rows[0].message)
        assert found is not None
        assert [row.state for row in found.recipients] == [State.WAITING, State.DELIVERED]


async def test_a_message_all_of_whose_recipients_were_noted_is_gone_before_anybody_asks(path: Path) -> None:
    index = index_with(path, active())
    Slate(path).note([change(active(), delivered())])
    queue = SqliteQueue(index)
    async with running(queue):
        assert await queue.live() == {}
        assert await queue.restart(NOW, 60) == (0, 0, 0, 1)
        assert await queue.find(active().message) is None


@pytest.mark.parametrize(
    "row",
    [
        recipient(state=State.WAITING, attempts=1),
        recipient(state=State.HELD, attempts=1),
        # The sender is to be told the receiver's words, which are not on the slate.
        active(notify=Notify.SUCCESS),
    ],
)
async def test_only_what_was_in_an_attempt_and_asks_for_no_success_report_is_taken_from_it(
    path: Path, row: Recipient
) -> None:
    index = index_with(path, row)
    Slate(path).note([change(row, delivered())])
    queue = SqliteQueue(index)
    async with running(queue):
        assert (await queue.restart(NOW, 60))[3] == 0
        found = await queue.find(row.message)
        assert found is not None
        assert found.recipients[0].state.is_open


async def test_only_deliveries_are_noted(path: Path) -> None:
    queue = SqliteQueue(path.with_suffix(".sqlite"))
    row = active()
    async with running(queue):
        await queue.add(message(), [row])
        await queue.record([change(row, deferred(), due=LATER)])
        assert Slate(path).read() == []


async def test_an_outcome_is_on_the_slate_before_its_commit_is_awaited(path: Path) -> None:
    queue = SqliteQueue(path.with_suffix(".sqlite"))
    row = active()
    async with running(queue):
        await queue.add(message(), [row])
        outcome = queue.record([change(row, delivered())])
        assert Slate(path).read() == [(parse_id(row.message), 0)]
        await outcome


def test_the_oldest_entries_are_overwritten(path: Path) -> None:
    slate = Slate(path)
    for n in range(SLOTS + 2):
        slate.note([change(recipient(n=n, state=State.ACTIVE), delivered())])
    assert {n for _, n in slate.read()} == set(range(2, SLOTS + 2))


@given(st.integers(0, 2**60 - 1), st.integers(0, 2**32 - 1), st.integers(0, SLOT - 1), st.integers(1, 255))
def test_a_torn_or_damaged_entry_names_nobody(id: int, n: int, at: int, flip: int) -> None:
    whole = encode_entry(format_id(id), n)
    assert len(whole) == SLOT
    torn = bytearray(whole)
    torn[at] ^= flip
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(torn) + whole + bytes(SIZE - 2 * SLOT))
        file.flush()
        assert Slate(Path(file.name)).read() == [(id, n)]


@pytest.mark.parametrize("octets", [b"", b"short", os.urandom(SIZE), bytes(2 * SIZE)])
def test_a_file_of_another_make_is_begun_anew_or_names_nobody(path: Path, octets: bytes) -> None:
    path.write_bytes(octets)
    assert Slate(path).read() == []
    assert path.stat().st_size == SIZE


def test_a_slate_that_cannot_be_made_is_an_error_that_names_it(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageBroken, match=r"queue\.slate"):
        SqliteQueue(path.with_suffix(".sqlite"))
