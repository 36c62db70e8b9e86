"""A state directory with five messages on disk, what disturbs it, and what `postroad spool` says of it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from postroad.adapters.segment_identity import keep_identity
from postroad.adapters.segments import Segments
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.cli.main import main
from postroad.mail.queue_id import parse_id
from tests.support.build import content, message, queue_id, recipient, record
from tests.support.queued import fill, state_directory
from tests.support.running import running

Captured = pytest.CaptureFixture[str]
LARGE = b"x" * 50_000


async def spool_command(directory: Path, *arguments: str) -> int:
    return await asyncio.to_thread(main, ["--config", str(directory / "postroad.toml"), "spool", *arguments])


@asynccontextmanager
async def five_messages() -> AsyncIterator[Path]:
    """Four messages in one segment, the second to two recipients; a fifth with a body of its own."""
    with state_directory() as directory:
        mails = []
        for number in range(1, 5):
            body = b"%d\r\n" % number * 20
            owner = message(number, size=content(body=body).size)
            mails.append((owner, [recipient(owner, n=n) for n in range(2 if number == 2 else 1)], body))
        await fill(directory, *mails)
        await add_large(directory)
        yield directory


async def add_large(directory: Path) -> None:
    spool, queue = Segments(directory / "spool"), SqliteQueue(directory / "queue.sqlite")
    async with running(spool, queue):
        file = spool.stage(queue_id(5))
        await file.write(LARGE)
        large = record(5, file.finish(b"h" * 32))
        await queue.add(replace(large.message, location=await spool.append(large)), large.recipients)


async def findings(directory: Path, capsys: Captured) -> tuple[int, list[tuple[str, str]]]:
    """The exit code, and (kind, id) of each finding, by kind."""
    status = await spool_command(directory, "check", "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["clean"] is (status == 0)
    return status, sorted((each["kind"], each["id"]) for each in said["findings"])


def change_index(directory: Path, *statements: str) -> None:
    with sqlite3.connect(directory / "queue.sqlite") as connection:
        for each in statements:
            connection.execute(each)
    connection.close()


def place_of(directory: Path, number: int) -> tuple[int, int]:
    """Offset and length in the first segment."""
    connection = sqlite3.connect(directory / "queue.sqlite")
    found = connection.execute(
        "SELECT offset, length FROM message WHERE id = ?", (parse_id(queue_id(number)),)
    ).fetchone()
    connection.close()
    return found[0], found[1]


def other_identity(directory: Path, number: int, run: int) -> None:
    keep_identity(directory / "spool", 7, 3)
    change_index(directory, f"PRAGMA application_id = {number}", f"UPDATE opened SET run = {run}")


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (octet,) = file.read(1)
        file.seek(offset)
        file.write(bytes([octet ^ 1]))


FIRST_SEGMENT = "spool/00000001.seg"
BODY = "spool/00000002.body"
ID = {number: parse_id(queue_id(number)) for number in range(1, 9)}


def damage_record(directory: Path, number: int) -> None:
    offset, length = place_of(directory, number)
    flip(directory / FIRST_SEGMENT, offset + length - 3)


def remove_rows(directory: Path, number: int) -> None:
    change_index(
        directory,
        f"DELETE FROM message WHERE id = {ID[number]}",
        f"DELETE FROM recipient WHERE message = {ID[number]}",
    )


def cut_segment(directory: Path) -> None:
    offset, _ = place_of(directory, 4)
    with (directory / FIRST_SEGMENT).open("r+b") as file:
        file.truncate(offset)
