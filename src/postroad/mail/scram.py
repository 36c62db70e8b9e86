"""SCRAM-SHA-256 as the server speaks it (RFC 5802, RFC 7677), each message from the ones before."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64encode
from dataclasses import field

from postroad.mail.frozen import dataclass
from postroad.mail.sasl import Gs2Header, SaslError, parse_gs2, saslname
from postroad.mail.saslprep import prepared, saslprep

ITERATIONS_LEAST = 4096
ITERATIONS_MOST = 10_000_000
ITERATIONS_OURS = 15_000
"""RFC 7677 4 wants 4096 at least; a client computes this many, too."""
SALT_SIZE = 16
SALT_LONGEST = 1024
DIGEST_SIZE = 32

_FIRST = re.compile(rb"n=([^,]+),r=([!-+\--~]{1,512})((?:,[A-Za-z]=[^,]+)*)")
_FINAL = re.compile(
    rb"(c=([A-Za-z0-9+/]+={0,2}),r=([!-+\--~]{1,1024})(?:,[A-Za-z]=[^,]+)*),p=([A-Za-z0-9+/]{43}=)"
)


@dataclass(frozen=True, slots=True)
class Verifier:
    """What the server keeps of a password: enough to check a client, not enough to be one."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """The first message; `bare` is it without the GS2 header."""

    gs2: Gs2Header
    login: str
    nonce: bytes
    bare: bytes


@dataclass(frozen=True, slots=True)
class ClientFinal:
    """The last message; `unproven` is it without the proof."""

    binding: bytes
    nonce: bytes
    proof: bytes
    unproven: bytes


def verifier(secret: bytes, salt: bytes, iterations: int) -> Verifier:
    """Slow on purpose: `iterations` of HMAC (RFC 5802 3)."""
    salted = hashlib.pbkdf2_hmac("sha256", prepared(secret), salt, iterations)
    client_key = _hmac(salted, b"Client Key")
    return Verifier(iterations, salt, hashlib.sha256(client_key).digest(), _hmac(salted, b"Server Key"))


def matches(known: Verifier, secret: bytes) -> bool:
    """Whether this is the password; as slow as `verifier`."""
    tried = verifier(secret, known.salt, known.iterations)
    return hmac.compare_digest(tried.stored_key, known.stored_key)


def parse_verifier(text: str) -> Verifier:
    """`iterations,salt,StoredKey,ServerKey`, base64, as Dovecot writes it. Raises ValueError."""
    count, *encoded = text.split(",")
    if len(encoded) != 3 or not re.fullmatch(r"[0-9]{1,9}", count):
        raise ValueError("want iterations,salt,StoredKey,ServerKey")
    try:
        salt, stored, server = (binascii.a2b_base64(part, strict_mode=True) for part in encoded)
    except (binascii.Error, ValueError):
        raise ValueError("a part is not base64") from None
    if not ITERATIONS_LEAST <= int(count) <= ITERATIONS_MOST:
        raise ValueError(f"iterations are {ITERATIONS_LEAST} to {ITERATIONS_MOST}")
    if not 0 < len(salt) <= SALT_LONGEST or {len(stored), len(server)} != {DIGEST_SIZE}:
        raise ValueError("a part has the wrong length")
    return Verifier(int(count), salt, stored, server)


def written(known: Verifier) -> str:
    """As `parse_verifier` reads it."""
    parts = (b64encode(part).decode() for part in (known.salt, known.stored_key, known.server_key))
    return ",".join((str(known.iterations), *parts))


def imitation(key: bytes, login: str, model: Verifier) -> Verifier:
    """A verifier no password has, the same each time for this name: unknown names look like `model`.

    `key`: a lasting secret, or salts would tell after a restart who is unknown.
    """
    salt = hashlib.shake_256(hmac.digest(key, b"salt\0" + login.encode(), "sha256")).digest(len(model.salt))
    return Verifier(
        model.iterations, salt, hmac.digest(key, b"stored\0" + salt, "sha256"), bytes(DIGEST_SIZE)
    )


def parse_first(message: bytes) -> ClientFirst:
    """Raises SaslError; mandatory extensions (m=) are not known here, so they are errors, too."""
    gs2, bare = parse_gs2(message)
    found = _FIRST.fullmatch(bare)
    if found is None:
        raise SaslError("not a first message of SCRAM")
    try:
        login = saslprep(saslname(found[1]))
    except SaslError:
        raise
    except ValueError as wrong:
        raise SaslError(f"a name with {wrong}") from None
    if not login:
        raise SaslError("not a name")
    return ClientFirst(gs2, login, found[2], bare)


def server_first(first: ClientFirst, nonce: bytes, known: Verifier) -> bytes:
    """`nonce`: ours, random, printable ASCII without comma."""
    salt = b64encode(known.salt)
    return b"r=%s%s,s=%s,i=%d" % (first.nonce, nonce, salt, known.iterations)


def parse_final(message: bytes) -> ClientFinal:
    """Raises SaslError."""
    found = _FINAL.fullmatch(message)
    if found is None:
        raise SaslError("not a last message of SCRAM")
    try:
        binding, proof = (binascii.a2b_base64(part, strict_mode=True) for part in (found[2], found[4]))
    except binascii.Error:
        raise SaslError("binding or proof is not base64") from None
    return ClientFinal(binding, found[3], proof, found[1])


def server_final(
    first: ClientFirst, said: bytes, final: ClientFinal, known: Verifier, binding: bytes
) -> bytes | None:
    """Our proof, `v=...`; None where the client's is wrong, for another nonce or another channel.

    `said`: our `server_first`; `binding`: the channel's data, empty where none is bound.
    """
    message = b",".join((first.bare, said, final.unproven))
    signature = _hmac(known.stored_key, message)
    client_key = bytes(a ^ b for a, b in zip(final.proof, signature, strict=True))
    right = hmac.compare_digest(hashlib.sha256(client_key).digest(), known.stored_key)
    nonce = said.partition(b",")[0].removeprefix(b"r=")
    bound = hmac.compare_digest(final.binding, first.gs2.raw + binding)
    if not (right & bound & hmac.compare_digest(final.nonce, nonce)):
        return None
    return b"v=" + b64encode(_hmac(known.server_key, message))


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
