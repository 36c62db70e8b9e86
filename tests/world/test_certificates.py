"""Certificates of a running daemon: chosen by name, renewed by a reload, and told before they expire."""

from __future__ import annotations

import asyncio
import os
import signal
import smtplib
import ssl
from datetime import UTC, datetime, timedelta

import trustme
from cryptography import x509

from postroad.demo.process import HANGS_AFTER
from tests.support.daemon import Daemon

CA = trustme.CA()


def issue(daemon: Daemon, name: str, days: int = 60) -> int:
    """`NAME.pem` and `NAME.key`; its serial number."""
    made = CA.issue_cert(name, not_after=datetime.now(UTC) + timedelta(days=days))
    made.cert_chain_pems[0].write_to_path(daemon.directory / f"{name}.pem")
    made.private_key_pem.write_to_path(daemon.directory / f"{name}.key")
    return x509.load_pem_x509_certificate(made.cert_chain_pems[0].bytes()).serial_number


def shown(port: int, name: str) -> int:
    """The serial number of what a client is shown that asks for `name`."""
    context = ssl.create_default_context()
    CA.configure_trust(context)
    with smtplib.SMTP("127.0.0.1", port, timeout=HANGS_AFTER) as client:
        client._host = name  # type: ignore[attr-defined]
        client.starttls(context=context)
        assert client.sock is not None
        der = client.sock.getpeercert(binary_form=True)  # type: ignore[attr-defined]
        return x509.load_der_x509_certificate(der).serial_number


async def test_certificates_are_chosen_by_name_and_renewed_by_a_reload_and_told_before_they_expire() -> None:
    daemon = Daemon()
    daemon.guard()
    serials = {name: issue(daemon, name) for name in ("one.example", "two.example")}
    daemon.change(
        {
            "tls": {"certificate": "one.example.pem", "key": "one.example.key"},
            "certificate": [{"certificate": "two.example.pem", "key": "two.example.key"}],
        }
    )
    async with daemon:
        for name, serial in serials.items():
            assert await asyncio.to_thread(shown, daemon.port, name) == serial
        assert daemon.events("certificate-wanes") == []
        renewed = issue(daemon, "two.example", days=3)
        os.kill(daemon.process.pid, signal.SIGHUP)
        await daemon.event("reloaded")
        assert await asyncio.to_thread(shown, daemon.port, "two.example") == renewed
        told = await daemon.event("certificate-wanes")
        file = daemon.directory / "two.example.pem"
        assert told["text"] == f"{file}: expires in 2 days"
        status, _, err = await daemon.process.command("config", "check")
        assert status == 0
        assert f"{file}: expires in 2 days" in err.splitlines()
