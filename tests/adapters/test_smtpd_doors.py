"""Doors that systemd opened, and those for IPv6."""

from __future__ import annotations

import asyncio
import os
import socket
from ipaddress import ip_network
from pathlib import Path

import pytest

from postroad.adapters.smtpd_listen import SocketMismatch
from postroad.config.model import Listener
from tests.support.door import Client, client, house, send

HERE = ip_network("127.0.0.1/32")
ELSEWHERE = ip_network("192.0.2.0/24")


# --- systemd ---


async def test_a_listener_takes_the_sockets_passed_under_its_name(tmp_path: Path) -> None:
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "passed.sock"))
    sockets = [
        socket.create_server(("127.0.0.1", 0)),
        socket.create_server(("::1", 0), family=socket.AF_INET6),
    ]
    listener = Listener(passed="mail", tls="off", auth="off")
    async with house(listener=listener, passed=[("mail", sock) for sock in (*sockets, unix)]) as place:
        ports = [sock.getsockname()[1] for sock in sockets]
        wanted = (f"127.0.0.1:{ports[0]}", f"[::1]:{ports[1]}", f"unix:{tmp_path}/passed.sock")
        assert place.doors.addresses == wanted
        for address in wanted:
            place.doors.addresses = (address,)
            async with client(place) as one:
                assert (await one.reply()).startswith("220 ")
                await one.say("EHLO c")
                assert (await send(one))[-1].startswith("250 ")
        accounts = [submission.account for submission in place.intake.submissions]
        assert accounts == ["net:127.0.0.1", "net:::1", f"uid:{os.getuid()}"]
    assert (tmp_path / "passed.sock").exists()


@pytest.mark.parametrize(
    ("listener", "names", "why"),
    [
        (Listener(passed="mail", tls="off", auth="off"), [], "systemd:mail: systemd passed no socket"),
        (
            Listener("127.0.0.1", 0, "off", "off"),
            ["other"],
            r'that no \[\[listener\]\] names: 127.*\(other\); give them one, as address = "systemd:other"',
        ),
    ],
)
async def test_names_and_passed_sockets_must_meet(listener: Listener, names: list[str], why: str) -> None:
    passed = [(name, socket.create_server(("127.0.0.1", 0))) for name in names]
    with pytest.raises(SocketMismatch, match=why):
        async with house(listener=listener, passed=passed):
            pass


async def test_a_passed_unix_socket_asks_for_no_login(tmp_path: Path) -> None:
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "passed.sock"))
    with pytest.raises(SocketMismatch, match="knows its clients by their uid"):
        async with house(listener=Listener(passed="mail"), passed=[("mail", unix)]):
            pass
    unix.close()


# --- IPv6 ---


@pytest.mark.parametrize(
    ("host", "through", "address"),
    [("::", "::1", "::1"), ("::", "127.0.0.1", "127.0.0.1"), ("::1", "::1", "::1")],
)
async def test_ipv6_serves_and_knows_ipv4_clients_by_their_address(
    host: str, through: str, address: str
) -> None:
    async with house(listener=Listener(host, 0, "off", "off")) as place:
        reader, writer = await asyncio.open_connection(through, place.port)
        one = Client(reader, writer)
        await one.reply()
        await one.say(f"EHLO [IPv6:{host}]" if ":" in through else "EHLO c")
        assert (await send(one))[-1].startswith("250 ")
        assert place.intake.submissions[0].account == f"net:{address}"
        await one.close()


# --- what is offered where ---


async def test_mail_is_not_scheduled_at_the_port_where_hosts_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(tls="off", auth="off") as place:
        for relays in (False, True):
            if relays:
                monkeypatch.setattr("postroad.adapters.smtpd_entry.RELAY_PORT", place.port)
            async with client(place) as one:
                await one.reply()
                assert ("FUTURERELEASE" in await one.say("EHLO c")) is not relays
                said = await one.say("MAIL FROM:<a@x.example> HOLDFOR=60")
                assert said[:3] == ("555" if relays else "250")
