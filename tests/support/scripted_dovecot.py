"""A peer of the Dovecot authentication protocol that says what a test wrote down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

GREETING = (
    "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tlogin\tplaintext\nMECH\tANONYMOUS\tanonymous\n"
    "MECH\tAPOP\tprivate\nMECH\tEXTERNAL\nMECH\tSCRAM-SHA-256-PLUS\nMECH\tSCRAM-SHA-256\tmutual-auth\n"
    "SPID\t7\nCUID\t1\nCOOKIE\t00\nDONE\n"
)


@dataclass
class ScriptedDovecot:
    """`answers`: what is said to each line but the first two, in order; None closes. `heard`: the lines."""

    path: Path
    answers: list[str | None]
    greeting: str = GREETING
    heard: list[str] = field(default_factory=list)

    talks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.talks.add(task)
        try:
            with suppress(OSError):
                await self._talk(reader, writer)
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.greeting.encode())
        answers = iter(self.answers)
        while line := await reader.readline():
            self.heard.append(line.decode().rstrip("\n"))
            if line.startswith((b"VERSION", b"CPID")):
                continue
            answer = next(answers, None)
            if answer is None:
                break
            writer.write(answer.encode() + b"\n")


@asynccontextmanager
async def scripted(
    path: Path, *answers: str | None, greeting: str = GREETING
) -> AsyncIterator[ScriptedDovecot]:
    script = ScriptedDovecot(path, list(answers), greeting)
    server = await asyncio.start_unix_server(script.serve, path)
    try:
        yield script
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*script.talks)
