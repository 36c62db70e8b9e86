"""What every spool does: the one in memory that tests use, and the segments."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from postroad.adapters.segments import Segments
from postroad.mail.message import Location
from postroad.ports.spool import DamagedRecord, Spool, Stored
from tests.support.build import BODY, HEAD, queue_id, record
from tests.support.memory_spool import MemorySpool
from tests.support.running import running

LARGE = os.urandom(700_000)


@pytest.fixture(params=["memory", "segments", "segments read from disk"])
async def spool(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Spool]:
    if request.param == "memory":
        yield MemorySpool()
        return
    from_disk = request.param.endswith("disk")
    segments = Segments(tmp_path / "spool", recent=0) if from_disk else Segments(tmp_path / "spool")
    async with running(segments):
        yield segments


async def whole(stored: Stored) -> bytes:
    return stored.head + b"".join([chunk async for chunk in stored.chunks()])


async def stage(spool: Spool, number: int, octets: bytes) -> Location:
    """A message with a large body, received in pieces of 64 KiB."""
    file = spool.stage(queue_id(number))
    for start in range(0, len(octets), 65536):
        await file.write(octets[start : start + 65536])
    return await spool.append(record(number, file.finish(b"h" * 32)))


@pytest.mark.parametrize("body", [BODY, b"", b".\r\n", bytes(range(256)) * 2000])
async def test_what_was_appended_is_read_octet_by_octet(spool: Spool, body: bytes) -> None:
    location = await spool.append(record(1, body))
    stored = await spool.read(location)
    assert (stored.head, stored.body) == (HEAD, body)
    assert await whole(stored) == HEAD + body


async def test_appends_at_once_each_get_their_own_place(spool: Spool) -> None:
    bodies = [b"%d\r\n" % number * number for number in range(100)]
    locations = await asyncio.gather(
        *(spool.append(record(number, body)) for number, body in enumerate(bodies))
    )
    assert len(set(locations)) == 100
    assert [(await spool.read(each)).body for each in locations] == bodies


async def test_a_record_is_read_for_the_message_whose_it_is_and_for_no_other(tmp_path: Path) -> None:
    for spool in (MemorySpool(), Segments(tmp_path / "spool", recent=0)):
        async with AsyncExitStack() as stack:
            if isinstance(spool, Segments):
                await stack.enter_async_context(running(spool))
            small = await spool.append(record(1, BODY))
            large = await stage(spool, 2, LARGE)
            for number, location in ((1, small), (2, large)):
                await spool.read(location, queue_id(number))
                with pytest.raises(DamagedRecord, match=queue_id(number)):
                    await spool.read(location, queue_id(3 - number))


async def test_a_staged_body_comes_back_in_chunks(spool: Spool) -> None:
    stored = await spool.read(await stage(spool, 1, LARGE))
    assert stored.body is None
    chunks = [chunk async for chunk in stored.chunks()]
    assert max(map(len, chunks)) <= 256 * 1024
    assert b"".join(chunks) == LARGE


async def test_an_empty_staged_body_is_empty(spool: Spool) -> None:
    assert await whole(await spool.read(await stage(spool, 1, b""))) == HEAD


async def test_discarding_after_the_append_is_harmless(spool: Spool) -> None:
    file = spool.stage(queue_id(1))
    await file.write(LARGE)
    location = await spool.append(record(1, file.finish(b"h" * 32)))
    file.discard()
    assert await whole(await spool.read(location)) == HEAD + LARGE


async def test_a_discarded_body_leaves_its_id_free(spool: Spool) -> None:
    file = spool.stage(queue_id(1))
    await file.write(b"half")
    file.discard()
    assert await whole(await spool.read(await stage(spool, 1, LARGE))) == HEAD + LARGE


async def test_a_staged_body_can_be_read_anywhere_before_it_is_appended(spool: Spool) -> None:
    file = spool.stage(queue_id(1))
    await file.write(LARGE)
    body = file.finish(b"h" * 32)
    with spool.staged(body) as octets:
        assert len(octets) == len(LARGE)
        for start, end in ((0, 10), (300_000, 600_000), (len(LARGE) - 5, len(LARGE) + 5), (7, 7), (9, 3)):
            assert octets[start:end] == LARGE[start:end]
    assert await whole(await spool.read(await spool.append(record(1, body)))) == HEAD + LARGE


async def test_a_finished_body_that_is_discarded_leaves_its_id_free(spool: Spool) -> None:
    file = spool.stage(queue_id(1))
    await file.write(b"first")
    body = file.finish(b"h" * 32)
    spool.discard(body)
    spool.discard(body)
    assert await whole(await spool.read(await stage(spool, 1, LARGE))) == HEAD + LARGE


async def test_a_place_where_nothing_lies_is_damaged(spool: Spool) -> None:
    with pytest.raises(DamagedRecord):
        await spool.read(Location(99, 0, 400))


async def test_releasing_one_message_leaves_the_others_readable(spool: Spool) -> None:
    settled = record(1)
    first, second = await spool.append(settled), await spool.append(record(2, b"stays\r\n"))
    spool.release(replace(settled.message, location=first))
    assert (await spool.read(second)).body == b"stays\r\n"
