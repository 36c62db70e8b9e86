r"""Submission dialogues as text that anyone can read, played against the real door.

    door: tls=starttls auth=optional max_recipients=2
    S: 220 *                    a line the server must say; * stands for anything
    S+ 250                      a whole reply of this code, however many lines it has
    C: EHLO client.example      a line the client says, CRLF added; neighbours leave in one write
    C+ MAIL FROM:<a\n           octets as they are, \r \n \0 \t \\ and \xHH understood
    C: <tls>  <eof>  <leave>    a handshake; half-close; vanish
    S: <closed>                 the server must have closed, without another word
    Q: alice: <a@x.example> -> <b@y.example> <c@y.example>
    Q| Subject: hi              the message that reached intake, its lines in order

Lines that begin with # and empty lines mean nothing. Every message that reaches
intake must be written down with Q, and every reply with S.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from postroad.config.model import SubmissionConfig
from postroad.demo.process import HANGS_AFTER
from postroad.mail.message import Submission
from tests.support.door import Client, House, client, house

_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)")
_NAMED = {"r": "\r", "n": "\n", "0": "\0", "t": "\t", "\\": "\\"}


@dataclass
class Dialogue:
    """A script: the door's settings, the steps in order, the messages expected."""

    name: str
    tls: str = "starttls"
    auth: str = "required"
    config: SubmissionConfig = field(default_factory=SubmissionConfig)
    steps: list[tuple[int, str, str]] = field(default_factory=list)
    queued: list[str] = field(default_factory=list)


def read(path: Path) -> Dialogue:
    found = Dialogue(path.stem)
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        mark, text = line[:2], line[2:].removeprefix(" ")
        if not line or line.startswith("#"):
            continue
        if line.startswith("door:"):
            _settle(found, line.removeprefix("door:"))
        elif mark in ("C:", "C+", "S:", "S+"):
            found.steps.append((number, mark, text))
        elif mark in ("Q:", "Q|"):
            found.queued.append(text)
        else:
            raise ValueError(f"{path}:{number}: neither C nor S nor Q")
    return found


async def play(dialogue: Dialogue) -> None:
    """Raises AssertionError where the door says something else, with the line of the script."""
    async with house(tls=dialogue.tls, auth=dialogue.auth, config=dialogue.config) as place:
        async with client(place, tls=dialogue.tls == "implicit") as one:
            for number, mark, text in dialogue.steps:
                await _step(one, number, mark, text)
        place.doors.close()
        await place.doors.wait_closed()
        told = [line for one in place.intake.submissions for line in _told(place, one)]
        assert told == dialogue.queued


async def _step(one: Client, number: int, mark: str, text: str) -> None:
    if mark == "S:":
        heard = await asyncio.wait_for(one.reader.readline(), HANGS_AFTER)
        said = heard.decode("ascii").removesuffix("\r\n") if heard else "<closed>"
        assert _matches(text, said), f"line {number}: wanted {text!r}, heard {said!r}"
    elif mark == "S+":
        reply = await one.reply()
        assert reply.startswith(text), f"line {number}: wanted {text} and more, heard {reply!r}"
    elif text == "<tls>":
        await one.start_tls()
    elif text == "<eof>":
        one.half_close()
    elif text == "<leave>":
        await one.close()
    else:
        one.send(text if mark == "C:" else unescape(text))


def unescape(text: str) -> bytes:
    r"""\r \n \0 \t \\ and \xHH as the octets they name."""

    def octet(match: re.Match[str]) -> str:
        name = match[1]
        return chr(int(name[1:], 16)) if name[0] == "x" and len(name) == 3 else _NAMED[name]

    return _ESCAPE.sub(octet, text).encode("latin-1")


def _matches(pattern: str, said: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), said) is not None


def _settle(found: Dialogue, text: str) -> None:
    numbers: dict[str, Any] = {}
    for word in text.split():
        key, _, value = word.partition("=")
        if key in ("tls", "auth"):
            setattr(found, key, value)
        elif key == "bare_newlines":
            numbers[key] = value
        elif key == "trusted":
            numbers["trusted_networks"] = ()
        else:
            numbers[key] = float(value) if "timeout" in key else int(value)
    found.config = replace(found.config, **numbers)


def _told(place: House, submission: Submission) -> list[str]:
    envelope = submission.envelope
    sender = f"<{envelope.sender or ''}>"
    recipients = " ".join(f"<{recipient.address}>" for recipient in envelope.recipients)
    text = place.body(submission).decode("latin-1")
    return [f"{submission.account}: {sender} -> {recipients}", *text.removesuffix("\r\n").split("\r\n")]
