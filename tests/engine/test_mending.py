from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import pytest

from postroad.adapters.segments import Segments
from postroad.engine.mending import Fitness, Mender
from postroad.mail.canonical import relaxed_body_hash
from postroad.mail.message import Content, StagedBody
from postroad.mail.reply import Reply
from postroad.ports.spool import Spool
from tests.support.build import HEAD, queue_id
from tests.support.memory_spool import MemorySpool
from tests.support.running import running

LONG = b"x" * 3000 + b"\r\n"
UMLAUTS = "Grüße\r\n".encode()


def content(body: bytes | StagedBody, *, eight_bit: bool = False, head: bytes = HEAD) -> Content:
    return Content(head, body, dotted=False, eight_bit=eight_bit, long_lines=True)


async def staged(spool: Spool, octets: bytes, number: int = 1) -> StagedBody:
    file = spool.stage(queue_id(number))
    for start in range(0, len(octets), 200_000):
        await file.write(octets[start : start + 200_000])
    return file.finish(relaxed_body_hash(octets))


@pytest.mark.parametrize(
    ("long_lines", "eight_bit", "fitness", "concerned"),
    [
        (False, False, Fitness(), False),
        (False, True, Fitness(), False),
        (False, True, Fitness(downgrade=True), True),
        (False, False, Fitness(downgrade=True), False),
        (True, False, Fitness(), True),
        (True, False, Fitness("refuse"), True),
        (True, True, Fitness("pass"), False),
    ],
)
def test_only_what_is_unfit_is_looked_into(
    long_lines: bool, eight_bit: bool, fitness: Fitness, concerned: bool
) -> None:
    octets = Content(HEAD, b"", dotted=False, eight_bit=eight_bit, long_lines=long_lines)
    assert Mender(MemorySpool(), fitness).concerns(octets) is concerned


def nested(depth: int, filling: bytes = b"") -> tuple[bytes, bytes]:
    """Head and body of a message with parts so deep in one another."""
    lines = [f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(depth)]
    whole = "".join(lines).encode() + b"\r\nhi\r\n" + filling
    head, _, body = whole.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", body


@pytest.mark.parametrize("long_lines", [False, True])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(("depth", "refused"), [(1, False), (9, False), (10, False), (11, True), (400, True)])
async def test_parts_may_lie_as_deep_in_one_another_as_is_allowed(
    depth: int, refused: bool, large: bool, long_lines: bool
) -> None:
    spool = MemorySpool()
    head, body = nested(depth, LONG if long_lines else b"")
    octets = await staged(spool, body) if large else body
    made = Content(head, octets, dotted=False, eight_bit=False, long_lines=long_lines)
    mender = Mender(spool, Fitness(depth=10))
    assert mender.concerns(made)
    said = await mender.mend(made, queue_id(2))
    if refused:
        assert str(said) == "550 5.6.0 A message with parts nested more than 10 deep"
    else:
        assert isinstance(said, Content)
        assert long_lines or said is made


async def test_a_body_in_memory_stays_in_memory() -> None:
    made = await Mender(MemorySpool(), Fitness()).mend(content(LONG), queue_id(2))
    assert isinstance(made, Content)
    assert isinstance(made.body, bytes)
    assert max(map(len, made.body.split(b"\r\n"))) <= 76
    assert b"quoted-printable" in made.head
    assert not made.long_lines


async def test_a_long_line_can_be_refused() -> None:
    made = await Mender(MemorySpool(), Fitness("refuse")).mend(content(LONG), queue_id(2))
    assert isinstance(made, Reply)
    assert (made.code, made.enhanced) == (550, "5.6.0")


async def test_a_staged_body_is_staged_anew_and_its_old_file_is_gone() -> None:
    spool = MemorySpool()
    octets = (LONG + UMLAUTS) * 300
    body = await staged(spool, octets)
    made = await Mender(spool, Fitness()).mend(content(body, eight_bit=True), queue_id(2))
    assert isinstance(made, Content)
    assert isinstance(made.body, StagedBody)
    assert list(spool.waiting) == [made.body.name]
    new = spool.waiting[made.body.name]
    assert max(map(len, new.split(b"\r\n"))) <= 76
    assert len(new) == made.body.size
    assert made.body.relaxed_hash == relaxed_body_hash(new)
    assert not made.eight_bit
    read = re.sub(rb"=([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), new.replace(b"=\r\n", b""))
    assert read == octets


async def test_a_staged_body_that_needs_nothing_is_not_copied() -> None:
    spool = MemorySpool()
    body = await staged(spool, b"short\r\n" * 1000)
    head = b"Subject: " + b"word " * 300 + b"\r\n" + HEAD
    made = await Mender(spool, Fitness()).mend(content(body, head=head), queue_id(2))
    assert isinstance(made, Content)
    assert made.body is body
    assert max(map(len, made.head.split(b"\r\n"))) <= 78


async def test_a_full_disk_leaves_no_half_of_a_new_body() -> None:
    spool = MemorySpool()
    body = await staged(spool, LONG * 300)
    spool.full = True
    with pytest.raises(Exception, match="full"):
        await Mender(spool, Fitness()).mend(content(body), queue_id(2))
    assert list(spool.waiting) == [body.name]


async def test_a_large_body_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    spool = Segments(tmp_path / "spool")
    async with running(spool):
        body = await staged(spool, b"y" * 30_000_000 + b"\r\n")
        tracemalloc.start()
        made = await Mender(spool, Fitness()).mend(content(body), queue_id(2))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert isinstance(made, Content)
        assert isinstance(made.body, StagedBody)
        assert made.body.size > body.size
        assert peak < 4_000_000
        assert [each.name for each in (tmp_path / "spool" / "stage").iterdir()] == [queue_id(2)]
        spool.discard(made.body)
