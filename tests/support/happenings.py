"""One of every event, with everything filled in."""

from __future__ import annotations

from typing import Any

from postroad.mail.events import (
    Accepted,
    AliasTrouble,
    Ambiguous,
    CertificateWanes,
    Descriptors,
    DescriptorsScarce,
    DoorsFull,
    DoubleBounce,
    Event,
    Expanded,
    Exposed,
    Held,
    HopDeferred,
    HopFailed,
    InternalError,
    Linted,
    LoggedIn,
    LoginFailed,
    LoginUnavailable,
    Notified,
    OpenRelay,
    Operated,
    PolicyFailed,
    Recovered,
    Refused,
    Reloaded,
    Removed,
    Replayed,
    SessionEnded,
    SitePaused,
    SiteResumed,
    Started,
    Stopped,
    Stopping,
    StorageTrouble,
    Stuck,
    Tried,
)
from postroad.mail.message import Attempt, Instant, Peer, TlsFacts
from postroad.mail.outcome import Outcome
from postroad.mail.routing import Endpoint
from tests.support.build import NOW, deferred, delivered, delivery, failed, message, queue_id, recipient

ID = queue_id(1)
OTHER_ID = queue_id(2)
PEER = Peer(
    "203.0.113.7", 40123, "client.example", "ESMTPSA", "TLSv1.3 TLS_AES_256_GCM_SHA384", "app", "PLAIN"
)


def tried(*outcomes: Outcome, due: Instant | None = NOW + 600, **fields: Any) -> Tried:
    """An attempt at one recipient an outcome, connected from 0.1 s to 0.2 s, done after 0.5 s."""
    owner = message()
    chosen = outcomes or (delivered(),)
    to = [recipient(f"b{n}@example.org", n=n, attempts=2) for n in range(len(chosen))]
    facts: dict[str, Any] = {
        "delivery": delivery(owner, *to),
        "endpoint": Endpoint("mx.example.org", "192.0.2.1", 25),
        "tls": TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", True),
        "started": NOW + 0.2,
        "finished": NOW + 0.5,
        "outcomes": chosen,
        "connected": 0.1,
    } | fields
    return Tried(Attempt(**facts), tuple(due if o.kind == "deferred" else None for o in chosen))


def accepted(**fields: Any) -> Accepted:
    facts: dict[str, Any] = {
        "id": ID,
        "peer": PEER,
        "account": "app",
        "sender": "a@example.com",
        "recipients": ("b@example.org", "c@example.org"),
        "size": 4000,
        "message_id": "<1@example.com>",
    } | fields
    return Accepted(**facts)


EVERY: tuple[Event, ...] = (
    Started("1.0", ("127.0.0.1:587",), 3),
    Stopping("SIGTERM"),
    Stopped(2),
    Reloaded("/etc/postroad/postroad.toml", (), ("listener",)),
    Reloaded("/etc/postroad/postroad.toml", ("line 3: no such key",)),
    accepted(),
    Expanded("0F3K8M2Q4W1Z", "root@localhost", ("anna@example.com",), "0F3K8M2Q4W1Z"),
    AliasTrouble(("/etc/aliases:3: root: no address",)),
    Exposed(("/etc/postroad/key.pem: everybody may read it: chmod o= /etc/postroad/key.pem",)),
    Stuck("index"),
    Replayed(OTHER_ID, PEER, "app"),
    OpenRelay("0.0.0.0:25", "submission.trusted_networks has 0.0.0.0/0"),
    Descriptors(20_000, 2_576, 1_000),
    Descriptors(1_024, 2_576, 16),
    CertificateWanes("/etc/postroad/cert.pem: expires in 3 days"),
    DescriptorsScarce(1_024),
    DoorsFull(1_000, 1_000, 990, 12, 3, ("127.0.0.1 (100)", "127.0.0.2 (100)")),
    Refused(PEER, "RCPT", "a@example.com", "x@example.net", "554 5.7.1 Relay access denied"),
    Held(OTHER_ID, "rspamd", "score 12 of 15"),
    PolicyFailed(OTHER_ID, "rspamd", "TimeoutError: no answer in 10 s", "tempfail"),
    Linted(OTHER_ID, PEER, "app", "a@example.com", ("bad-date: Date names the wrong day of the week",)),
    LoginFailed(PEER, "LOGIN", "root"),
    LoginUnavailable(PEER, "PLAIN", "nobody answers"),
    LoggedIn(PEER, "PLAIN", "app"),
    SessionEnded(PEER, "quit", 1),
    SessionEnded(PEER, "limit", 0),
    tried(delivered(), deferred(), failed()),
    HopDeferred("example.org", 12, NOW + 300, "no answer"),
    HopFailed("example.invalid", 1, "no such domain"),
    SitePaused("example.org", NOW + 60, "421 busy"),
    SiteResumed("example.org"),
    Notified(ID, queue_id(2), "failed", "a@example.com"),
    DoubleBounce(ID, "550 no"),
    Removed(ID),
    Recovered(1, 2, 0, 0),
    Recovered(1, 2, 1, 0),
    Ambiguous("0F3K8M2Q4W1Z", ("b@example.org", "c@example.org")),
    Operated("delete", 2, 0, (ID,)),
    InternalError("intake", "ValueError('x')", 'Traceback:\n  File "x"\nValueError: x'),
    StorageTrouble("append", "No space left on device"),
)
