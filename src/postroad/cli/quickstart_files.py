"""The files of a new server: configuration, account, signing key, certificate; none in place of another."""

from __future__ import annotations

import base64
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from postroad.cli.text import CommandFailed
from postroad.mail.publishing import dkim_value

YEARS = 10

CONFIGURATION = """\
# Made by `postroad quickstart`. Every key that may stand here: postroad.toml(5), or `postroad config show`.
hostname = "{hostname}"
origin = "{domain}"
state_directory = "{state}"

{listeners}[submission]
accounts = "accounts"

# As whom this account may send.
[account."{account}"]
allowed_senders = ["{domain}", "*.{domain}"]

[tls]
certificate = {certificate}
key = {key}
"""

LISTENER = """\
[[listener]]
address = "{address}"
tls = "{tls}"
auth = "required"

"""

DKIM = """
[[dkim]]
domain = "{domain}"
selector = "{selector}"
key = "dkim/{domain}.{selector}.pem"
"""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Made:
    """A file to be: its name below the folder of the configuration, its octets, whether it is secret."""

    name: str
    octets: bytes
    private: bool


def dkim_pair(domain: str, selector: str, *, algorithm: str = "rsa") -> tuple[Made, str]:
    """The private key, and what the DNS should say of it."""
    key: PrivateKey
    if algorithm == "rsa":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    else:
        key = ed25519.Ed25519PrivateKey.generate()
        # RFC 8463 4: the key alone, without what usually surrounds one.
        public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    file = Made(f"dkim/{domain}.{selector}.pem", _pem(key), private=True)
    return file, dkim_value(algorithm, base64.b64encode(public).decode("ascii"))


def self_signed(hostname: str) -> tuple[Made, Made]:
    """A certificate that clients must be told to trust, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    # A common name has 64 characters at most; the name that counts is the other one.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * YEARS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    octets = certificate.public_bytes(serialization.Encoding.PEM)
    return Made("cert.pem", octets, private=False), Made("key.pem", _pem(key), private=True)


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write(folder: Path, files: list[Made], group: int | None) -> None:
    """All files or none; CommandFailed where one is there already or cannot be written.

    `group` may read what is secret; None: only their owner may.
    """
    there = [str(folder / made.name) for made in files if os.path.lexists(folder / made.name)]
    if there:
        raise CommandFailed(
            f"already there, and nothing is overwritten: {', '.join(there)}; name another folder with --dir",
            os.EX_CANTCREAT,
        )
    written: list[Path] = []
    try:
        for made in files:
            path = folder / made.name
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            mode = (0o640 if group is not None else 0o600) if made.private else 0o644
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            written.append(path)
            with open(descriptor, "wb") as file:
                if group is not None and made.private:
                    os.fchown(file.fileno(), -1, group)
                os.fchmod(file.fileno(), mode)
                file.write(made.octets)
    except OSError as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        hint = "; be root, or try it with --dir" if isinstance(error, PermissionError) else ""
        raise CommandFailed(f"{error.filename or folder}: {error.strerror}{hint}", os.EX_CANTCREAT) from None
