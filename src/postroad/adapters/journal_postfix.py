"""Events in the words of Postfix, for what reads Postfix's log: pflogsumm, fail2ban, logwatch.

A line is `Mon DD HH:MM:SS host postfix/PROCESS[pid]: TEXT`, the time local, as syslog
writes files. The time stays under journald too: `journalctl -o cat` then gives those
tools the file they expect.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from postroad.adapters.journal_fields import (
    ERROR,
    WARNING,
    Entry,
    clean,
    delays,
    flatten,
    level_of,
    level_of_outcome,
    name_of,
)
from postroad.mail.account import USER
from postroad.mail.events import (
    Accepted,
    Event,
    InternalError,
    LoginFailed,
    LoginUnavailable,
    Notified,
    Refused,
    Removed,
    SessionEnded,
    Started,
    Stopping,
    Tried,
)
from postroad.mail.message import Instant, Peer
from postroad.mail.outcome import Kind

_STATUS = {Kind.DELIVERED: "sent", Kind.DEFERRED: "deferred", Kind.FAILED: "bounced"}
_NOTIFICATIONS = {
    "failed": "sender non-delivery notification",
    "delayed": "sender delay notification",
    "relayed": "sender delivery status notification",
}

# (process, text)
Said = tuple[str, str]


class PostfixLines:
    """The renderer of `log.format = "postfix"`."""

    def __init__(self, hostname: str, pid: int) -> None:
        self._host = clean(hostname).replace(" ", "")
        self._pid = pid
        self._second = -1
        self._stamp = ""

    def event(self, now: Instant, event: Event, least: int) -> Iterable[tuple[int, bytes]]:
        if isinstance(event, Tried):
            return [(level, self._line(now, "smtp", text)) for level, text in _tried(event, least)]
        level = level_of(event)
        if level < least:
            return ()
        words = _WORDS.get(type(event))
        lines = _plain(Entry(level, name_of(type(event)), flatten(event))) if words is None else words(event)
        return [(level, self._line(now, process, text)) for process, text in lines]

    def entry(self, now: Instant, entry: Entry) -> Iterable[tuple[int, bytes]]:
        return [(entry.level, self._line(now, process, text)) for process, text in _plain(entry)]

    def _line(self, now: Instant, process: str, text: str) -> bytes:
        second = int(now)
        if second != self._second:
            then = time.localtime(second)
            # strftime's %b follows the locale, the log does not.
            self._stamp = f"{_MONTHS[then.tm_mon - 1]} {then.tm_mday:2d} {time.strftime('%H:%M:%S', then)}"
            self._second = second
        return f"{self._stamp} {self._host} postfix/{process}[{self._pid}]: {text}".encode()


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _client(peer: Peer) -> str:
    """`unknown[192.0.2.1]`: nobody looks a name up for a log, but a host in front of us may have said it."""
    return f"{clean(peer.name) or 'unknown'}[{_address(peer)}]"


def _address(peer: Peer) -> str:
    return _ip_address(peer.address)


@lru_cache(maxsize=1024)
def _ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return "unknown"


def _is_remote(peer: Peer) -> bool:
    return _address(peer) != "unknown"


def _angle(address: str) -> str:
    return f"<{clean(address)}>"


def _accepted(event: Accepted) -> Iterator[Said]:
    id, peer = clean(event.id), event.peer
    if _is_remote(peer):
        yield "smtpd", f"{id}: client={_client(peer)}{_login(peer)}"
    else:
        uid = event.account.removeprefix(USER)
        yield "pickup", f"{id}: uid={clean(uid)} from={_angle(event.sender)}"
    yield "cleanup", f"{id}: message-id={clean(event.message_id)}"
    nrcpt = len(event.recipients)
    yield "qmgr", f"{id}: from={_angle(event.sender)}, size={event.size}, nrcpt={nrcpt} (queue active)"


def _login(peer: Peer) -> str:
    if peer.login is None:
        return ""
    return f", sasl_method={clean(peer.method or '')}, sasl_username={clean(peer.login)}"


_VERBS = {
    "connect": "CONNECT",
    "ehlo": "EHLO",
    "helo": "EHLO",
    "auth": "AUTH",
    "mail": "MAIL",
    "rcpt": "RCPT",
    "data": "DATA",
    "dot": "END-OF-MESSAGE",
}


def _refused(event: Refused) -> Iterator[Said]:
    verb = _VERBS.get(event.stage.lower(), "END-OF-MESSAGE")
    reply = _about(event.recipient if verb == "RCPT" else event.sender, clean(event.reply))
    facts = [f"from={_angle(event.sender)}"]
    if event.recipient:
        facts.append(f"to={_angle(event.recipient)}")
    facts += [f"proto={clean(event.peer.protocol)}", f"helo={_angle(event.peer.helo)}"]
    yield "smtpd", f"NOQUEUE: reject: {verb} from {_client(event.peer)}: {reply}; {' '.join(facts)}"


def _about(address: str, reply: str) -> str:
    """`550 5.7.1 text` -> `550 5.7.1 <address>: text`, where filters look for the address."""
    code, _, rest = reply.partition(" ")
    status, _, text = rest.partition(" ")
    if not address or status.count(".") != 2 or text.startswith("<"):
        return reply
    return f"{code} {status} {_angle(address)}: {text}"


# What fail2ban's filter for Postfix (postfix[mode=auth]) knows; others it would overlook.
_KNOWN_METHODS = frozenset({"LOGIN", "PLAIN", "CRAM-MD5", "DIGEST-MD5"})


def _login_failed(event: LoginFailed) -> Iterator[Said]:
    who, method = _client(event.peer), clean(event.method).upper()
    known = method if method in _KNOWN_METHODS else "LOGIN"
    facts = "" if known == method else f"sasl_method={method}, "
    why = "authentication failure" if event.reason == "wrong" else "too many failures before"
    yield (
        "smtpd",
        f"warning: {who}: SASL {known} authentication failed: {why}, "
        f"{facts}sasl_username={clean(event.login)}",
    )


def _login_unavailable(event: LoginUnavailable) -> Iterator[Said]:
    who, method = _client(event.peer), clean(event.method).upper()
    # These first words keep fail2ban from banning for it.
    lost = "Connection lost to authentication server"
    yield "smtpd", f"warning: {who}: SASL {method} authentication failed: {lost}, {clean(event.text)}"


def _session_ended(event: SessionEnded) -> Iterator[Said]:
    who = _client(event.peer)
    if event.how == "limit":
        yield "smtpd", f"too many errors after RCPT from {who}"
    yield "smtpd", f"disconnect from {who}"


def _notified(event: Notified) -> Iterator[Said]:
    kind = _NOTIFICATIONS.get(event.kind, _NOTIFICATIONS["relayed"])
    dsn = clean(event.dsn)
    yield "bounce", f"{clean(event.id)}: {kind}: {dsn}"
    # The notification is a message of its own, which no client brought.
    yield "qmgr", f"{dsn}: from=<>, size={event.size}, nrcpt=1 (queue active)"


def _removed(event: Removed) -> Iterator[Said]:
    yield "qmgr", f"{clean(event.id)}: removed"


def _started(event: Started) -> Iterator[Said]:
    yield "master", f"daemon started -- version {clean(event.version)}"


def _stopping(event: Stopping) -> Iterator[Said]:
    yield "master", f"terminating on {clean(event.reason)}"


def _internal_error(event: InternalError) -> Iterator[Said]:
    yield "postroad", f"panic: {clean(event.where)}: {clean(event.text)}"
    for line in event.trace.splitlines():
        yield "postroad", f"panic: | {clean(line)}"


_WORDS: dict[type, Callable[[Any], Iterator[Said]]] = {
    Accepted: _accepted,
    Refused: _refused,
    LoginFailed: _login_failed,
    LoginUnavailable: _login_unavailable,
    SessionEnded: _session_ended,
    Notified: _notified,
    Removed: _removed,
    Started: _started,
    Stopping: _stopping,
    InternalError: _internal_error,
}

_GRAVITY = {WARNING: "warning: ", ERROR: "error: "}


def _plain(entry: Entry) -> Iterator[Said]:
    """What Postfix has no line for, under our own name: the name of the event, and its fields."""
    level, name, fields, _ = entry
    shown = ", ".join(
        f"{key}={_value(value)}" for key, value in fields.items() if value not in (None, "", [])
    )
    yield "postroad", f"{_GRAVITY.get(level, '')}{name}: {shown}"


def _value(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


# --- attempts ------------------------------------------------------------------


def _tried(event: Tried, least: int) -> Iterator[tuple[int, str]]:
    attempt = event.attempt
    message = attempt.delivery.message
    id = clean(message.id)
    relay = "none" if attempt.endpoint is None else clean(str(attempt.endpoint))
    spent = "/".join(map(seconds, delays(attempt)))
    delay = seconds(attempt.finished - message.received_at)
    for recipient, outcome in zip(attempt.delivery.recipients, attempt.outcomes, strict=True):
        level = level_of_outcome(outcome)
        if level >= least:
            to, status = _angle(str(recipient.address)), _STATUS[outcome.kind]
            yield (
                level,
                f"{id}: to={to}, relay={relay}, delay={delay}, delays={spent}, "
                f"dsn={clean(outcome.status)}, status={status} ({clean(outcome.text)})",
            )


def seconds(value: float) -> str:
    """Two significant digits, at most two after the point: 0, 0.05, 0.5, 1.2, 12, 345."""
    value = max(0.0, value)
    if value >= 9.95:
        return f"{value:.0f}"
    text = f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".")
