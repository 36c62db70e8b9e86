"""Real clients log in by what is no plain password: SCRAM, bearer tokens, a certificate."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import time
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from postroad.adapters.accounts_file import add_account
from postroad.demo.house import self_signed
from postroad.demo.letters import Door
from tests.support.daemon import Daemon
from tests.support.peers import run
from tests.support.requires import require

LETTER = b"From: <anna@sender.example>\nTo: <bert@harbour.example>\nSubject: hi\n\nhi\n"
HEADER = b'{"alg":"EdDSA"}'
ISSUER = ed25519.Ed25519PrivateKey.generate()


def url64(octets: bytes) -> str:
    return urlsafe_b64encode(octets).decode().rstrip("=")


def token() -> str:
    claims = {"sub": "anna", "aud": "smtp", "exp": time.time() + 86400}
    signed = f"{url64(HEADER)}.{url64(json.dumps(claims).encode())}"
    return f"{signed}.{url64(ISSUER.sign(signed.encode()))}"


def furnish(daemon: Daemon) -> Door:
    """Every way to log in at once; the client's certificate is `client/cert.pem`."""
    door = daemon.guard()
    top = daemon.directory
    add_account(top / "accounts", "anna", door.password, replace=True, scheme="SCRAM-SHA-256")
    (top / "client").mkdir()
    certificate, _ = self_signed(top / "client")
    key = ISSUER.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (top / "issuer.pem").write_bytes(key)
    daemon.change(
        {
            "tls": {"client_ca": str(certificate)},
            "client_certificate": [{"fingerprint": fingerprint(certificate), "account": "anna"}],
            "oauth": {"key": "issuer.pem", "audience": "smtp"},
        }
    )
    return door


def fingerprint(certificate: Path) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


@pytest.mark.parametrize("method", ["scram-sha-256", "oauthbearer", "xoauth2", "external"])
async def test_msmtp_logs_in(method: str) -> None:
    daemon = Daemon()
    door = furnish(daemon)
    top = daemon.directory
    (top / "secret").write_text(token() if "auth" in method else door.password)
    (top / "roots.pem").write_text(door.roots)
    own = [f"--user={door.name}", f"--passwordeval=cat {top / 'secret'}"]
    if method == "scram-sha-256" and "scram-sha-256-plus" in await run(require("msmtp"), "--version"):
        # One that binds the channel does nothing less; Python knows the binding of TLS 1.2.
        method = "scram-sha-256-plus"
        own.append("--tls-priorities=NORMAL:-VERS-TLS1.3")
    if method == "external":
        own = [
            f"--user={door.name}",
            f"--tls-cert-file={top / 'client' / 'cert.pem'}",
            f"--tls-key-file={top / 'client' / 'key.pem'}",
        ]
    async with daemon:
        await run(
            require("msmtp"),
            *("--host=localhost", f"--port={door.port}", "--file=/dev/null", "--protocol=smtp"),
            *("--tls=on", "--tls-starttls=on", f"--tls-trust-file={top / 'roots.pem'}"),
            *(f"--auth={method}", *own, "--from=anna@sender.example", "--", "bert@harbour.example"),
            stdin=LETTER,
            env={**os.environ, "HOME": str(top)},
        )
        accepted = await daemon.event("accepted")
        assert (accepted["account"], accepted["method"]) == ("anna", method.upper())


@pytest.mark.parametrize("method", ["PLAIN", "OAUTHBEARER", "EXTERNAL"])
async def test_curl_logs_in(method: str) -> None:
    daemon = Daemon()
    door = furnish(daemon)
    top = daemon.directory
    (top / "roots.pem").write_text(door.roots)
    (top / "letter").write_bytes(LETTER.replace(b"\n", b"\r\n"))
    own = {
        "PLAIN": ["--user", f"anna:{door.password}"],
        "OAUTHBEARER": ["--user", "anna", "--oauth2-bearer", token()],
        "EXTERNAL": [
            "--user",
            "anna:",
            "--cert",
            str(top / "client/cert.pem"),
            "--key",
            str(top / "client/key.pem"),
        ],
    }[method]
    async with daemon:
        await run(
            require("curl"),
            *("-sS", "--ssl-reqd", "--cacert", str(top / "roots.pem"), f"smtp://localhost:{door.port}"),
            *("--login-options", f"AUTH={method}", *own),
            *("--mail-from", "anna@sender.example", "--mail-rcpt", "bert@harbour.example"),
            *("-T", str(top / "letter")),
        )
        accepted = await daemon.event("accepted")
        assert (accepted["account"], accepted["method"]) == ("anna", method)
