"""What one attempt meant for one recipient: one value, made once, passed on unchanged.

Made by `mail.classify` alone; the queue stores it, the bounce quotes it, the log
prints it. (The idea of one status value carried whole is Postfix's DSN.)
"""

from __future__ import annotations

from enum import StrEnum

from postroad.mail.frozen import dataclass
from postroad.mail.reply import Reply


class Kind(StrEnum):
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    FAILED = "failed"


class Scope(StrEnum):
    """Whom the event hits, after Exim's model of host, message and recipient errors."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    SESSION = "session"
    HOST = "host"
    SITE = "site"


class Stage(StrEnum):
    """Where in an attempt something was said or went wrong."""

    LOCAL = "local"
    DNS = "dns"
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


class Reason(StrEnum):
    """The class of an outcome: what decides when to try again and what to tell people."""

    OK = "ok"
    RELAYED = "relayed"
    EXPANDED = "expanded"
    GREYLIST = "greylist"
    MAYBE_GREYLIST = "maybe-greylist"
    THROTTLE = "throttle"
    CONNECTIONS = "connections"
    NETWORK = "network"
    DNS = "dns"
    TLS = "tls"
    AUTH = "auth"
    FULL = "full"
    TEMPORARY = "other-temp"
    AMBIGUOUS = "ambiguous"
    PROTOCOL = "protocol"
    INTERNAL = "internal"
    INVALID = "invalid"
    INACTIVE = "inactive"
    BAD_DOMAIN = "bad-domain"
    TOO_BIG = "too-big"
    UNSUPPORTED = "unsupported"
    ROUTING = "routing"
    BLOCK = "block"
    SPAM = "spam"
    POLICY = "policy"
    PERMANENT = "other-perm"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    TOO_MANY_RECIPIENTS = "too-many-recipients"
    SCHEDULED = "scheduled"


GREYLISTING = frozenset({Reason.GREYLIST, Reason.MAYBE_GREYLIST})


class Fault(StrEnum):
    """Trouble that is not a reply: what an adapter saw, before anyone judged it."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    LOST = "lost"
    PROTOCOL = "protocol"
    TLS = "tls"
    TLS_MISSING = "tls-missing"
    UNREACHABLE = "unreachable"
    SIZE = "size"
    NO_SMTPUTF8 = "no-smtputf8"
    NO_8BITMIME = "no-8bitmime"
    NO_BINARYMIME = "no-binarymime"
    NO_REQUIRETLS = "no-requiretls"
    UNVALIDATED_MX = "unvalidated-mx"
    NO_AUTH = "no-auth"
    DNS_TEMPORARY = "dns-temporary"
    NO_SUCH_DOMAIN = "no-such-domain"
    NO_ADDRESS = "no-address"
    NULL_MX = "null-mx"
    LOOP = "loop"
    FORBIDDEN_ADDRESS = "forbidden-address"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A failure without a reply: where, what, and one printable line that says it to people.

    `dot_sent`: the final dot had left before it happened, so the receiver may
    own the message (RFC 5321 4.5.3.2.6): a repeat may be a duplicate.
    """

    stage: Stage
    fault: Fault
    text: str
    dot_sent: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one recipient after one attempt.

    `status` is an RFC 3463 code such as "4.4.1"; `text` one printable line;
    `host` the remote MTA as "name[address]:port" where there was one; `hint` the
    wait in seconds the receiver asked for.
    """

    kind: Kind
    scope: Scope
    reason: Reason
    status: str
    text: str
    stage: Stage
    reply: Reply | None = None
    host: str | None = None
    hint: float | None = None
