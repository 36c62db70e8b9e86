"""The daemon reads its configuration again: whole or not at all, and nobody who is being served notices."""

from __future__ import annotations

import asyncio
import json
import os
import smtplib
import ssl
from dataclasses import dataclass
from pathlib import Path

from postroad.adapters import local_client
from postroad.adapters.accounts_file import add_account
from postroad.demo.house import self_signed
from postroad.demo.process import HANGS_AFTER
from postroad.demo.world import Site, World
from tests.support.daemon import Daemon

LETTER = b"From: <anna@sender.example>\r\nSubject: x\r\n\r\nx\r\n"
RELOADS = 100
WARM = 20
FEW = 4


@dataclass(frozen=True)
class Held:
    """What a process holds of the system."""

    resident: int
    descriptors: int
    threads: int
    tasks: int


def reload(daemon: Daemon) -> dict[str, object]:
    (answer,) = local_client.ask(daemon.directory / "state/postroad.sock", {"verb": "reload"})
    return answer


async def held(daemon: Daemon) -> Held:
    """Of a daemon in which nothing is under way but one open session."""
    socket = daemon.directory / "state/postroad.sock"
    while True:
        (status,) = await asyncio.to_thread(lambda: list(local_client.ask(socket, {"verb": "status"})))
        if not status["messages"] and not status["connections"] and status["sessions"] == 1:
            break
        await asyncio.sleep(0.05)
    proc = Path("/proc") / str(daemon.process.pid)
    fields = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    return Held(
        resident=int(fields["VmRSS"].split()[0]) * 1024,
        descriptors=len(os.listdir(proc / "fd")),
        threads=int(fields["Threads"]),
        tasks=int(str(status["tasks"])),
    )


async def test_a_hundred_reloads_under_load_refuse_lose_and_leave_nothing() -> None:
    async with World([Site("harbour.example")]) as world:
        settings = {"delivery": {"idle_timeout": "100ms"}, "submission": {"idle_timeout": "1h"}}
        daemon = Daemon({"harbour.example": world["harbour.example"].port}, settings)
        self_signed(daemon.directory)
        daemon.change({"tls": {"certificate": "cert.pem", "key": "key.pem"}})
        async with daemon:
            before = smtplib.SMTP("127.0.0.1", daemon.port, timeout=HANGS_AFTER)
            before.ehlo("client.example")
            before.mail("anna@sender.example")
            sent = 0
            busy = True

            async def submit() -> None:
                nonlocal sent
                while busy:
                    # Raises where anything but 250 is answered.
                    await daemon.submit(["bert@harbour.example"], LETTER)
                    sent += 1

            clients = [asyncio.create_task(submit()) for _ in range(2)]
            for n in range(RELOADS):
                if n == WARM:
                    busy = False
                    await asyncio.gather(*clients)
                    early = await held(daemon)
                    busy = True
                    clients = [asyncio.create_task(submit()) for _ in range(2)]
                answer = await asyncio.to_thread(reload, daemon)
                assert answer == {"done": True, "problems": [], "needs_restart": []}
                while sent < n // 2 and not any(client.done() for client in clients):
                    # Under load, whichever of the two is quicker here.
                    await asyncio.sleep(0.001)
            busy = False
            await asyncio.gather(*clients)
            late = await held(daemon)
            # Whoever was in a transaction when the first reload came ends it after the last.
            assert before.rcpt("bert@harbour.example")[0] == 250
            assert before.data(LETTER)[0] == 250
            before.quit()
            await daemon.until(lambda: len(world["harbour.example"].arrivals) == sent + 1)
            assert len(world["harbour.example"].arrivals) == sent + 1
            assert len(daemon.events("reloaded", problems=[])) == RELOADS
        # What is just ending may be in either count; one task or descriptor left by each reload makes eighty.
        assert late.descriptors - early.descriptors < FEW
        assert late.tasks - early.tasks < FEW
        # The loop's own pool begins a thread when one is wanted, and has so many at most.
        assert late.threads - early.threads <= min(32, (os.cpu_count() or 1) + 4)
        assert late.resident - early.resident < 8 << 20


async def test_accounts_and_certificates_are_read_again_and_open_sessions_keep_theirs() -> None:
    daemon = Daemon()
    door = daemon.guard()
    async with daemon:
        first = await asyncio.to_thread(certificate, daemon.port)
        add_account(daemon.directory / "accounts", "bert", "battery staple")
        self_signed(daemon.directory)
        assert not await asyncio.to_thread(logs_in, daemon.port, "bert", "battery staple")
        assert (await asyncio.to_thread(reload, daemon))["done"]
        assert await asyncio.to_thread(logs_in, daemon.port, "bert", "battery staple")
        assert await asyncio.to_thread(logs_in, daemon.port, door.name, door.password)
        second = await asyncio.to_thread(certificate, daemon.port)
        assert second != first
        assert second == ssl.PEM_cert_to_DER_cert((daemon.directory / "cert.pem").read_text())


async def test_the_command_says_what_takes_a_restart_and_what_is_wrong_where() -> None:
    async with Daemon() as daemon:
        daemon.change({"dns": {"timeout": "1s"}, "submission": {"max_errors": 5}})
        status, out, _ = await daemon.process.command("reload")
        assert (status, out.splitlines()) == (
            0,
            ["reloaded", "  dns.timeout takes a restart; until then it is as it was"],
        )
        await daemon.event("reloaded", needs_restart=["dns.timeout"])
        good = daemon.config.read_text()
        daemon.config.write_text(good + "[delivery2]\n")
        status, out, err = await daemon.process.command("reload")
        assert (status, out) == (78, "")
        assert err.startswith(f"{daemon.config}:")
        assert "nothing was changed" in err
        daemon.config.write_text(good)
        status, out, _ = await daemon.process.command("reload", "--json")
        assert (status, json.loads(out)) == (
            0,
            {"reloaded": True, "problems": [], "needs_restart": ["dns.timeout"]},
        )


async def test_a_daemon_is_found_whose_state_directory_was_changed_under_it() -> None:
    async with Daemon() as daemon:
        old = daemon.directory / "state"
        daemon.change({"state_directory": str(daemon.directory / "other")})
        status, out, _ = await daemon.process.command("reload")
        assert (status, out.splitlines()) == (
            0,
            ["reloaded", "  state_directory takes a restart; until then it is as it was"],
        )
        status, out, _ = await daemon.process.command("status")
        assert out.startswith("the daemon is running\n")
        assert f"the daemon that runs has its queue in {old} still" in out
        status, _, err = await daemon.process.command("queue", "hold", "--all", "--yes")
        assert status == os.EX_NOINPUT
        assert f"the daemon that runs has its queue in {old} still" in err


async def test_limits_of_the_door_are_those_of_the_last_reload_for_who_comes_then() -> None:
    async with Daemon() as daemon:
        with smtplib.SMTP("127.0.0.1", daemon.port, timeout=HANGS_AFTER) as client:
            client.ehlo("client.example")
            daemon.change({"submission": {"max_message_size": "1MiB"}})
            assert (await asyncio.to_thread(reload, daemon))["needs_restart"] == []
            assert client.esmtp_features["size"] == str(50 << 20)
        with smtplib.SMTP("127.0.0.1", daemon.port, timeout=HANGS_AFTER) as client:
            client.ehlo("client.example")
            assert client.esmtp_features["size"] == str(1 << 20)


def certificate(port: int) -> bytes:
    with smtplib.SMTP("127.0.0.1", port, timeout=HANGS_AFTER) as client:
        client.starttls(context=unverified())
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.getpeercert(binary_form=True) or b""


def logs_in(port: int, name: str, password: str) -> bool:
    with smtplib.SMTP("127.0.0.1", port, timeout=HANGS_AFTER) as client:
        client.starttls(context=unverified())
        try:
            client.login(name, password)
        except smtplib.SMTPAuthenticationError:
            return False
    return True


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
