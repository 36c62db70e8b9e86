from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from postroad.adapters.http_client import HttpError
from postroad.adapters.rspamd import ACTIONS, Rspamd, RspamdError, verdict
from postroad.mail.message import Envelope, Peer
from postroad.mail.policy import PASS, Verdict, checked
from tests.support.build import BODY, HEAD, envelope_recipient, queue_id
from tests.support.policies import view


@dataclass
class Scanner:
    """Answers every request with the same octets; keeps what it was asked."""

    answer: bytes
    port: int = 0
    asked: list[tuple[list[str], bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        size = next(int(line.split(": ")[1]) for line in head if line.startswith("Content-Length"))
        self.asked.append((head, await reader.readexactly(size)))
        writer.write(self.answer)
        writer.close()


@asynccontextmanager
async def scanner(answer: bytes) -> AsyncIterator[Scanner]:
    place = Scanner(answer)
    server = await asyncio.start_server(place.serve, "127.0.0.1", 0)
    place.port = server.sockets[0].getsockname()[1]
    async with server:
        yield place


def http(body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    return b"\r\n".join((b"HTTP/1.1 " + status, *fields, b"", body))


def said(**words: Any) -> bytes:
    body = json.dumps({"action": "no action", "score": 1.5, "required_score": 15, **words}).encode()
    return http(body, b"Content-Length: %d" % len(body))


def rspamd(place: Scanner, **options: Any) -> Rspamd:
    return Rspamd(f"http://127.0.0.1:{place.port}", "mail.example.com", **options)


async def test_the_whole_message_is_shown_with_all_that_is_known_beside_it() -> None:
    async with scanner(said()) as place:
        body = b"x" * 700_000
        assert await rspamd(place, password="secret").consider(view(body=body)) == PASS
    ((head, octets),) = place.asked
    assert octets == HEAD + body
    assert head == [
        "POST /checkv2 HTTP/1.1",
        f"Host: 127.0.0.1:{place.port}",
        "Connection: close",
        f"Content-Length: {len(HEAD) + len(body)}",
        f"Queue-Id: {queue_id(1)}",
        "IP: 203.0.113.7",
        "Helo: client.example",
        "Hostname: unknown",
        "User: user",
        "From: a@example.com",
        "Rcpt: b@example.org",
        "MTA-Name: mail.example.com",
        "TLS-Version: TLSv1.3",
        "TLS-Cipher: TLS_AES_256_GCM_SHA384",
        "Password: secret",
    ]


async def test_nothing_that_a_client_says_makes_a_header_of_its_own() -> None:
    evil = Peer("userid 1000", helo="x\r\nPassword: y", tls="a b\r\nc")
    envelope = Envelope(None, (envelope_recipient("b@example.org"), envelope_recipient("c@example.org")))
    async with scanner(said()) as place:
        await rspamd(place).consider(view(peer=evil, envelope=envelope, account="a\nb"))
    ((head, octets),) = place.asked
    assert octets == HEAD + BODY
    assert "Helo: x??Password: y" in head
    assert "IP: 127.0.0.1" in head
    assert "From: <>" in head
    assert [line for line in head if line.startswith("Rcpt")] == [
        "Rcpt: b@example.org",
        "Rcpt: c@example.org",
    ]


async def test_a_message_too_large_is_not_shown() -> None:
    async with scanner(said(action="reject")) as place:
        assert await rspamd(place, max_size=50).consider(view()) == PASS
    assert place.asked == []


CHUNKED = http(b'5\r\n{"act\r\n14;x=y\r\nion": "no action" } \r\n0\r\n\r\n', b"Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED,
        http(b'{"action": "no action"}', b"Content-Type: application/json"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + said(),
        said().replace(b"HTTP/1.1 200 OK", b"HTTP/1.0 200"),
    ],
    ids=["chunked", "until closed", "continue first", "1.0"],
)
async def test_an_answer_may_come_in_every_form_of_http(answer: bytes) -> None:
    async with scanner(answer) as place:
        assert await rspamd(place).consider(view()) == PASS


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"220 mail.example.com ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        http(b"{}", b"Content-Length: 50"),
        http(b"{}", b"Content-Length: -2"),
        http(b"{}", b"Content-Length: 99999999999"),
        http(b"{}", b"no colon"),
        http(b"{}", b"X: " + b"x" * 20_000),
        http(b"{}", *[b"X: y"] * 200),
        http(b"z\r\n", b"Transfer-Encoding: chunked"),
        http(b"2\r\n{}x\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"),
        http(b"2\r\n{}", b"Transfer-Encoding: chunked"),
        http(b"ffffffff\r\n{}", b"Transfer-Encoding: chunked"),
        http(b" " * 2_000_000),
        b"\xff" * 100_000,
    ],
    ids=range(17),
)
async def test_what_is_no_answer_is_an_error_that_can_be_printed(answer: bytes) -> None:
    async with scanner(answer) as place:
        with pytest.raises(HttpError) as caught:
            await rspamd(place).consider(view())
    assert str(caught.value).isprintable()
    assert f"127.0.0.1:{place.port}" in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        http(b"<html>", b"Content-Length: 6"),
        http(b"[]", b"Content-Length: 2"),
        http(b"\xff\xff", b"Content-Length: 2"),
        http(b"{}", b"Content-Length: 2"),
        http(b'{"action": "no action"}', status=b"500 Internal"),
        http(b'{"action": "no action"}', status=b"403 Forbidden"),
        said(action="explode\x1b"),
        said(action=["reject"]),
        said(milter={"add_headers": [1]}),
        said(milter={"add_headers": {"X-A": 1}}),
        said(milter={"remove_headers": "x"}),
    ],
    ids=range(11),
)
async def test_an_answer_that_means_nothing_is_an_error(answer: bytes) -> None:
    async with scanner(answer) as place:
        with pytest.raises(RspamdError) as caught:
            await rspamd(place).consider(view())
    assert str(caught.value).isprintable()


async def test_nobody_at_the_address_is_an_error() -> None:
    async with scanner(b"") as place:
        pass
    with pytest.raises(HttpError):
        await rspamd(place).consider(view())


@pytest.mark.parametrize(
    ("action", "words", "expected"),
    [
        ("no action", {}, Verdict()),
        ("greylist", {}, Verdict()),
        ("add header", {}, Verdict(add=(("X-Spam", "Yes"),))),
        (
            "rewrite subject",
            {"subject": "[SPAM] hello"},
            Verdict(remove=("Subject",), add=(("Subject", "[SPAM] hello"),)),
        ),
        ("rewrite subject", {}, Verdict()),
        ("quarantine", {}, Verdict(hold="quarantine, score 16.00 of 15.00")),
        ("discard", {}, Verdict(hold="discard, score 16.00 of 15.00")),
    ],
)
def test_an_action_means_what_is_usual(action: str, words: dict[str, Any], expected: Verdict) -> None:
    answer = {"action": action, "score": 16, "required_score": 15, **words}
    assert checked(verdict(answer, ACTIONS)) == expected


@pytest.mark.parametrize(
    ("action", "words", "expected"),
    [
        ("reject", {}, "550 5.7.1 Refused for its content"),
        ("soft reject", {}, "451 4.7.1 Put off for its content, try again later"),
        ("reject", {"messages": {"smtp_message": "Too much\r\n250 ü"}}, "550 5.7.1 Too much\\r\\n250 ?"),
        ("soft reject", {"messages": {"smtp_message": "Try again later"}}, "451 4.7.1 Try again later"),
    ],
)
def test_a_refusal_says_what_rspamd_says(action: str, words: dict[str, Any], expected: str) -> None:
    assert str(checked(verdict({"action": action, **words}, ACTIONS)).refusal) == expected


def test_header_changes_of_modules_are_made() -> None:
    milter = {
        "add_headers": {
            "X-Spamd-Bar": "/",
            "X-Two": ["1", {"value": "2", "order": 0}],
            "X-Folded": {"value": "a;\n\tb", "order": 1},
        },
        "remove_headers": {"X-Spam": 0},
    }
    made = verdict({"action": "no action", "milter": milter}, ACTIONS)
    assert made.remove == ("X-Spam",)
    assert made.add == (("X-Spamd-Bar", "/"), ("X-Two", "1"), ("X-Two", "2"), ("X-Folded", "a;\n\tb"))


async def test_an_action_can_be_given_another_meaning() -> None:
    async with scanner(said(action="reject", score=20)) as place:
        found = await rspamd(place, actions={"reject": "hold"}).consider(view())
    assert found == Verdict(hold="reject, score 20.00 of 15.00")


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:11333", "http://", "http://u:p@x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an http"):
        Rspamd(url, "mail.example.com")
