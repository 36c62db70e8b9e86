"""rspamd as a content policy, asked by its HTTP protocol, /checkv2.

What it answers is an action, and each action has a meaning: "accept", "headers"
(X-Spam: Yes), "subject" (the one it proposes), "hold", "tempfail" or "reject". Header
changes that its modules ask for are made whatever the action, but for a refusal.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final

import msgspec

from postroad.adapters.http_client import address, post
from postroad.mail.policy import PASS, Verdict, View
from postroad.mail.printable import printable
from postroad.mail.reply import Reply

PORT: Final = 11333
MAX_ANSWER: Final = 1024 * 1024
MEANINGS: Final = ("accept", "headers", "subject", "hold", "tempfail", "reject")
# Greylisting asks a client to come again, which is for servers; where rspamd's own module
# means it, it says "soft reject". What it would throw away unseen is held.
ACTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "no action": "accept",
        "greylist": "accept",
        "add header": "headers",
        "rewrite subject": "subject",
        "soft reject": "tempfail",
        "reject": "reject",
        "quarantine": "hold",
        "discard": "hold",
    }
)


class RspamdError(Exception):
    """An answer that means nothing; one printable line says why."""


class Rspamd:
    """`ports.policy.Policy`. Messages larger than `max_size` octets pass unseen."""

    def __init__(
        self,
        url: str,
        hostname: str,
        *,
        password: str | None = None,
        max_size: int = 20 * 1024 * 1024,
        actions: Mapping[str, str] = ACTIONS,
    ) -> None:
        """Raises ValueError for a bad address. `actions` says of some or all actions what they mean."""
        base = address(url, PORT)
        if "?" in base.target:
            raise ValueError(f"an address with a query: {url}")
        self._to = replace(base, target=base.target.rstrip("/") + "/checkv2")
        self._hostname = hostname
        self._password = password
        self._max_size = max_size
        self._actions = {**ACTIONS, **actions}

    async def consider(self, view: View) -> Verdict:
        """Raises HttpError, RspamdError."""
        if view.size > self._max_size:
            return PASS
        status, answer = await post(self._to, self._fields(view), _content(view), view.size, most=MAX_ANSWER)
        if status != 200:
            raise RspamdError(f"answered with HTTP status {status}")
        try:
            said = msgspec.json.decode(answer, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise RspamdError("answered with what is no JSON object") from None
        return verdict(said, self._actions)

    def _fields(self, view: View) -> list[tuple[str, str]]:
        """What rspamd is told beside the message; local programs have a loopback address."""
        peer, envelope = view.peer, view.envelope
        made = [
            ("Queue-Id", view.id),
            ("IP", _ip(peer.address)),
            ("Helo", peer.helo or "unknown"),
            ("Hostname", "unknown"),
            ("User", view.account),
            ("From", str(envelope.sender) if envelope.sender else "<>"),
            *(("Rcpt", str(to.address)) for to in envelope.recipients),
            ("MTA-Name", self._hostname),
        ]
        if peer.tls:
            version, _, cipher = peer.tls.partition(" ")
            made += [("TLS-Version", version), ("TLS-Cipher", cipher)]
        if self._password is not None:
            made.append(("Password", self._password))
        return made


def _ip(peer: str) -> str:
    try:
        return str(ip_address(peer.partition("%")[0]))
    except ValueError:
        return "127.0.0.1"


async def _content(view: View) -> AsyncIterator[bytes]:
    yield view.head
    async for chunk in view.chunks():
        yield chunk


def verdict(said: Mapping[str, Any], actions: Mapping[str, str]) -> Verdict:
    """What an answer means. Raises RspamdError."""
    action = said.get("action")
    meaning = actions.get(action) if isinstance(action, str) else None
    if meaning is None:
        raise RspamdError(f"answered with an action that is not known: {action!a:.60}")
    if meaning in ("reject", "tempfail"):
        return Verdict(refusal=_refusal(said, meaning))
    remove, add = _changes(said)
    if meaning == "headers":
        add = (*add, ("X-Spam", "Yes"))
    subject = said.get("subject")
    if meaning == "subject" and isinstance(subject, str):
        remove, add = (*remove, "Subject"), (*add, ("Subject", subject))
    held = f"{action}, {_score(said)}" if meaning == "hold" else None
    return Verdict(hold=held, remove=remove, add=add)


def _refusal(said: Mapping[str, Any], meaning: str) -> Reply:
    messages = said.get("messages")
    text = messages.get("smtp_message") if isinstance(messages, dict) else None
    if not isinstance(text, str) or not text:
        text = (
            "Refused for its content" if meaning == "reject" else "Put off for its content, try again later"
        )
    text = printable(text).encode("ascii", "replace").decode("ascii")[:200]
    return Reply(550, (text,), "5.7.1") if meaning == "reject" else Reply(451, (text,), "4.7.1")


def _score(said: Mapping[str, Any]) -> str:
    score, required = said.get("score"), said.get("required_score")
    shown = [f"{number:.2f}" for number in (score, required) if isinstance(number, int | float)]
    return "score " + " of ".join(shown) if shown else "no score"


def _changes(said: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Headers to remove and to add, as modules ask a milter for them."""
    milter = said.get("milter")
    if not isinstance(milter, dict):
        return (), ()
    remove, add = milter.get("remove_headers") or {}, milter.get("add_headers") or {}
    if not isinstance(remove, dict) or not isinstance(add, dict):
        raise RspamdError("answered with header changes that are none")
    made: list[tuple[str, str]] = []
    for name, value in add.items():
        for each in value if isinstance(value, list) else [value]:
            text = each.get("value") if isinstance(each, dict) else each
            if not isinstance(text, str):
                raise RspamdError("answered with a header that is no text")
            made.append((name, text.replace("\r\n", "\n").rstrip("\n")))
    return tuple(remove), tuple(made)
