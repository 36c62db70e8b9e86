"""Two verifiers that are not ours, dkimpy and OpenDKIM, and the keys they are asked about."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from dkim.canonicalization import Relaxed

from postroad.demo.process import HANGS_AFTER
from tests.support.requires import require

_dkimpy: Any = dkim
_relaxed: Any = Relaxed


@cache
def rsa_key(bits: int = 1024) -> RSAPrivateKey:
    """One key for the whole run: making them is slow, and these protect nothing."""
    return generate_private_key(65537, bits)


@cache
def ed25519_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def pem(key: RSAPrivateKey | Ed25519PrivateKey, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def record(key: RSAPrivateKey | Ed25519PrivateKey) -> bytes:
    """The TXT record that publishes a key (RFC 6376 3.6.1, RFC 8463 4)."""
    public = key.public_key()
    if isinstance(key, RSAPrivateKey):
        octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return b"v=DKIM1; k=rsa; p=" + b64encode(octets)
    octets = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return b"v=DKIM1; k=ed25519; p=" + b64encode(octets)


def dkimpy_verifies(message: bytes, records: Mapping[str, bytes], *, index: int = 0) -> bool:
    """Whether dkimpy takes the index-th signature; `records` by "selector._domainkey.domain"."""

    def txt(name: bytes | str, timeout: int = 5) -> bytes | None:
        return records.get((name.decode() if isinstance(name, bytes) else name).rstrip("."))

    return bool(_dkimpy.DKIM(message).verify(index, dnsfunc=txt))


def opendkim_verifies(message: bytes, records: Mapping[str, bytes], folder: Path) -> bool:
    """Whether OpenDKIM, in its test mode, says that the message's signature is good."""
    (folder / "keys").write_bytes(
        b"".join(name.encode() + b" " + text + b"\n" for name, text in records.items())
    )
    (folder / "message").write_bytes(message)
    (folder / "conf").write_text(
        f"Mode v\nTestPublicKeys {folder}/keys\nSyslog no\nBackground no\nSocket local:{folder}/socket\n"
    )
    command = [require("opendkim"), "-x", str(folder / "conf"), "-v", "-t", str(folder / "message")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_AFTER, check=False)
    return "succeeded" in said.stdout + said.stderr


def relaxed_body(body: bytes) -> bytes:
    return bytes(_relaxed.canonicalize_body(body))


def relaxed_field(name: bytes, text: bytes) -> bytes:
    """dkimpy's relaxed form of a field given as name and text, CRLF included."""
    found, value = _relaxed.canonicalize_headers([(name, text)])[0]
    return bytes(found + b":" + value)
