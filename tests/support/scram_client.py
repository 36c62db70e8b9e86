"""A client of SCRAM-SHA-256, written from RFC 5802 beside the server's code."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode

from postroad.mail.saslprep import prepared


class ScramClient:
    """`binding`: name and data of the channel; `flag` in place of the GS2 flag that follows from it.

    `rounds`: PBKDF2's, where a test is not to do as many as the server says.
    """

    def __init__(
        self,
        name: str,
        secret: bytes,
        *,
        binding: tuple[str, bytes] | None = None,
        flag: str = "",
        rounds: int | None = None,
    ) -> None:
        self._secret = secret
        self._rounds = rounds
        self._data = binding[1] if binding else b""
        self._header = f"{flag or (f'p={binding[0]}' if binding else 'n')},,".encode()
        self._bare = f"n={name.replace('=', '=3D').replace(',', '=2C')},r=client".encode()
        self._server_signature = b""

    def first(self) -> bytes:
        return self._header + self._bare

    def final(self, said: bytes) -> bytes:
        nonce, salt, count = (part[2:] for part in said.split(b","))
        rounds = self._rounds or int(count)
        salted = hashlib.pbkdf2_hmac("sha256", prepared(self._secret), b64decode(salt), rounds)
        unproven = b"c=" + b64encode(self._header + self._data) + b",r=" + nonce
        message = b",".join((self._bare, said, unproven))
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        self._server_signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        return unproven + b",p=" + b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True)))

    def believes(self, proof: bytes) -> bool:
        return proof == b"v=" + b64encode(self._server_signature)
