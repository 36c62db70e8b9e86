"""The index in its file: schema, bursts, what a failing disk does, looks from beside."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.adapters import sqlite_changes
from postroad.adapters.sqlite_files import load_queries, load_steps, open_writable, pieces
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.adapters.sqlite_reader import HopState, SqliteReader
from postroad.adapters.sqlite_rows import message_row, recipient_row, to_pair
from postroad.adapters.sqlite_writer import SqliteWriter
from postroad.mail.lifecycle import State
from postroad.mail.message import Hold, Lane, Location
from postroad.mail.outcome import Kind, Outcome, Reason, Scope, Stage
from postroad.mail.queue_id import parse_id
from postroad.mail.reply import Reply
from postroad.ports.queue import Finished, QueueFilter
from postroad.ports.storage import StorageBroken, StorageFull
from tests.support.build import HOUR, NOW, change, deferred, delivered, hop, message, queue_id, recipient
from tests.support.running import running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.sqlite"


async def fill(path: Path, count: int) -> None:
    queue = SqliteQueue(path)
    async with running(queue):
        for number in range(1, count + 1):
            owner = message(number)
            await queue.add(owner, [recipient(owner)])


# --- the file ------------------------------------------------------------------------


async def test_the_index_outlives_its_process_and_leaves_no_log_when_closed(path: Path) -> None:
    await fill(path, 1)
    assert {each.name for each in path.parent.iterdir()} == {path.name, "queue.slate"}
    queue = SqliteQueue(path)
    async with running(queue):
        assert await queue.find(queue_id(1)) == Finished(message(), (recipient(),))


async def test_nobody_else_may_read_the_index(path: Path) -> None:
    queue = SqliteQueue(path)
    async with running(queue):
        await queue.add(message(), [recipient()])
        assert {each.stat().st_mode & 0o777 for each in path.parent.glob("queue.sqlite*")} == {0o600}


def test_the_index_is_opened_so_that_a_commit_survives_a_power_cut(path: Path) -> None:
    connection = open_writable(path)
    settings = [
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    ]
    connection.close()
    assert settings == ["wal", 2]


def test_every_schema_step_is_taken_once(path: Path) -> None:
    for _ in range(2):
        connection = open_writable(path)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.close()
        assert version == len(load_steps())


async def test_an_index_of_the_first_release_keeps_its_mail(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(load_steps()[0] + "PRAGMA user_version = 1;")
    connection.execute("INSERT INTO hop VALUES (7, 'mx', 'example.org')")
    owner = message()
    row = recipient(owner)
    values = (*message_row(owner)[:15], 1)
    connection.execute(f"INSERT INTO message VALUES ({', '.join('?' * 16)})", values)
    connection.execute(
        load_queries()["add_recipient"], recipient_row(row, parse_id(row.message), 7, owner.lane)
    )
    connection.commit()
    connection.close()
    queue = SqliteQueue(path)
    async with running(queue):
        assert await queue.find(owner.id) == Finished(owner, (row,))
        (claimed,) = await queue.claim(row.hop, NOW, 10, NOW + HOUR)
        assert claimed.hop == row.hop
        # The same name for those who require TLS is another hop.
        other = replace(row.hop, requiretls=True)
        assert await queue.claim(other, NOW, 10, NOW + HOUR) == []


async def test_who_held_what_in_an_index_before_holds_had_reasons_is_kept(path: Path) -> None:
    connection = sqlite3.connect(path)
    for number, script in enumerate(load_steps()[:5], start=1):
        connection.executescript(f"{script}\nPRAGMA user_version = {number};")
    connection.execute("INSERT INTO hop VALUES (7, 'mx', 'example.org', 0)")
    owner = message()
    policy = deferred(reason=Reason.POLICY, text="held by policy my.hooks:check: looks: odd")
    rows = [
        recipient(owner, n=0, state=State.HELD, last=policy),
        recipient(owner, n=1, state=State.HELD, last=deferred(), attempts=2),
        recipient(owner, n=2, last=policy),
    ]
    values = (*message_row(owner), 1)
    connection.execute(f"INSERT INTO message VALUES ({', '.join('?' * 17)})", (*values[:15], 1, values[15]))
    connection.executemany(
        load_queries()["add_recipient"],
        [recipient_row(row, parse_id(row.message), 7, owner.lane) for row in rows],
    )
    connection.commit()
    connection.close()
    queue = SqliteQueue(path)
    async with running(queue):
        found = await queue.find(owner.id)
    assert found is not None
    assert found.recipients == (
        replace(rows[0], last=None, held=Hold("my.hooks:check", "looks: odd", owner.received_at)),
        replace(rows[1], held=Hold()),
        rows[2],
    )


async def test_who_looks_at_an_index_of_an_earlier_version_is_told_what_helps(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(load_steps()[0] + "PRAGMA user_version = 1;")
    connection.close()
    async with SqliteReader(path) as reader:
        for _ in range(2):
            with pytest.raises(StorageBroken, match=r"earlier version; a \(re\)start of the daemon"):
                await reader.select(QueueFilter(), 1)
    await fill(path, 0)
    async with SqliteReader(path) as reader:
        assert await reader.select(QueueFilter(), 1) == []


def test_an_index_of_a_later_version_is_left_alone(path: Path) -> None:
    connection = open_writable(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StorageBroken, match="schema 99"):
        SqliteQueue(path)


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        (
            "DROP INDEX message_expiry; DROP INDEX message_place; DROP INDEX message_warning;"
            "ALTER TABLE message DROP COLUMN tracked",
            "column message.tracked",
        ),
        ("DROP INDEX recipient_busy", "index recipient_busy"),
    ],
)
def test_an_index_of_another_make_is_refused_with_the_way_out(path: Path, change: str, lacks: str) -> None:
    connection = open_writable(path)
    connection.executescript(change)
    connection.close()
    with pytest.raises(StorageBroken, match=rf"{lacks}\).*postroad spool rebuild"):
        SqliteQueue(path)


def test_an_index_that_somebody_added_is_left_alone(path: Path) -> None:
    connection = open_writable(path)
    connection.execute("CREATE INDEX ours ON message (account)")
    connection.close()
    open_writable(path).close()


@pytest.mark.parametrize("octets", [b"no database at all, but long enough to be looked at" * 50])
def test_what_is_no_index_is_refused(path: Path, octets: bytes) -> None:
    path.write_bytes(octets)
    with pytest.raises(StorageBroken, match=r"queue\.sqlite"):
        SqliteQueue(path)
    assert path.read_bytes() == octets


def test_every_statement_is_understood_by_sqlite(path: Path) -> None:
    connection = open_writable(path)
    for name, sql in load_queries().items():
        named = re.findall(r":(\w+)", sql)
        numbered = [int(number) for number in re.findall(r"\?(\d+)", sql)]
        values = dict.fromkeys(named) if named else [None] * max(numbered, default=sql.count("?"))
        assert connection.execute(f"EXPLAIN {sql}", values).fetchall(), name
    connection.close()


@pytest.mark.parametrize("name", ["due", "next_due", "hops", "defer"])
def test_the_scheduler_only_walks_the_index_of_what_waits(path: Path, name: str) -> None:
    connection = open_writable(path)
    sql = load_queries()[name]
    numbers = max([n for n in range(1, 10) if f"?{n}" in sql], default=0)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * numbers)]
    connection.close()
    steps = [step for step in plan if "recipient" in step]
    assert steps
    assert all("recipient_waiting" in step or "PRIMARY KEY" in step for step in steps)
    assert not any(step.startswith("SCAN recipient") for step in plan)


@pytest.mark.parametrize(
    "name", ["live", "count_messages", "count_states", "track_claimed", "void_claims", "unsettled", "expired"]
)
def test_a_start_reads_no_table_from_end_to_end(path: Path, name: str) -> None:
    connection = open_writable(path)
    sql = load_queries()[name]
    numbers = max([int(n) for n in re.findall(r"\?(\d+)", sql)], default=sql.count("?"))
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * numbers)]
    connection.close()
    scans = [step for step in plan if step.startswith(("SCAN message", "SCAN recipient", "SCAN m", "SCAN r"))]
    assert all("COVERING INDEX" in step or "recipient_news" in step for step in scans), plan


def test_the_recipients_of_a_domain_are_read_from_an_index_page_by_page(path: Path) -> None:
    connection = open_writable(path)
    sql = load_queries()["select_at"]
    values = dict.fromkeys(re.findall(r":(\w+)", sql))
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    connection.close()
    assert plan[0] == "MERGE (UNION ALL)"
    assert plan[2] == "SEARCH r USING INDEX recipient_domain (domain=? AND (message,n)>(?,?))"


def test_pieces_are_named_and_without_comments() -> None:
    text = "-- head\n-- name: a\nSELECT 1 -- one\n-- fragment: f\nx\n-- name: b\nSELECT 2\n"
    assert pieces(text, "name") == {"a": "SELECT 1", "b": "SELECT 2"}
    assert pieces(text, "fragment") == {"f": "x"}


# --- values --------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
REPLIES = st.builds(Reply, st.integers(200, 599), st.lists(TEXT, max_size=3).map(tuple), st.none() | TEXT)
OUTCOMES = st.builds(
    Outcome,
    st.sampled_from(Kind),
    st.sampled_from(Scope),
    st.sampled_from(Reason),
    TEXT,
    TEXT,
    st.sampled_from(Stage),
    st.none() | REPLIES,
    st.none() | TEXT,
    st.none() | st.floats(0, 1e6),
)


@given(OUTCOMES, st.floats(0, 4e9), st.floats(0, 4e9))
def test_any_outcome_and_any_time_come_back_as_they_were(outcome: Outcome, due: float, at: float) -> None:
    connection = sqlite3.connect(":memory:")
    for step in load_steps():
        connection.executescript(step)
    owner = message(received_at=at)
    row = recipient(owner, due=due, last=outcome, first_greylisted=at)
    sqlite_changes.Changes(connection).add([(owner, [row])])
    found = connection.execute(
        load_queries()["claimed"], (next(iter(connection.execute("SELECT id FROM message")))[0], 0)
    )
    assert to_pair(found.fetchone()) == (owner, row)
    connection.close()


# --- bursts --------------------------------------------------------------------------


async def test_one_bad_change_of_a_burst_fails_alone(path: Path) -> None:
    await fill(path, 1)
    queue = SqliteQueue(path)
    # Before `run` everything waits, so that they are one burst.
    adds = [asyncio.create_task(queue.add(message(n), [recipient(message(n))])) for n in (2, 1, 3)]
    await asyncio.sleep(0)
    async with running(queue):
        results = await asyncio.gather(*adds, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), ValueError, type(None)]
        assert (await queue.counts())["messages"] == 3


async def test_a_hop_that_was_new_in_an_undone_burst_is_made_again(path: Path) -> None:
    await fill(path, 1)
    queue = SqliteQueue(path)
    new = recipient("x@new.example", message=queue_id(2))
    adds = [queue.add(message(1), [recipient("y@new.example")]), queue.add(message(2), [new])]
    waiting = [asyncio.create_task(each) for each in adds]
    await asyncio.sleep(0)
    async with running(queue):
        await asyncio.gather(*waiting, return_exceptions=True)
        assert await queue.find(queue_id(2)) == Finished(message(2), (new,))


async def test_a_change_is_the_writers_before_its_caller_waits(path: Path) -> None:
    queue = SqliteQueue(path)
    async with running(queue):
        add = asyncio.create_task(queue.add(message(), [recipient()]))
        await asyncio.sleep(0)
        add.cancel()
        await queue.next_due(hop())
        assert await queue.find(queue_id(1)) is not None


async def test_a_full_disk_refuses_the_message_and_changes_nothing(path: Path) -> None:
    connection = open_writable(path)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    changes = sqlite_changes.Changes(connection)
    writer = SqliteWriter(connection, changes.forget)
    connection.execute(f"PRAGMA max_page_count = {pages}")
    huge = message(1, envid="x" * 100_000)
    async with running(writer):
        with pytest.raises(StorageFull):
            await writer.submit(changes.add, (huge, [recipient(huge)]))
        small = message(2)
        await writer.submit(changes.add, (small, [recipient(small)]))
    writer.end()
    async with SqliteReader(path) as reader:
        assert (await reader.counts())["messages"] == 1


async def test_another_program_that_holds_the_index_is_a_reason_to_try_later(path: Path) -> None:
    connection = open_writable(path)
    connection.execute("PRAGMA busy_timeout = 0")
    changes = sqlite_changes.Changes(connection)
    writer = SqliteWriter(connection, changes.forget)
    other = sqlite3.connect(path, isolation_level=None)
    async with running(writer):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageFull):
            await writer.submit(changes.add, (message(), [recipient()]))
        other.close()
        await writer.submit(changes.add, (message(), [recipient()]))
    writer.end()


async def test_a_burst_waits_once_for_who_holds_the_index_and_those_behind_it_hardly_at_all(
    path: Path,
) -> None:
    """Else a stop with a hundred outcomes to record would take a hundred times as long."""
    connection = open_writable(path)
    connection.execute("PRAGMA busy_timeout = 0")
    said: list[str] = []
    changes = sqlite_changes.Changes(connection)
    writer = SqliteWriter(connection, changes.forget)
    other = sqlite3.connect(path, isolation_level=None)
    async with running(writer):
        other.execute("BEGIN IMMEDIATE")
        connection.set_trace_callback(said.append)
        burst = [(message(n), [recipient(message(n))]) for n in range(1, 20)]
        answers = await asyncio.gather(
            *(writer.submit(changes.add, each) for each in burst), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {StorageFull}
        assert said == ["BEGIN IMMEDIATE", "PRAGMA busy_timeout = 100"]
        other.close()
        await writer.submit(changes.add, burst[0])
        assert "PRAGMA busy_timeout = 5000" in said
    writer.end()


async def test_a_damaged_index_ends_the_writer(path: Path) -> None:
    await fill(path, 500)
    octets = bytearray(path.read_bytes())
    octets[4096:] = b"\xff" * (len(octets) - 4096)
    path.write_bytes(octets)
    queue = SqliteQueue(path)
    ended = asyncio.create_task(queue.run())
    with pytest.raises(StorageBroken):
        await queue.add(message(501), [recipient(message(501))])
    with pytest.raises(StorageBroken):
        await ended


async def test_a_dead_hop_with_many_recipients_is_put_off_in_slices(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices: list[int] = []
    real = sqlite_changes.Changes.defer

    def defer(self: sqlite_changes.Changes, asked: Sequence[sqlite_changes.Deferral]) -> Sequence[int]:
        slices.extend(answer := real(self, asked))
        return answer

    monkeypatch.setattr(sqlite_changes.Changes, "defer", defer)
    monkeypatch.setattr("postroad.adapters.sqlite_queue.DEFER_SLICE", 10)
    await fill(path, 25)
    queue = SqliteQueue(path)
    async with running(queue):
        assert await queue.defer_hop(hop(), deferred(), NOW + HOUR, NOW) == 25
        assert await queue.next_due(hop()) == NOW + HOUR
    assert slices == [10, 10, 5]


async def test_hops_that_nobody_names_any_more_are_forgotten_at_the_end(path: Path) -> None:
    queue = SqliteQueue(path)
    states = (State.WAITING, State.HELD, State.FAILED)
    rows = [recipient(f"b@{n}.example", n, state=state) for n, state in enumerate(states)]
    gone = message(2)
    async with running(queue):
        await queue.add(message(), rows)
        active = recipient("b@gone.example", message=gone.id, state=State.ACTIVE)
        await queue.add(gone, [active])
        await queue.record([change(active, delivered())])
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT name FROM hop ORDER BY name")]
    connection.close()
    assert names == ["0.example", "1.example", "2.example"]


# --- looks from beside ----------------------------------------------------------------


async def test_a_reader_looks_with_the_daemon_up_or_down(path: Path) -> None:
    queue = SqliteQueue(path)
    async with running(queue), SqliteReader(path) as reader:
        await queue.add(message(), [recipient()])
        assert await reader.find(queue_id(1)) == Finished(message(), (recipient(),))
    async with SqliteReader(path) as reader:
        assert await reader.counts() == {"waiting": 1, "active": 0, "held": 0, "messages": 1}


async def test_a_reader_makes_no_index_where_there_is_none(path: Path) -> None:
    async with SqliteReader(path) as reader:
        with pytest.raises(StorageBroken, match=r"queue\.sqlite"):
            await reader.counts()
    assert not path.exists()


async def test_pages_cover_the_queue(path: Path) -> None:
    await fill(path, 7)
    async with SqliteReader(path) as reader:
        pages = [[row.message for _, row in page] async for page in reader.pages(QueueFilter(), 3)]
    assert pages == [[queue_id(n) for n in numbers] for numbers in ((1, 2, 3), (4, 5, 6), (7,))]


async def test_hops_are_shown_by_state_the_fullest_first(path: Path) -> None:
    queue = SqliteQueue(path)
    states = [State.WAITING, State.WAITING, State.ACTIVE, State.HELD, State.DELIVERED]
    rows = [recipient(f"{n}@one.example", n, state=state, due=NOW + n) for n, state in enumerate(states)]
    async with running(queue), SqliteReader(path) as reader:
        await queue.add(message(), [*rows, recipient("x@two.example", 9, state=State.HELD)])
        assert await reader.hop_states() == [
            HopState(hop("one.example"), 2, 1, 1, NOW),
            HopState(hop("two.example"), 0, 0, 1, None),
        ]


async def test_live_counts_messages_by_segment(path: Path) -> None:
    queue = SqliteQueue(path)
    async with running(queue):
        for number, segment in enumerate((7, 9, 7), start=1):
            owner = message(number, lane=Lane.NORMAL, location=Location(segment, number, 400))
            await queue.add(owner, [recipient(owner)])
        assert {segment: messages for segment, (messages, _) in (await queue.live()).items()} == {7: 2, 9: 1}


async def test_between_two_pages_a_reader_holds_up_nobody(path: Path) -> None:
    await fill(path, 60)
    queue = SqliteQueue(path)
    async with running(queue), SqliteReader(path) as reader:
        seen = 0
        async for page in reader.pages(QueueFilter(), 20):
            seen += len(page)
            owner = message(100 + seen)
            await queue.add(owner, [recipient(owner)])
            # Whoever still read in an old state of the index would keep its log from being emptied.
            connection = sqlite3.connect(path)
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            connection.close()
            assert busy == 0
            if seen > 100:
                break
    assert seen > 60
