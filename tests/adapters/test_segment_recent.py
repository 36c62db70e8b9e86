from pathlib import Path

import pytest

from postroad.adapters.segment_recent import OVERHEAD, Recent
from postroad.adapters.segments import Segments
from postroad.mail.message import Location
from postroad.ports.spool import DamagedRecord
from tests.support.build import record
from tests.support.running import running

HEAD, BODY = b"A: b\r\n\r\n", b"x" * 100
ENTRY = len(HEAD) + len(BODY) + OVERHEAD


def place(offset: int) -> Location:
    return Location(1, offset, 50)


def test_the_oldest_goes_when_there_is_no_room_for_more() -> None:
    recent = Recent(3 * ENTRY)
    for offset in range(5):
        recent.keep(place(offset), HEAD, BODY)
        assert recent.octets == ENTRY * len(recent) <= 3 * ENTRY
    assert [recent.get(place(offset)) is None for offset in range(5)] == [True, True, False, False, False]


def test_what_is_larger_than_all_the_room_is_not_kept() -> None:
    recent = Recent(ENTRY - 1)
    recent.keep(place(0), HEAD, BODY)
    assert (recent.get(place(0)), recent.octets) == (None, 0)


def test_what_is_forgotten_takes_no_room_and_may_be_forgotten_again() -> None:
    recent = Recent(3 * ENTRY)
    recent.keep(place(0), HEAD, BODY)
    recent.keep(place(1), HEAD, BODY)
    recent.forget(place(0))
    recent.forget(place(0))
    assert (len(recent), recent.octets, recent.get(place(0))) == (1, ENTRY, None)


async def test_a_first_attempt_reads_no_file_and_a_message_that_is_over_is_not_kept(tmp_path: Path) -> None:
    spool = Segments(tmp_path)
    async with running(spool):
        location = await spool.append(record())
        for path in tmp_path.glob("*.seg"):
            path.write_bytes(bytes(path.stat().st_size))
        stored = await spool.read(location)
        assert (stored.head, stored.body) == (record().content.head, record().content.body)
        spool.release(record().message.at(location))
        with pytest.raises(DamagedRecord):
            await spool.read(location)
