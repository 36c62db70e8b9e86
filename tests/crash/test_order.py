"""The real daemon under strace: a 250 leaves after the syncs of the record and the row that it stands for."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from postroad.demo.process import HANGS_AFTER, DaemonProcess, free_port
from postroad.mail.queue_id import format_id, parse_id
from tests.support.daemon import Daemon
from tests.support.requires import require
from tests.support.submitting import Client, hand_in, queue_id

AT_ONCE = 12
LETTER = b"From: <a@sender.example>\r\nSubject: hello\r\n\r\nGood morning.\r\n"
LARGE = LETTER + b"x" * 78 + b"\r\n" + (b"y" * 78 + b"\r\n") * 20_000

_BEGUN = re.compile(r"(\d+) +(\w+)\(\d+<([^>]*)>(.*)", re.DOTALL)
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_ID = re.compile(rb'"id":"([0-9A-Z]{12})"')
_PROMISES = (
    re.compile(rb"^250 2\.0\.0 .*queued as ([0-9A-Z]{12})"),
    re.compile(rb'^\{"code":250,.*"id":"([0-9A-Z]{12})"'),
)


@dataclass(frozen=True)
class Call:
    """`done`: the call has returned 0; else it has begun, with these octets."""

    name: str
    path: str
    octets: bytes
    done: bool


def calls(trace: str) -> Iterator[Call]:
    begun: dict[str, tuple[str, str]] = {}
    for line in trace.splitlines():
        if match := _BEGUN.match(line):
            thread, name, path, rest = match.groups()
            path = _text(path).decode() if path.startswith("\\x") else path
            yield Call(name, path, b"".join(map(_text, _TEXT.findall(rest))), done=False)
            begun[thread] = name, path
            if rest.endswith(" = 0"):
                yield Call(name, path, b"", done=True)
        elif (match := _RESUMED.match(line)) and match[3].endswith(" = 0"):
            yield Call(*begun[match[1]], b"", done=True)


def _text(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


@dataclass
class Disk:
    """What of each message is durable, call by call: `written` by path, `syncing` what a sync covers."""

    written: dict[str, set[str]] = field(default_factory=dict)
    syncing: dict[str, set[str]] = field(default_factory=dict)
    records: set[str] = field(default_factory=set)
    rows: set[str] = field(default_factory=set)
    promised: list[str] = field(default_factory=list)

    def see(self, call: Call, known: set[str]) -> None:
        if call.name == "pwrite64" and not call.done:
            found = {id.decode() for id in _ID.findall(call.octets)}
            if call.path.endswith("-wal"):
                found = {id for id in known if parse_id(id).to_bytes(8, "big") in call.octets}
            self.written.setdefault(call.path, set()).update(found)
        elif call.name in ("fdatasync", "fsync") and not call.done:
            self.syncing[call.path] = set(self.written.get(call.path, ()))
        elif call.name in ("fdatasync", "fsync"):
            (self.rows if call.path.endswith("-wal") else self.records).update(self.syncing[call.path])
        elif found_promises := [m[1].decode() for each in _PROMISES if (m := each.match(call.octets))]:
            for id in found_promises:
                assert id in self.records, f"{id} promised before its record was synced"
                assert id in self.rows, f"{id} promised before its row was synced"
            self.promised += found_promises


def several(port: int, count: int) -> list[str]:
    """Ids of messages over one connection."""
    with Client(port) as client:
        return [
            queue_id(client.transact("a@sender.example", ["box@harbour.example"], LETTER))
            for _ in range(count)
        ]


def by_sendmail(daemon: Daemon) -> None:
    words = [sys.executable, "-c", "from postroad.cli.sendmail import program; program()"]
    subprocess.run(
        [*words, "-f", "a@sender.example", "box@harbour.example"],
        input=LETTER,
        env={"POSTROAD_CONFIG": str(daemon.config)},
        check=True,
        timeout=HANGS_AFTER,
    )


async def test_no_answer_leaves_before_the_syncs_that_it_stands_for(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    words = [require("strace"), "-D", "-f", "-y", "-xx", "-s", "3000000", "-o", str(trace)]
    kinds = "pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg"
    # Nobody listens there: what was accepted stays.
    daemon = Daemon({"harbour.example": free_port()})
    daemon.process = DaemonProcess(daemon.config, wrapper=(*words, "-e", f"trace={kinds}"))
    async with daemon:
        ids = await asyncio.to_thread(several, daemon.port, 1)
        large = asyncio.to_thread(hand_in, daemon.port, "a@sender.example", ["box@harbour.example"], LARGE)
        ids.append(queue_id(await large))
        clients = [asyncio.to_thread(several, daemon.port, 3) for _ in range(AT_ONCE)]
        for each in await asyncio.gather(*clients):
            ids += each
        await asyncio.to_thread(by_sendmail, daemon)
        waiting = {line["id"] for line in await daemon.queue()}
        assert await daemon.process.stop() == 0
    disk = Disk()
    for call in calls(trace.read_text()):
        disk.see(call, waiting)
    assert len(ids) == 2 + 3 * AT_ONCE
    assert sorted(disk.promised) == sorted(waiting)
    assert set(ids) < waiting


@pytest.mark.parametrize(
    ("order", "sound"), [("RrWw!", True), ("RWrw!", True), ("RrW!w", False), ("RWw!r", False)]
)
def test_an_answer_that_comes_too_early_would_be_seen(order: str, sound: bool) -> None:
    """R, r: record written, synced. W, w: the same of the row. !: the answer."""
    id = format_id(2**59 + 1)
    record = b'{"message":{"id":"%b"}}' % id.encode()
    row, answer = parse_id(id).to_bytes(8, "big"), f"250 2.0.0 Ok: queued as {id}\r\n".encode()
    lines = {
        "R": f'7 pwrite64(3</q/1.seg>, "{escaped(record)}", 9, 0) = 9',
        "r": "7 fdatasync(3</q/1.seg>) = 0",
        "W": f'8 pwrite64(4</q/queue.sqlite-wal>, "{escaped(row)}", 8, 0) = 8',
        "w": "8 fdatasync(4</q/queue.sqlite-wal> <unfinished ...>\n8 <... fdatasync resumed>) = 0",
        "!": f'9 write(5<socket:[1]>, "{escaped(answer)}", 40) = 40',
    }
    disk = Disk()
    with contextlib.nullcontext() if sound else pytest.raises(AssertionError, match="before its"):
        for call in calls("\n".join(lines[each] for each in order)):
            disk.see(call, {id})
        assert disk.promised == [id]


def escaped(octets: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in octets)
