"""Stored passwords, `{SCHEME}hash` as Dovecot writes them: read, checked, made, and imitated.

Every check is slow by design and computes outside of the interpreter's lock: not for the loop.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64encode
from collections.abc import Callable
from dataclasses import field

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError

from postroad.adapters.accounts_crypt import available, crypt
from postroad.mail import scram
from postroad.mail.frozen import dataclass

SECRET_LONGEST = 1024
"""Octets of a password; more is no password, and hashing it would be work done for a stranger."""

# PLAIN and LOGIN pass text; what no client can send need not be storable.
PASSWORD = re.compile(rb"[^\x00\r\n]{1,%d}" % SECRET_LONGEST)

_WRITTEN = re.compile(r"\{([A-Za-z0-9-]{1,20})\}([!-9;-~]+)")
_BCRYPT = re.compile(r"(\$2[aby]\$([0-9]{2})\$)[./A-Za-z0-9]{53}")
_SHA512 = re.compile(r"(\$6\$(?:rounds=([0-9]{4,9})\$)?)([^$]{1,16})\$[./A-Za-z0-9]{86}")
_PBKDF2 = re.compile(r"\$1\$([^$]{1,64})\$([0-9]{1,9})\$([0-9a-f]{40})")

# What a login may cost at most, lest a mistyped number stops everybody's.
_BCRYPT_COSTS = range(4, 17)
_SHA512_ROUNDS_MOST = 20_000_000
_PBKDF2_ROUNDS_MOST = 20_000_000
# What new ones cost: about a tenth of a second.
_BCRYPT_COST = 11
_SHA512_ROUNDS = 250_000
_PBKDF2_ROUNDS = 300_000
_CRYPT64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored password; `scram` where it can serve SCRAM, too."""

    scheme: str
    text: str = field(repr=False)
    scram: scram.Verifier | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{{{self.scheme}}}{self.text}"


@dataclass(frozen=True, slots=True)
class Scheme:
    """`read` raises ValueError; `decoy` has the cost of the original and no password."""

    read: Callable[[str], Stored]
    check: Callable[[Stored, bytes], bool]
    make: Callable[[bytes], str]
    decoy: Callable[[str], str]


def read_stored(word: str) -> Stored:
    """`{SCHEME}hash`. Raises ValueError, with no octet of the hash in its text."""
    found = _WRITTEN.fullmatch(word)
    scheme = SCHEMES.get(found[1].upper()) if found else None
    if found is None or scheme is None:
        raise ValueError(f"want {{SCHEME}}hash, with one of the schemes {', '.join(SCHEMES)}")
    return scheme.read(found[2])


def check(stored: Stored, secret: bytes) -> bool:
    """Whether this is the password. Blocks for a tenth of a second."""
    return SCHEMES[stored.scheme].check(stored, secret)


def decoy(model: Stored) -> Stored:
    """As dear to check as the model, and right for no password."""
    return SCHEMES[model.scheme].read(SCHEMES[model.scheme].decoy(model.text))


def hash_password(password: str, scheme: str = "ARGON2ID") -> str:
    """`{SCHEME}hash` as it stands in the file. Raises ValueError for what no client can send."""
    secret = password.encode()
    if not PASSWORD.fullmatch(secret):
        raise ValueError(f"a password has 1 to {SECRET_LONGEST} octets, without NUL or line ends")
    return f"{{{scheme}}}{SCHEMES[scheme].make(secret)}"


# --- argon2id ---------------------------------------------------------------------

_hasher = PasswordHasher()


def _argon2_read(text: str) -> Stored:
    try:
        parameters = extract_parameters(text)
    except (InvalidHashError, ValueError):
        raise ValueError("the hash is damaged") from None
    if parameters.type is not Type.ID:
        raise ValueError("not an argon2id hash")
    return Stored("ARGON2ID", text)


def _argon2_check(stored: Stored, secret: bytes) -> bool:
    try:
        return _hasher.verify(stored.text, secret)
    except (Argon2Error, InvalidHashError):
        return False


def _argon2_decoy(text: str) -> str:
    *costs, salt, digest = text.split("$")
    return "$".join((*costs, *(_base64(len(part) * 3 // 4) for part in (salt, digest))))


def _base64(size: int) -> str:
    return b64encode(secrets.token_bytes(size)).decode().rstrip("=")


# --- crypt(3) -----------------------------------------------------------------------


def _bcrypt_read(text: str) -> Stored:
    found = _BCRYPT.fullmatch(text)
    if found is None:
        raise ValueError("the hash is damaged")
    if int(found[2]) not in _BCRYPT_COSTS:
        raise ValueError(
            f"a cost of {found[2]}; from {_BCRYPT_COSTS[0]:02} to {_BCRYPT_COSTS[-1]} is allowed"
        )
    return _crypt_stored("BLF-CRYPT", text)


def _sha512_read(text: str) -> Stored:
    found = _SHA512.fullmatch(text)
    if found is None:
        raise ValueError("the hash is damaged")
    if found[2] and int(found[2]) > _SHA512_ROUNDS_MOST:
        raise ValueError(f"{found[2]} rounds; at most {_SHA512_ROUNDS_MOST} are allowed")
    return _crypt_stored("SHA512-CRYPT", text)


def _crypt_stored(scheme: str, text: str) -> Stored:
    if not available():
        raise ValueError(f"{scheme} needs libcrypt, which this system does not have; choose ARGON2ID")
    return Stored(scheme, text)


def _crypt_check(stored: Stored, secret: bytes) -> bool:
    found = crypt(secret, stored.text.encode())
    return found is not None and hmac.compare_digest(found, stored.text.encode())


def _crypt_make(setting: str) -> Callable[[bytes], str]:
    def make(secret: bytes) -> str:
        # What bcrypt cannot tell apart would be half a password.
        if setting.startswith("$2") and len(secret) > 72:
            raise ValueError("BLF-CRYPT reads 72 octets of a password and no more; choose another scheme")
        made = crypt(secret, (setting + _crypt64(16 if setting.startswith("$6") else 21) + ".").encode())
        if made is None:
            raise ValueError("the system's crypt(3) does not take it; choose ARGON2ID")
        return made.decode()

    return make


def _crypt64(length: int) -> str:
    return "".join(secrets.choice(_CRYPT64) for _ in range(length))


def _bcrypt_decoy(text: str) -> str:
    return text[:7] + _crypt64(21) + "." + _crypt64(31)


def _sha512_decoy(text: str) -> str:
    setting, salt, _ = text.rsplit("$", 2)
    return f"{setting}${_crypt64(len(salt))}${_crypt64(86)}"


# --- PBKDF2 (with SHA-1, which is what Dovecot's scheme of this name is) -------------


def _pbkdf2_read(text: str) -> Stored:
    found = _PBKDF2.fullmatch(text)
    if found is None:
        raise ValueError("the hash is damaged; want $1$salt$rounds$hash")
    if not 0 < int(found[2]) <= _PBKDF2_ROUNDS_MOST:
        raise ValueError(f"{found[2]} rounds; 1 to {_PBKDF2_ROUNDS_MOST} are allowed")
    return Stored("PBKDF2", text)


def _pbkdf2_check(stored: Stored, secret: bytes) -> bool:
    _, _, salt, rounds, digest = stored.text.split("$")
    return hmac.compare_digest(_pbkdf2(secret, salt, int(rounds)), digest)


def _pbkdf2(secret: bytes, salt: str, rounds: int) -> str:
    return hashlib.pbkdf2_hmac("sha1", secret, salt.encode(), rounds).hex()


def _pbkdf2_make(secret: bytes) -> str:
    salt = _crypt64(16)
    return f"$1${salt}${_PBKDF2_ROUNDS}${_pbkdf2(secret, salt, _PBKDF2_ROUNDS)}"


def _pbkdf2_decoy(text: str) -> str:
    _, _, salt, rounds, digest = text.split("$")
    return f"$1${_crypt64(len(salt))}${rounds}${secrets.token_hex(len(digest) // 2)}"


# --- SCRAM --------------------------------------------------------------------------


def _scram_read(text: str) -> Stored:
    return Stored("SCRAM-SHA-256", text, scram.parse_verifier(text))


def _scram_check(stored: Stored, secret: bytes) -> bool:
    assert stored.scram is not None
    return scram.matches(stored.scram, secret)


def _scram_make(secret: bytes) -> str:
    salt = secrets.token_bytes(scram.SALT_SIZE)
    return scram.written(scram.verifier(secret, salt, scram.ITERATIONS_OURS))


def _scram_decoy(text: str) -> str:
    return scram.written(scram.imitation(secrets.token_bytes(32), "", scram.parse_verifier(text)))


SCHEMES = {
    "ARGON2ID": Scheme(_argon2_read, _argon2_check, lambda secret: _hasher.hash(secret), _argon2_decoy),
    "BLF-CRYPT": Scheme(_bcrypt_read, _crypt_check, _crypt_make(f"$2y${_BCRYPT_COST:02}$"), _bcrypt_decoy),
    "SHA512-CRYPT": Scheme(
        _sha512_read, _crypt_check, _crypt_make(f"$6$rounds={_SHA512_ROUNDS}$"), _sha512_decoy
    ),
    "PBKDF2": Scheme(_pbkdf2_read, _pbkdf2_check, _pbkdf2_make, _pbkdf2_decoy),
    "SCRAM-SHA-256": Scheme(_scram_read, _scram_check, _scram_make, _scram_decoy),
}
