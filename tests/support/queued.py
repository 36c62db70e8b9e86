"""A state directory with a queue in it, as a daemon would have left it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from postroad.adapters.segments import Segments
from postroad.adapters.sqlite_queue import SqliteQueue
from postroad.mail.message import Message, Recipient
from postroad.ports.spool import Record
from tests.support.build import content

Mail = tuple[Message, Sequence[Recipient], bytes]


@contextmanager
def state_directory() -> Iterator[Path]:
    """A directory short enough for a socket, with a configuration that names it."""
    directory = Path(tempfile.mkdtemp(prefix="postroad-"))
    try:
        (directory / "postroad.toml").write_text(
            'hostname = "mail.example.com"\nstate_directory = "."\n[submission]\naccounts = "accounts"\n'
        )
        yield directory
    finally:
        shutil.rmtree(directory)


async def fill(directory: Path, *mails: Mail) -> None:
    """Spool and index with these messages, both closed again; a body follows the usual header."""
    spool, queue = Segments(directory / "spool"), SqliteQueue(directory / "queue.sqlite")
    async with asyncio.TaskGroup() as group:
        group.create_task(spool.run())
        group.create_task(queue.run())
        for message, recipients, body in mails:
            octets = content(body=body)
            location = await spool.append(Record(message, tuple(recipients), octets))
            await queue.add(replace(message, location=location, size=octets.size), recipients)
        queue.close()
        spool.close()
