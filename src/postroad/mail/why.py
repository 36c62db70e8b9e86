"""Why a recipient waits: the one constraint that binds, of all that could.

Every open recipient has exactly one. What only a running daemon knows comes as `Live`; without
one the index alone answers, and what is due waits for a daemon.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from postroad.mail.backoff import RetryPolicy, class_waits
from postroad.mail.frozen import dataclass
from postroad.mail.lifecycle import State
from postroad.mail.local_names import LOCAL
from postroad.mail.message import Hold, Instant, Message, Recipient
from postroad.mail.outcome import Outcome, Reason
from postroad.mail.throttle import NotBefore
from postroad.mail.timestamps import rfc3339


class Constraint(StrEnum):
    """What binds. The order is that in which they are asked, the first that holds counts."""

    ACTIVE = "active"
    STOPPED = "daemon-down"
    HELD = "held"
    SCHEDULED = "scheduled"
    ALIAS = "alias-missing"
    ROUTE = "route-missing"
    PAUSED = "site-paused"
    DNS = "dns"
    TLS = "tls-policy"
    GREYLIST = "greylisted"
    HOST = "host-limit"
    RETRY = "retry-schedule"
    ALL_CONNECTIONS = "all-connections"
    CONNECTIONS = "connection-limit"
    TURN = "turn"
    DUE = "due"


@dataclass(frozen=True, slots=True)
class Live:
    """What a daemon knows of the way of a hop just now.

    `lookup` is why its name has no answer, until `lookup_until`. `busy` connections are open of
    `window` that may be; the window ends at `limit`, or at what `capped` taught us at `capped_at`.
    `ready`: deliveries that are claimed and wait for a connection. `full`: every connection that
    we may have to anybody, `most`, is taken.
    """

    site: str | None = None
    pause: NotBefore | None = None
    lookup: Outcome | None = None
    lookup_until: Instant = 0.0
    busy: int = 0
    window: int = 0
    limit: int = 0
    capped: Outcome | None = None
    capped_at: Instant | None = None
    ready: int = 0
    full: bool = False
    most: int = 0


@dataclass(frozen=True, slots=True)
class Why:
    """`text` is the sentence, `value` what the constraint is set to, `key` the setting that decides.

    `learned` is the reply, or the failure, that it comes from, heard `at`; `next_try` None: not
    before somebody or something else acts. `release` says what would let it go.
    """

    constraint: Constraint
    text: str
    release: str
    next_try: Instant | None = None
    value: str | None = None
    key: str | None = None
    learned: Outcome | None = None
    at: Instant | None = None


def explain(
    message: Message,
    row: Recipient,
    now: Instant,
    retry: RetryPolicy,
    live: Live | None,
    *,
    routed: bool,
    in_line: bool = False,
) -> Why:
    """Of an open recipient. `live` None: no daemon runs. `routed`: its route is configured.

    `in_line`: it is claimed, and no connection has taken it yet.
    """
    retry_now = f"postroad queue retry {message.id}"
    if row.state is State.ACTIVE:
        return _claimed(row, now, live, in_line=in_line)
    if row.state is State.HELD:
        return _held(row.held or Hold(), message)
    handling = message.handling
    if handling is not None and handling.hold_until is not None and handling.hold_until > now:
        text = "its sender scheduled it (FUTURERELEASE)"
        return Why(Constraint.SCHEDULED, text, retry_now, next_try=handling.hold_until)
    found = _way(row, now, live, routed=routed)
    if found is not None:
        return found
    if row.due > now:
        return _not_due(row, retry, retry_now)
    return _due(row, live)


def _held(hold: Hold, message: Message) -> Why:
    since = "" if hold.at is None else f" since {rfc3339(hold.at)}"
    text = f"{hold.by} holds it{since}" + (f": {hold.reason}" if hold.reason else "")
    release = f"postroad queue release {message.id}"
    return Why(Constraint.HELD, text, release, value=hold.reason or None)


def _claimed(row: Recipient, now: Instant, live: Live | None, *, in_line: bool) -> Why:
    if live is None:
        return Why(
            Constraint.STOPPED,
            "it was in an attempt when the daemon ended",
            "start the daemon: it is tried again at once",
            learned=row.last,
            at=row.last_attempt_at,
        )
    if in_line:
        # What stands in the queue as its next time is for the case that this process dies.
        return replace(_due(row, live), next_try=now)
    return Why(Constraint.ACTIVE, "it is being delivered now", "the end of the attempt", learned=row.last)


def _way(row: Recipient, now: Instant, live: Live | None, *, routed: bool) -> Why | None:
    """What is the matter with the whole way, whoever wants to go it."""
    retry_now = f"postroad queue retry {row.message}"
    if row.hop.route == LOCAL:
        return Why(
            Constraint.ALIAS,
            f"the local name {row.hop.name} leads to nobody",
            f'a line "{row.hop.name}: you@example.com" in the alias file, then newaliases',
            next_try=max(now, row.due),
            key="local.aliases",
            learned=row.last,
            at=row.last_attempt_at,
        )
    if not routed:
        return Why(
            Constraint.ROUTE,
            f"route {row.hop.route} is not configured any more",
            f"a [[route]] of that name, or postroad queue bounce {row.message}",
            next_try=max(now, row.due),
            learned=row.last,
        )
    if live is not None and live.pause is not None:
        pause = live.pause
        return Why(
            Constraint.PAUSED,
            f"its site {live.site} is paused after trouble; one message will go first, to probe",
            retry_now,
            next_try=max(row.due, pause.at),
            value=None if pause.since is None else _paused_for(pause.at - pause.since),
            key="limits.pause_first",
            learned=pause.why,
            at=pause.since,
        )
    if live is not None and live.lookup is not None:
        return Why(
            Constraint.DNS,
            f"nobody answers where mail for {row.hop.name} goes",
            f"an answer of the nameservers; {retry_now} asks at once",
            next_try=max(row.due, live.lookup_until),
            key="dns.nameservers",
            learned=live.lookup,
        )
    return None


def _paused_for(seconds: float) -> str:
    return f"{seconds:.0f}s this time; with each further trouble more, up to pause_longest"


_NOT_DUE: dict[Reason, tuple[Constraint, str, str]] = {
    Reason.GREYLIST: (
        Constraint.GREYLIST,
        "the receiver makes newcomers wait (greylisting)",
        "retry.greylist",
    ),
    Reason.MAYBE_GREYLIST: (
        Constraint.GREYLIST,
        "the receiver makes newcomers wait, as it seems (greylisting)",
        "retry.greylist",
    ),
    Reason.DNS: (Constraint.DNS, "nobody answered where its mail goes", "retry.schedule"),
    Reason.TLS: (Constraint.TLS, "the TLS that is required was not to be had", "route.tls"),
    Reason.CONNECTIONS: (Constraint.HOST, "the receiver had too many connections", "retry.schedule"),
    Reason.THROTTLE: (Constraint.HOST, "the receiver wants less mail at a time", "retry.schedule"),
}


def _not_due(row: Recipient, retry: RetryPolicy, retry_now: str) -> Why:
    """Its time has not come; whatever made it wait decides when."""
    last = row.last
    plain = Constraint.RETRY, "the last attempt failed for now", "retry.schedule"
    if last is None or (not row.attempts and last.reason not in _NOT_DUE):
        plain = Constraint.RETRY, "it was put off without an attempt", "retry.schedule"
    constraint, text, key = plain if last is None else _NOT_DUE.get(last.reason, plain)
    value, decides = _waits(row, retry, key)
    return Why(
        constraint,
        text,
        retry_now,
        next_try=row.due,
        value=value,
        key=decides,
        learned=last,
        at=row.last_attempt_at,
    )


def _waits(row: Recipient, retry: RetryPolicy, key: str) -> tuple[str, str | None]:
    """What the waits are, and the setting that says so; None: they are built in."""
    last = row.last
    if key == "route.tls":
        return "REQUIRETLS of its sender" if row.hop.requiretls else "as the route says", key
    if key == "retry.greylist" and last is not None and last.hint is not None:
        return f"{span(last.hint)}, as the receiver asked", key
    own = () if last is None else class_waits(last.reason, row.attempts)
    if own and last is not None:
        return f"{', '.join(map(span, own))}: built in for {last.reason}", None
    return ", ".join(map(span, retry.greylist if key == "retry.greylist" else retry.schedule)), key


def _due(row: Recipient, live: Live | None) -> Why:
    """Its time has come, and nothing is wrong with the way."""
    if live is None:
        text = "it is due, and no daemon runs"
        return Why(Constraint.STOPPED, text, "start the daemon", learned=row.last, at=row.last_attempt_at)
    if live.full and not live.busy:
        return Why(
            Constraint.ALL_CONNECTIONS,
            "every connection that this daemon may have is taken by other sites",
            "a connection that ends, or a higher limit",
            next_try=row.due,
            value=str(live.most),
            key="delivery.max_connections",
        )
    if live.busy >= live.window > 0:
        return _crowded(row, live)
    if live.ready:
        text = f"{live.ready} deliveries to {live.site} wait for a connection"
        return Why(Constraint.TURN, text, "its turn", next_try=row.due, value=str(live.ready))
    return Why(Constraint.DUE, "it is due and goes out next", "nothing is needed", next_try=row.due)


def _crowded(row: Recipient, live: Live) -> Why:
    taken = f"all {live.window} connections that {live.site} may have now are taken"
    value = f"{live.busy} of {live.window} now, {live.limit} at most"
    if live.capped is not None:
        text = f"{taken}: it refused more"
        return Why(
            Constraint.HOST,
            text,
            "a connection that ends; one more is tried every ten minutes, an hour after the refusal",
            next_try=row.due,
            value=value,
            learned=live.capped,
            at=live.capped_at,
        )
    full = live.window >= live.limit
    return Why(
        Constraint.CONNECTIONS,
        taken if full else f"{taken}; one more with each that delivers",
        "a connection that ends" + (", or a higher limit" if full else ""),
        next_try=row.due,
        value=value,
        key="limits.connections_per_site",
    )


def as_row(message: Message, row: Recipient, why: Why, origin: str | None) -> dict[str, object]:
    """As `postroad why --json` has it; `origin` is where the setting stands, None: no setting decides."""
    learned = why.learned
    return {
        "id": message.id,
        "sender": str(message.sender or ""),
        "recipient": str(row.address),
        "site": str(row.hop),
        "state": row.state.name.lower(),
        "attempts": row.attempts,
        "constraint": why.constraint.value,
        "text": why.text,
        "value": why.value,
        # A limit is a key of [delivery] or of its [[route]]: the origin says which.
        "setting": why.key and why.key.removeprefix("limits.").removeprefix("route."),
        "origin": origin,
        "learned": learned and learned.text,
        "learned_from": learned and learned.host,
        "learned_at": None if why.at is None or learned is None else rfc3339(why.at),
        "next_try": None if why.next_try is None else rfc3339(why.next_try),
        "expires": rfc3339(message.expires_at),
        "release": why.release,
    }


def span(seconds: float) -> str:
    """A length of time as the configuration writes it: "90s", "5m", "4h", "2d"."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and not seconds % size:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:g}s"
