"""The tables `commands.txt` and, where LMTP differs, `lmtp.txt` on every kind of listener."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from postroad.config.model import Listener, SubmissionConfig
from postroad.demo.process import HANGS_AFTER
from postroad.mail.events import InternalError
from tests.support.dialogue import unescape
from tests.support.door import Client, House, client, house

LISTENERS = {
    "starttls": Listener("127.0.0.1", 0, "starttls", "required"),
    "implicit": Listener("127.0.0.1", 0, "implicit", "required"),
    "off": Listener("127.0.0.1", 0, "off", "off"),
    "unix": Listener(path=Path("smtp.sock"), tls="off", auth="off"),
    "lmtp": Listener(path=Path("smtp.sock"), tls="off", auth="off", protocol="lmtp"),
}
PATIENT = SubmissionConfig(max_errors=10**6, max_idle_commands=10**6, max_auth_failures=10**6)
ALICE = "AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ="
Row = tuple[str, str, list[str]]
STATUS = re.compile(r"(2|4|5)\.[0-9]{1,3}\.[0-9]{1,3} ")


def rows(name: str) -> dict[str, str]:
    """What is said, and what must come back."""
    text = (Path(__file__).parent / name).read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {said.rstrip(" "): wanted for said, _, wanted in (line.partition("=> ") for line in lines)}


def table(listener: Listener) -> dict[str, str]:
    return rows("commands.txt") | (rows("lmtp.txt") if listener.protocol == "lmtp" else {})


@asynccontextmanager
async def place_with(kind: str) -> AsyncIterator[tuple[House, Listener]]:
    """A door with this listener; a socket is in a directory of its own, for a path may have 107 octets."""
    listener = LISTENERS[kind]
    with TemporaryDirectory(prefix="postroad-") as folder:
        if listener.path is not None:
            listener = replace(listener, path=Path(folder) / listener.path)
        async with house(listener=listener, config=PATIENT) as place:
            yield place, listener


def hello(listener: Listener) -> str:
    return "LHLO c" if listener.protocol == "lmtp" else "EHLO c"


async def enter(one: Client, listener: Listener, *, login: bool = True) -> None:
    await one.reply()
    if listener.tls == "starttls":
        await one.say("EHLO c")
        assert (await one.say("STARTTLS")).startswith("220 ")
        await one.start_tls()
    await one.say(hello(listener))
    if login and listener.auth != "off":
        assert (await one.say(ALICE)).startswith("235 ")


async def differences(
    kind: str, table: Mapping[str, str], *, login: bool
) -> list[tuple[str, str, list[str]]]:
    """The rows that are answered otherwise than they should be, with what was heard."""
    wrong = []
    async with place_with(kind) as (place, listener):
        tasks = len(asyncio.all_tasks())
        left = list(table.items())
        while left:
            async with client(place, tls=listener.tls == "implicit") as one:
                await enter(one, listener, login=login)
                while left:
                    said, wanted = left.pop(0)
                    heard = await play(one, said, wanted)
                    if not as_wanted(heard, wanted):
                        wrong.append((said, wanted, heard))
                    if not heard[-1].startswith("500 5.5.1") or (
                        not login and "235 " in heard[0] + heard[-2]
                    ):
                        break
                    # A handshake for each row would take longer than all the rest.
                    await one.say("RSET")
                    await one.say(hello(listener))
        assert place.events.of(InternalError) == []
        async with asyncio.timeout(HANGS_AFTER):
            while place.doors.sessions or len(asyncio.all_tasks()) > tasks:
                await asyncio.sleep(0.01)
    return wrong


@pytest.mark.parametrize("kind", LISTENERS)
async def test_every_command_gets_the_reply_that_the_rfcs_ask_for(kind: str) -> None:
    assert await differences(kind, table(LISTENERS[kind]), login=True) == []


@pytest.mark.parametrize("kind", ["starttls", "implicit"])
async def test_every_login_gets_the_reply_that_the_rfcs_ask_for(kind: str) -> None:
    assert await differences(kind, rows("logins.txt"), login=False) == []


async def play(one: Client, said: str, wanted: str) -> list[str]:
    """The replies to one row, and to an unknown verb behind it where the session goes on."""
    one.send(b"".join(unescape(word.rstrip(" ")) + b"\r\n" for word in said.split(" ; ")))
    heard = [await one.reply() for _ in wanted.split(", ")]
    if heard[-1][:3] not in ("221", "354", "421"):
        heard.append(await one.say("XYZZY"))
    return heard


def as_wanted(heard: list[str], wanted: str) -> bool:
    """One reply more than was asked for would be a command that nobody gave."""
    codes = wanted.split(", ")
    if heard[-1][:3] not in ("221", "354", "421"):
        codes.append("500 5.5.1")
    statuses = (reply[4:] for reply in heard if reply[0] != "3" and reply[4:9] != "mail.")
    return all(map(str.startswith, heard, codes)) and all(map(STATUS.match, statuses))


@pytest.mark.parametrize("kind", LISTENERS)
async def test_ehlo_names_what_is_honoured_in_this_state(kind: str) -> None:
    async with place_with(kind) as (place, listener), client(place, tls=listener.tls == "implicit") as one:
        await one.reply()
        first = await one.say(hello(listener))
        assert ("STARTTLS" in first) == (listener.tls == "starttls")
        assert ("AUTH " in first) == (listener.tls == "implicit")
        assert ("REQUIRETLS" in first) == (listener.tls == "implicit")
        assert "LIMITS RCPTMAX=1000 MAILMAX=100000" in first
    async with place_with(kind) as (place, listener), client(place, tls=listener.tls == "implicit") as one:
        await enter(one, listener)
        later = await one.say(hello(listener))
        assert "STARTTLS" not in later
        assert "AUTH " not in later
        assert ("REQUIRETLS" in later) == (listener.tls != "off")


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("starttls", "EHLO HELO STARTTLS MAIL", "EHLO HELO MAIL"),
        ("implicit", "EHLO HELO AUTH MAIL", "EHLO HELO MAIL"),
        ("off", "EHLO HELO MAIL", "EHLO HELO MAIL"),
        ("unix", "EHLO HELO MAIL", "EHLO HELO MAIL"),
        ("lmtp", "LHLO MAIL", "LHLO MAIL"),
    ],
)
async def test_help_names_what_is_honoured_in_this_state(kind: str, before: str, after: str) -> None:
    rest = "RCPT DATA BDAT RSET NOOP VRFY HELP QUIT"
    async with place_with(kind) as (place, listener), client(place, tls=listener.tls == "implicit") as one:
        await one.reply()
        await one.say(hello(listener))
        assert await one.say("HELP") == f"214 2.0.0 Commands: {before} {rest}"
    async with place_with(kind) as (place, listener), client(place, tls=listener.tls == "implicit") as one:
        await enter(one, listener)
        assert await one.say("HELP") == f"214 2.0.0 Commands: {after} {rest}"


async def test_before_tls_every_command_of_a_transaction_is_told_to_start_it() -> None:
    async with house(tls="starttls", auth="required") as place, client(place) as one:
        await one.reply()
        await one.say("EHLO c")
        for command in ("MAIL FROM:<a@x.example>", "RCPT TO:<b@y.example>", "DATA"):
            assert (await one.say(command)).startswith("530 5.7.0 ")
