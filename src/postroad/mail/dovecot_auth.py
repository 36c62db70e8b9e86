"""Lines of the Dovecot authentication protocol, version 1, as its clients see them.

Words are separated by TAB and escaped with %x01 (Dovecot's `strescape`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field

from postroad.mail.frozen import dataclass
from postroad.mail.sasl import SaslError, login_name

LINE_LONGEST = 8192
MAJOR = "1"
MECHANISMS_MOST = 64

_MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")
_ESCAPES = {"0": "\0", "1": "\1", "t": "\t", "r": "\r", "n": "\n"}
_ESCAPED = re.compile("\1(.?)", re.DOTALL)
_SPECIAL = re.compile("[\0\1\t\r\n]")
_NAMES = {char: "\1" + name for name, char in _ESCAPES.items()}
# What asks for nobody's name, what is not for clients, and what would need facts of our TLS.
_UNFIT = frozenset({"ANONYMOUS", "EXTERNAL"})
_UNFIT_FLAGS = frozenset({"anonymous", "private"})


class DovecotError(ValueError):
    """The peer does not speak this protocol; the text is printable."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Base64 for the client."""

    challenge: str


@dataclass(frozen=True, slots=True)
class Passed:
    account: str


@dataclass(frozen=True, slots=True)
class Failed:
    """`temporary`: nobody knows whether the login was right."""

    login: str
    temporary: bool


Answer = Continue | Passed | Failed


@dataclass(slots=True)
class Handshake:
    """The server's words up to DONE, line by line."""

    mechanisms: list[str] = field(default_factory=list)
    _greeted: bool = False

    def take(self, line: str) -> bool:
        """True with the last line. Raises DovecotError."""
        word, *rest = split(line)
        if word == "VERSION":
            if not rest or rest[0] != MAJOR:
                raise DovecotError("speaks another version than 1")
            self._greeted = True
        elif not self._greeted:
            raise DovecotError("does not say its version first")
        elif word == "MECH" and rest and not _UNFIT_FLAGS.intersection(rest[1:]):
            self._offer(rest[0].upper())
        return word == "DONE"

    def _offer(self, name: str) -> None:
        fit = _MECHANISM.fullmatch(name) and not name.endswith("-PLUS") and name not in _UNFIT
        if fit and name not in self.mechanisms and len(self.mechanisms) < MECHANISMS_MOST:
            self.mechanisms.append(name)


def split(line: str) -> list[str]:
    """The words of a line."""
    return [_ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), word) for word in line.split("\t")]


def join(words: Iterable[str]) -> str:
    """A line of these words, without its line end."""
    return "\t".join(_SPECIAL.sub(lambda found: _NAMES[found[0]], word) for word in words)


def greeting(pid: int) -> list[str]:
    return [join(("VERSION", MAJOR, "1")), join(("CPID", str(pid)))]


def request(id: int, mechanism: str, address: str, port: int, response: str | None) -> str:
    """AUTH; `response`: base64 as the client sent it, checked, None where it sent none.

    The channel is secured: without TLS there is no login.
    """
    words = ["AUTH", str(id), mechanism, "service=smtp", "secured", "nologin"]
    if address != "unknown":
        words += [f"rip={address}", f"rport={port}"]
    if response is not None:
        words.append(f"resp={response}")
    return join(words)


def response(id: int, base64: str) -> str:
    return join(("CONT", str(id), base64))


def parse_answer(line: str, id: int) -> Answer | None:
    """What is said of request `id`; None for a line that is about something else. Raises DovecotError."""
    word, *rest = split(line)
    if word not in ("OK", "FAIL", "CONT") or not rest or rest[0] != str(id):
        return None
    if word == "CONT":
        return Continue(_challenge(rest[1] if len(rest) > 1 else ""))
    facts = dict(part.partition("=")[::2] for part in rest[1:])
    if word == "OK":
        try:
            return Passed(login_name(facts.get("user", "").encode()))
        except (SaslError, UnicodeEncodeError):
            raise DovecotError("names no account") from None
    temporary = "temp" in facts or facts.get("code") == "temp_fail"
    login = facts.get("user", "")
    return Failed(login if login.isprintable() else "", temporary)


def _challenge(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", text):
        raise DovecotError("a challenge that is not base64")
    return text
