"""crypt(3) of the system (libxcrypt; musl has its own): bcrypt and SHA-512 crypt, as passwd-files hold them.

Python's module `crypt` ended with 3.12. The function computes outside of the
interpreter's lock, so that a thread's work leaves the loop alone.
"""

from __future__ import annotations

import ctypes
from functools import cache

LONGEST = 511
"""Octets of a password that crypt(3) takes; a longer one is nobody's."""

# The largest `struct crypt_data` there is, that of the old glibc, has 131232 octets.
_ROOM = 256 * 1024
_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2", None)


def available() -> bool:
    return _function() is not None


def crypt(secret: bytes, setting: bytes) -> bytes | None:
    """The hash, its setting included; None where the system knows no such method or refuses the password."""
    function = _function()
    if function is None or len(secret) > LONGEST or b"\0" in secret:
        return None
    room = ctypes.create_string_buffer(_ROOM)
    found = function(secret, setting, room)
    return found if isinstance(found, bytes) and not found.startswith(b"*") else None


@cache
def _function() -> ctypes._NamedFuncPointer | None:
    for name in _LIBRARIES:
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p)
        function.restype = ctypes.c_char_p
        return function
    return None
