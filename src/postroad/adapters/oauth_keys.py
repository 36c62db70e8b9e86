"""Public keys that verify JWTs. The key says what its algorithms are; the token only which one it used."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

RSA_LEAST = 2048
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES = {"secp256r1": ("ES256", 32), "secp384r1": ("ES384", 48), "secp521r1": ("ES512", 66)}

Check = Callable[[bytes, bytes], None]
"""Signature, signed octets; raises InvalidSignature."""


class TokenKeyError(ValueError):
    """A key file that cannot be used; the text names it and the cause."""


class KeyRing:
    """All public keys of a PEM file, so that old and new may stand there side by side."""

    def __init__(self, path: Path) -> None:
        self._checks: list[tuple[str, Check]] = []
        try:
            found = _PEM.findall(path.read_bytes())
            for pem in found:
                self._checks += _checks(load_pem_public_key(pem))
        except (OSError, ValueError) as error:
            raise TokenKeyError(f"{path}: {error}") from None
        if not found:
            raise TokenKeyError(f"{path}: has no public key in PEM (-----BEGIN PUBLIC KEY-----)")

    def verify(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether one of the keys made this signature with its algorithm (RFC 7518 3, RFC 8037)."""
        for name, check in self._checks:
            if name != algorithm:
                continue
            try:
                check(signature, signed)
            except InvalidSignature:
                continue
            return True
        return False


def _checks(key: object) -> list[tuple[str, Check]]:
    """The algorithms of a key; ValueError for a kind that signs no tokens."""
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < RSA_LEAST:
            raise ValueError(f"an RSA key of {key.key_size} bits; {RSA_LEAST} at least")
        return [(f"{kind}{size}", _rsa(key, kind, size)) for kind in ("RS", "PS") for size in _HASHES]
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        name, size = _CURVES[key.curve.name]
        return [(name, _ecdsa(key, name[2:], size))]
    if isinstance(key, ed25519.Ed25519PublicKey):
        return [("EdDSA", key.verify)]
    raise ValueError("a key that is neither RSA nor Ed25519 nor of the curves P-256, P-384, P-521")


def _rsa(key: rsa.RSAPublicKey, kind: str, size: str) -> Check:
    digest = _HASHES[size]

    def check(signature: bytes, signed: bytes) -> None:
        if kind == "PS":
            pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
            key.verify(signature, signed, pss, digest)
        else:
            key.verify(signature, signed, padding.PKCS1v15(), digest)

    return check


def _ecdsa(key: ec.EllipticCurvePublicKey, digest: str, size: int) -> Check:
    """A JWT has the two numbers one behind the other (RFC 7518 3.4)."""

    def check(signature: bytes, signed: bytes) -> None:
        if len(signature) != 2 * size:
            raise InvalidSignature
        pair = (int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
        key.verify(encode_dss_signature(*pair), signed, ec.ECDSA(_HASHES[digest]))

    return check
