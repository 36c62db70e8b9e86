"""What a session does with clients that are slow, say too much, or nothing."""

from __future__ import annotations

import asyncio
import socket

import pytest

from postroad.config.model import SubmissionConfig
from postroad.mail.events import SessionEnded
from tests.support.door import (
    ENVELOPE,
    MESSAGE,
    Client,
    FakeIntake,
    client,
    house,
    how_it_ended,
    into_data,
)
from tests.support.hand_loop import HandLoop, by_hand

# --- time ---


@by_hand
async def test_an_idle_client_is_told_421() -> None:
    async with house(tls="off", config=SubmissionConfig(idle_timeout=300.0)) as place, client(place) as one:
        await one.reply()
        await HandLoop.running().after(299.0)
        assert (await one.say("NOOP")).startswith("250 ")
        await HandLoop.running().after(301.0)
        assert await one.reply() == "421 4.4.2 Timed out"
        assert await one.rest() == b""
        assert await how_it_ended(place) == ["timeout"]


@by_hand
async def test_a_command_in_drips_does_not_move_the_limit() -> None:
    async with house(tls="off", config=SubmissionConfig(idle_timeout=300.0)) as place, client(place) as one:
        await one.reply()
        await drip(one, 301)
        assert await one.reply() == "421 4.4.2 Timed out"


async def drip(one: Client, seconds: int) -> None:
    """An octet a second."""
    for _ in range(seconds):
        one.send(b"N")
        await HandLoop.running().after(1.0)


@by_hand
async def test_a_pipelined_command_that_asks_waits_no_longer_than_others() -> None:
    config = SubmissionConfig(idle_timeout=300.0)
    async with house(tls="implicit", config=config) as place, client(place, tls=True) as one:
        await one.reply()
        await one.say("EHLO c")
        one.send(b"AUTH PLAIN AGFsaWNlAHdyb25n\r\nAUTH LOGIN\r\n")
        assert (await one.reply())[:3] == "535"
        assert (await one.reply())[:3] == "334"
        await HandLoop.running().after(301.0)
        assert await one.reply() == "421 4.4.2 Timed out"


@by_hand
async def test_data_has_a_limit_as_a_whole() -> None:
    config = SubmissionConfig(data_timeout=60.0, data_rate_window=1000.0)
    async with house(tls="off", auth="off", config=config) as place, client(place) as one:
        await into_data(one)
        await drip(one, 59)
        assert place.events.of(SessionEnded) == []
        await drip(one, 2)
        assert await one.reply() == "421 4.4.2 Timed out"
        assert place.intake.submissions == []


@by_hand
async def test_the_commit_takes_the_time_it_takes() -> None:
    gate = asyncio.Event()
    intake = FakeIntake(gate=gate.wait)
    config = SubmissionConfig(idle_timeout=1.0, data_timeout=1.0)
    async with house(tls="off", auth="off", config=config, intake=intake) as place, client(place) as one:
        await one.reply()
        one.send(ENVELOPE + MESSAGE)
        await intake.asked.wait()
        await HandLoop.running().after(100.0)
        gate.set()
        assert [(await one.reply())[:3] for _ in range(5)] == ["250", "250", "250", "354", "250"]


@by_hand
async def test_a_client_that_does_not_read_is_cut_off() -> None:
    config = SubmissionConfig(idle_timeout=300.0, max_errors=10**9)
    async with house(tls="off", config=config) as place:
        with socket.create_connection(("127.0.0.1", place.port)) as sock:
            sock.setblocking(False)
            with pytest.raises(ConnectionError):
                await HandLoop.running().until(asyncio.create_task(ask_for_ever(sock)))
        assert await how_it_ended(place) == ["timeout"]


async def ask_for_ever(sock: socket.socket) -> None:
    while True:
        await asyncio.get_running_loop().sock_sendall(sock, b"HELP\r\n" * 10_000)


# --- floods ---


async def test_a_line_without_end_is_not_kept() -> None:
    async with house(tls="off") as place, client(place) as one:
        await one.reply()
        one.send(b"x" * 400_000)
        assert await one.reply() == "500 5.5.2 Line too long"
        assert await how_it_ended(place) == ["limit"]


@pytest.mark.parametrize(
    ("command", "longest"), [("NOOP", 512), ("MAIL", 1241), ("RCPT", 1040), ("AUTH", 12288)]
)
async def test_each_verb_has_its_longest_line(command: str, longest: int) -> None:
    async with house(tls="off") as place, client(place) as one:
        await one.reply()
        for _ in range(25):
            await one.say("HELO c")
        fits = await one.say(command.ljust(longest - 2, "x").replace("x", " ", 1))
        over = await one.say(command.ljust(longest - 1, "x").replace("x", " ", 1))
        assert not fits.startswith("500 ")
        assert over == "500 5.5.2 Line too long"


async def test_one_hundred_idle_commands_are_patience_enough() -> None:
    async with house(tls="off", config=SubmissionConfig(max_errors=2)) as place, client(place) as one:
        await one.reply()
        one.send(b"NOOP\r\n" * 110)
        said = (await one.rest()).decode().splitlines()
        assert said == ["250 2.0.0 OK"] * 102 + ["421 4.7.0 Too many errors"]


async def test_a_list_behind_a_refused_mail_is_no_flood() -> None:
    config = SubmissionConfig(max_message_size=100, max_errors=3)
    async with house(tls="off", auth="off", config=config) as place, client(place) as one:
        await one.reply()
        await one.say("EHLO c")
        one.send(b"MAIL FROM:<a@x.example> SIZE=1000\r\n" + b"RCPT TO:<b@y.example>\r\n" * 50 + b"DATA\r\n")
        assert (await one.reply()).startswith("552 ")
        assert {await one.reply() for _ in range(51)} == {"503 5.5.1 Send MAIL first"}
        assert (await one.say("MAIL FROM:<a@x.example>")).startswith("250 ")
