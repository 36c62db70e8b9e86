"""Doors that are Unix sockets, and those that speak LMTP."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from postroad.adapters.smtpd_listen import BindError
from postroad.config.model import Listener, SubmissionConfig
from postroad.mail.events import InternalError
from tests.support.door import MESSAGE, FakeIntake, client, house, send


def local(path: Path, protocol: str = "smtp", **words: object) -> Listener:
    return Listener(path=path / "smtp.sock", tls="off", auth="off", protocol=protocol, **words)  # type: ignore[arg-type]


async def test_a_unix_socket_knows_its_client_by_uid(tmp_path: Path) -> None:
    config = SubmissionConfig(trusted_networks=())
    async with house(listener=local(tmp_path, mode=0o640), config=config) as place, client(place) as one:
        assert place.doors.addresses == (f"unix:{tmp_path}/smtp.sock",)
        assert (tmp_path / "smtp.sock").stat().st_mode & 0o777 == 0o640
        assert (await one.reply()).startswith("220 ")
        await one.say("EHLO c")
        assert (await send(one))[-1].startswith("250 ")
        (queued,) = place.intake.submissions
        assert (queued.account, queued.peer.address) == (f"uid:{os.getuid()}", f"userid {os.getuid()}")
        place.doors.close()
        assert not (tmp_path / "smtp.sock").exists()


async def test_limits_hold_on_a_unix_socket(tmp_path: Path) -> None:
    config = SubmissionConfig(max_connections_per_address=1)
    async with house(listener=local(tmp_path), config=config) as place, client(place) as one:
        await one.reply()
        async with client(place) as two:
            assert await two.reply() == "421 4.7.0 Too many connections from your address"


async def test_a_socket_left_behind_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "smtp.sock"))
    async with house(listener=local(tmp_path)):
        with pytest.raises(BindError, match="another daemon listens"):
            async with house(listener=local(tmp_path)):
                pass
        assert (tmp_path / "smtp.sock").exists()


async def test_lmtp_answers_for_each_recipient(tmp_path: Path) -> None:
    async with house(listener=local(tmp_path, "lmtp")) as place, client(place) as one:
        assert await one.reply() == "220 mail.example.com LMTP Postroad"
        assert await one.say("EHLO c") == "500 5.5.1 Unknown command"
        assert await one.say("MAIL FROM:<a@x.example>") == "503 5.5.1 Send LHLO first"
        words = await one.say("LHLO c")
        assert all(word in words for word in ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"))
        await one.say("MAIL FROM:<a@x.example>")
        for address in ("b@y.example", "no address", "c@y.example"):
            await one.say(f"RCPT TO:<{address}>")
        await one.say("DATA")
        one.send(MESSAGE + b"NOOP\r\n")
        said = [await one.reply() for _ in range(3)]
        assert said == [*["250 2.0.0 Queued as 000000000001"] * 2, "250 2.0.0 OK"]
        assert place.intake.submissions[0].peer.protocol == "LMTP"


async def test_lmtp_answers_for_each_recipient_where_the_message_is_refused(tmp_path: Path) -> None:
    intake = FakeIntake(error=RuntimeError("a bug of the test"))
    async with house(listener=local(tmp_path, "lmtp"), intake=intake) as place, client(place) as one:
        await one.reply()
        await one.say("LHLO c")
        one.send(b"MAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<c@y.example>\r\nDATA\r\n")
        assert [(await one.reply())[:3] for _ in range(4)] == ["250", "250", "250", "354"]
        one.send(MESSAGE)
        assert [(await one.reply())[:3] for _ in range(2)] == ["451", "451"]
        one.send(
            b"MAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<c@y.example>\r\n"
            b"DATA\r\nA: b\0\r\n.\r\nNOOP\r\n"
        )
        assert [(await one.reply())[:3] for _ in range(7)] == [
            "250",
            "250",
            "250",
            "354",
            "554",
            "554",
            "250",
        ]
        assert len(place.events.of(InternalError)) == 1


async def test_lmtp_answers_for_each_recipient_after_the_last_chunk(tmp_path: Path) -> None:
    async with house(listener=local(tmp_path, "lmtp")) as place, client(place) as one:
        await one.reply()
        await one.say("LHLO c")
        one.send(b"MAIL FROM:<>\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<c@y.example>\r\nBDAT 6\r\nA: b\r\n")
        assert [(await one.reply())[:3] for _ in range(4)] == ["250"] * 4
        one.send(b"BDAT 4 LAST\r\n\r\nx\nNOOP\r\n")
        assert len([await one.reply() for _ in range(3)]) == 3


async def test_lmtp_without_a_recipient_has_nothing_to_answer_for(tmp_path: Path) -> None:
    async with house(listener=local(tmp_path, "lmtp")) as place, client(place) as one:
        await one.reply()
        await one.say("LHLO c")
        await one.say("MAIL FROM:<a@x.example>")
        await one.say("RCPT TO:<no address>")
        assert await one.say("DATA") == "503 5.5.1 No valid recipients"
