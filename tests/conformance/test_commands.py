"""The table `commands.txt` on every kind of listener, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from postroad.mail.events import InternalError
from tests.support.dialogue import unescape
from tests.support.door import Client, client, house

LISTENERS = {
    "starttls": ("starttls", "required"),
    "implicit": ("implicit", "required"),
    "off": ("off", "off"),
}
ALICE = "AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ="
STATUS = re.compile(r"(2|4|5)\.[0-9]{1,3}\.[0-9]{1,3} ")


def table() -> list[str]:
    text = (Path(__file__).parent / "commands.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


async def enter(one: Client, tls: str) -> None:
    await one.reply()
    if tls == "starttls":
        await one.say("EHLO c")
        assert (await one.say("STARTTLS")).startswith("220 ")
        await one.start_tls()
    await one.say("EHLO c")
    if tls != "off":
        assert (await one.say(ALICE)).startswith("235 ")


@pytest.mark.parametrize("kind", LISTENERS)
async def test_every_command_gets_the_reply_that_the_rfcs_ask_for(kind: str) -> None:
    tls, auth = LISTENERS[kind]
    wrong = []
    async with house(tls=tls, auth=auth) as place:
        tasks = len(asyncio.all_tasks())
        for case in table():
            said, _, wanted = case.partition("=> ")
            async with client(place, tls=tls == "implicit") as one:
                await enter(one, tls)
                one.send(
                    b"".join(unescape(word.rstrip(" ")) + b"\r\n" for word in said.rstrip(" ").split(" ; "))
                )
                heard = [await one.reply() for _ in wanted.split(", ")]
                # One reply more than was asked for would be a command that nobody gave.
                end = "" if heard[-1].startswith("221 ") else await one.say("XYZZY")
            codes = wanted.split(", ")
            if not all(reply.startswith(code) for reply, code in zip(heard, codes, strict=True)):
                wrong.append((case, heard))
            elif end and not end.startswith("500 5.5.1") and not heard[-1].startswith("354"):
                wrong.append((case, [*heard, end]))
            plain = [reply for reply in heard if reply[0] != "3" and not reply.startswith("250 mail.")]
            if not all(STATUS.match(reply[4:]) for reply in plain):
                wrong.append((case, plain))
        assert wrong == []
        assert place.events.of(InternalError) == []
        async with asyncio.timeout(10):
            while place.doors.sessions or len(asyncio.all_tasks()) > tasks:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", LISTENERS)
async def test_ehlo_names_what_is_honoured_in_this_state(kind: str) -> None:
    tls, auth = LISTENERS[kind]
    async with house(tls=tls, auth=auth) as place, client(place, tls=tls == "implicit") as one:
        await one.reply()
        first = await one.say("EHLO c")
        assert ("STARTTLS" in first) == (tls == "starttls")
        assert ("AUTH " in first) == (tls == "implicit")
        assert "LIMITS RCPTMAX=1000 MAILMAX=100000" in first
    async with house(tls=tls, auth=auth) as place, client(place, tls=tls == "implicit") as one:
        await enter(one, tls)
        later = await one.say("EHLO c")
        assert "STARTTLS" not in later
        assert "AUTH " not in later


async def test_before_tls_every_command_of_a_transaction_is_told_to_start_it() -> None:
    async with house(tls="starttls", auth="required") as place, client(place) as one:
        await one.reply()
        await one.say("EHLO c")
        for command in ("MAIL FROM:<a@x.example>", "RCPT TO:<b@y.example>", "DATA"):
            assert (await one.say(command)).startswith("530 5.7.0 ")
