"""The cases that both rivals are measured in, with the ratio that Postroad must reach."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from duels import Case
from loads import own, smtp_source
from postroad.demo.house import self_signed
from receiver import addresses
from rivals import Wishes
from sinks import OwnSink, Sink

SITES = 1000
DELAY = 0.05


def encrypted() -> Case:
    directory = scratch()
    certificate, _ = self_signed(directory)
    return Case(
        "tls",
        "STARTTLS and AUTH in, STARTTLS out, 4 KB, kept connections",
        2.0,
        2500,
        own(certificate=certificate),
        sink=lambda at: OwnSink(at, tls=directory),
        wishes=lambda sink, _: Wishes(sink.port, tls=True, certificates=directory),
    )


def signed() -> Case:
    key = scratch() / "dkim.pem"
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key.write_bytes(pem)
    return Case(
        "dkim",
        "DKIM RSA-2048, 4 KB, 20 kept connections (Postfix with OpenDKIM)",
        3.0,
        2000,
        smtp_source(),
        wishes=lambda sink, _: Wishes(sink.port, dkim_key=key),
        proof=b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed",
    )


def spread() -> Case:
    def wishes(sink: Sink, _: Path) -> Wishes:
        hosts = enumerate(addresses(SITES))
        return Wishes(sink.port, sites={f"d{n}.example": f"{host}:{sink.port}" for n, host in hosts})

    return Case(
        "sites",
        "1,000 domains, each command answered after 50 ms, defaults of both",
        3.0,
        3000,
        own(domains=SITES),
        sink=lambda directory: OwnSink(directory, delay=DELAY, addresses=SITES),
        wishes=wishes,
    )


@cache
def scratch() -> Path:
    """Keys and certificates of this run; world-readable, for Postfix's unprivileged processes."""
    # Kept in a variable of the module, so that it is removed at the end of the process.
    directory = Path(SCRATCH.name)
    directory.chmod(0o755)
    return directory


SCRATCH = tempfile.TemporaryDirectory(prefix="postroad-keys-")
CASES = [
    Case("kept", "4 KB, 20 kept connections", 3.0, 3000, smtp_source()),
    Case("single", "4 KB, one message per connection", 2.0, 2500, smtp_source(kept=False)),
    Case("large", "80 KB, 20 kept connections", 3.0, 1500, smtp_source(size=81920)),
    Case(
        "many",
        "one message to 50 recipients of one site (recipients/s)",
        3.0,
        400,
        smtp_source(recipients=50),
        recipients=50,
        # It counts recipients, whatever transactions they come in; smtp-sink counts those.
        sink=OwnSink,
    ),
    encrypted(),
    signed(),
    spread(),
]
