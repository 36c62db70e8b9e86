"""Certificates and keys as files, made once a run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import trustme


@cache
def pair(name: str = "mail.example.com") -> tuple[bytes, bytes]:
    """Certificate chain and key in PEM, of an authority of its own."""
    issued = trustme.CA().issue_cert(name)
    return b"".join(blob.bytes() for blob in issued.cert_chain_pems), issued.private_key_pem.bytes()


def write_pair(directory: Path, name: str = "mail.example.com") -> None:
    """`cert.pem` and `key.pem` in a directory."""
    certificate, key = pair(name)
    (directory / "cert.pem").write_bytes(certificate)
    (directory / "key.pem").write_bytes(key)
