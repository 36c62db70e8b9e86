"""What quickstart finds out of the world: plain sentences, an end to each look, none without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from postroad.cli import quickstart_checks
from postroad.cli.quickstart_checks import Findings, clock, look, own_addresses
from postroad.demo.process import HANGS_AFTER
from tests.support.dns_server import DnsServer

ZONE = {
    "example.com": {"MX": ["10 mx.example.com."], "TXT": ['"v=spf1 " "mx -all"', '"other"']},
    "mx.example.com": {"A": ["127.0.0.1"]},
    "mail.example.com": {"A": ["192.0.2.7"]},
    "7.2.0.192.in-addr.arpa": {"PTR": ["mail.example.com."]},
    "8.2.0.192.in-addr.arpa": {"PTR": ["other.example."]},
    "9.2.0.192.in-addr.arpa": {},
}


async def found(
    server: DnsServer,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    own: Sequence[str] = ("192.0.2.7",),
    patience: float = HANGS_AFTER,
) -> tuple[Findings, dict[str, bool | None]]:
    monkeypatch.setattr(quickstart_checks, "own_addresses", lambda: tuple(own))
    monkeypatch.setattr(quickstart_checks, "PATIENCE", patience)
    nameservers = [("127.0.0.1", server.port)]
    result = await asyncio.to_thread(look, "example.com", "mail.example.com", nameservers, port)
    return result, {check.name: check.good for check in result.checks}


async def test_where_all_is_well_all_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.example.com ESMTP\r\n")
        await reader.read()
        writer.close()

    receiver = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = receiver.sockets[0].getsockname()[1]
    async with receiver, DnsServer(ZONE) as server:
        findings, good = await found(server, port, monkeypatch)
    assert {name: value for name, value in good.items() if name != "clock"} == {
        "resolver": True,
        "PTR": True,
        "name": True,
        "port 25": True,
    }
    assert findings.spf == "v=spf1 mx -all"
    assert findings.mx == ("mx.example.com",)


@pytest.mark.parametrize(
    ("own", "good", "words"),
    [
        (["192.0.2.8"], False, "is other.example"),
        (["192.0.2.9"], False, "is missing"),
        ([], None, "no public address of its own"),
    ],
)
async def test_the_way_back_is_told(
    monkeypatch: pytest.MonkeyPatch, own: list[str], good: bool | None, words: str
) -> None:
    async with DnsServer(ZONE) as server:
        findings, _ = await found(server, 1, monkeypatch, own)
    (check,) = [check for check in findings.checks if check.name == "PTR"]
    assert check.good is good
    assert words in check.text


async def test_a_port_that_nobody_answers_at_is_told_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    async with DnsServer(ZONE) as server:
        findings, good = await found(server, 1, monkeypatch)
    assert good["port 25"] is False
    assert any("many providers block it" in check.text for check in findings.checks)


async def test_without_an_answer_it_says_so_in_plain_words_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with DnsServer(ZONE, drop=frozenset(ZONE)) as server:
        findings, good = await found(server, 1, monkeypatch, patience=0.3)
    assert (good["resolver"], good["port 25"]) == (False, None)
    assert "is this machine offline?" in findings.checks[0].text


def test_the_clock_is_asked_of_the_kernel_alone() -> None:
    assert clock().text
    assert all("." in address or ":" in address for address in own_addresses())
