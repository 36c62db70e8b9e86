"""Clients that stop, slow down or vanish at every point of a session: nothing of them stays."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from postroad.adapters.smtpd_bdat import ChunkSession
from postroad.config.model import SubmissionConfig
from postroad.demo.process import HANGS_AFTER
from postroad.mail.events import InternalError
from tests.support.door import Client, House, client, house

PATIENT = SubmissionConfig(spill_threshold=10)
HASTY = replace(PATIENT, idle_timeout=0.1, data_timeout=0.1)

Step = Callable[[Client], Awaitable[object]]


def saying(*lines: bytes) -> Step:
    async def step(one: Client) -> None:
        await one.reply()
        for line in lines:
            one.send(line)
            if line.endswith(b"\r\n"):
                await one.reply()

    return step


async def nothing(one: Client) -> None:
    pass


OPEN = (b"EHLO c\r\n", b"MAIL FROM:<a@x.example>\r\n", b"RCPT TO:<b@y.example>\r\n")
STATES: dict[str, tuple[str, Step]] = {
    "connected": ("off", nothing),
    "greeted": ("off", saying()),
    "in a command": ("off", saying(b"EHL")),
    "after EHLO": ("off", saying(b"EHLO c\r\n")),
    "after MAIL": ("off", saying(*OPEN[:2])),
    "after RCPT": ("off", saying(*OPEN)),
    "in DATA": ("off", saying(*OPEN, b"DATA\r\n", b"Subject: s\r\n\r\nhalf of a line that is long")),
    "in BDAT": ("off", saying(*OPEN, b"BDAT 1000\r\nSubject: s\r\n\r\nhalf of a line that is long")),
    "between chunks": ("off", saying(*OPEN, b"BDAT 30\r\nSubject: s\r\n\r\n12345678901234\r\n")),
    "before the handshake": ("implicit", nothing),
    "in the handshake": ("implicit", lambda one: send(one, b"\x16\x03\x01\x02\x00\x01\x00")),
    "before the handshake of STARTTLS": ("starttls", saying(b"STARTTLS\r\n")),
    "in the handshake of STARTTLS": ("starttls", saying(b"STARTTLS\r\n", b"\x16\x03\x01\x02\x00\x01")),
    "in AUTH": ("in tls", saying(b"EHLO c\r\n", b"AUTH LOGIN\r\n", b"YWxp")),
    "in TLS": ("in tls", saying(*OPEN[:1])),
}


async def send(one: Client, octets: bytes) -> None:
    one.send(octets)


async def close(one: Client) -> None:
    one.writer.close()


async def reset(one: Client) -> None:
    """As a machine that was switched off and on again."""
    sock = one.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.writer.transport.abort()


async def half_close(one: Client) -> None:
    if one.writer.can_write_eof():
        one.half_close()
    await one.rest()


async def fall_silent(one: Client) -> None:
    """Until the server has had enough."""
    with contextlib.suppress(ConnectionError):
        await one.rest()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settled(place: House, tasks: int, open_before: int) -> None:
    async with asyncio.timeout(HANGS_AFTER):
        while place.doors.sessions or len(asyncio.all_tasks()) > tasks or descriptors() > open_before:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("leaving", [close, reset, half_close, fall_silent], ids=lambda way: way.__name__)
@pytest.mark.parametrize("state", STATES)
async def test_a_client_that_leaves_leaves_nothing(
    state: str, leaving: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("smtpd_stream", "smtpd_accept"):
        monkeypatch.setattr(f"postroad.adapters.{module}.LINGER_SECONDS", 0.1)
        if "handshake" in state:
            # Others make theirs, however long they take.
            monkeypatch.setattr(f"postroad.adapters.{module}.HANDSHAKE_SECONDS", 0.1)
    tls, reach = STATES[state]
    listener = "implicit" if tls == "in tls" else tls
    auth = "off" if tls == "off" else "optional"
    # Over TLS there is no half of a close.
    config = HASTY if leaving in (half_close, fall_silent) else PATIENT
    async with house(tls=listener, auth=auth, config=config) as place:
        tasks, before = len(asyncio.all_tasks()), descriptors()
        for _ in range(3):
            async with client(place, tls=tls == "in tls") as one:
                # Where the server has had enough before, that is its right.
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    await reach(one)
                    await leaving(one)
        await settled(place, tasks, before)
        assert place.intake.submissions == []
        assert place.spool.waiting == {}
        assert place.events.of(InternalError) == []
        gc.collect()
        assert [each for each in gc.get_objects() if type(each) is ChunkSession] == []
