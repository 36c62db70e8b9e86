"""What the demonstration's daemon needs, in a directory: certificate, account, key, configuration."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from postroad.adapters.accounts_file import add_account
from postroad.demo.letters import HARBOUR, Door
from postroad.demo.world import Site

SELECTOR = "demo"
ACCOUNT = "anna"
CERTIFICATE = "cert.pem"
KEY = "key.pem"

CONFIGURATION = """\
hostname = "mail.{domain}"
state_directory = "state"

[[listener]]
address = "127.0.0.1:{port}"
tls = "starttls"
auth = "required"

[submission]
accounts = "accounts"

[tls]
certificate = "cert.pem"
key = "key.pem"

[delivery]
allow_private_addresses = true

[retry]
schedule = ["2s", "2s", "3s"]
greylist = ["4s", "2s", "2s"]
expire_after = "10m"
warn_after = "5m"

[[dkim]]
domain = "{domain}"
selector = "{selector}"
key = "dkim.pem"

[log]
format = "json"
"""

ROUTE = """
[[route]]
match = ["{domain}"]
relay = "127.0.0.1:{port}"
"""


@dataclass(frozen=True, slots=True)
class House:
    """A furnished directory: where the configuration is, how to submit, how to verify a signature.

    `dkim_record` is the TXT record that would be published.
    """

    config: Path
    door: Door
    dkim_record: bytes


def furnish(directory: Path, port: int, sites: Iterable[Site]) -> House:
    """Write all files but the certificate (`self_signed`); the routes lead each site's domain to its port."""
    record = dkim_key(directory / "dkim.pem")
    password = secrets.token_urlsafe(18)
    add_account(directory / "accounts", ACCOUNT, password)
    routes = "".join(ROUTE.format(domain=site.domain, port=site.port) for site in sites)
    config = directory / "postroad.toml"
    config.write_text(CONFIGURATION.format(domain=HARBOUR, port=port, selector=SELECTOR) + routes)
    door = Door(port, ACCOUNT, password, (directory / CERTIFICATE).read_text("ascii"))
    return House(config, door, record)


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A certificate for localhost, good for a day, and its key: the two PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = directory / CERTIFICATE, directory / KEY
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    _write_private(key_path, _pem(key))
    return certificate_path, key_path


def dkim_key(path: Path) -> bytes:
    """Make a signing key; the answer is the TXT record of its public half (RFC 6376 3.6.1)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write_private(path, _pem(key))
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_private(path: Path, octets: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(octets)
