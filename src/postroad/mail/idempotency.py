"""Whether a submission was made before: the key a client gives it, and what it is compared by.

A client that lost the 250 may send again. Its key is looked up under its account: the
same submission is a repeat and answered with the id of the first, another one under
the same key is refused. The same is what was handed in, octet for octet, and to whom;
not what becomes of it (Received, Date, a signature).

The field Idempotency-Key is a word to us and no part of the message, so it is taken
out, unless the message comes signed: then it is sent as it was signed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from hashlib import sha256
from zlib import crc32

from postroad.mail.canonical import relaxed_body_hash
from postroad.mail.frozen import dataclass
from postroad.mail.headers import fields, value
from postroad.mail.message import Content, Envelope, Instant, Submission
from postroad.mail.reply import Reply

HEADER, ENVID, UNIQUE_ENVID, MESSAGE_ID = MARKS = ("header", "envid", "unique-envid", "message-id")
"""What may be a key; the first of these that a submission has is its key.

"header": the field Idempotency-Key. "envid": ENVID (RFC 3461 4.4) together with the
content; nothing there says that a client may not use one ENVID for many messages, as
those do that split a list of recipients or name a whole mailing, so other content is
another message. "unique-envid": ENVID alone, for clients known to use each once.
"message-id": Message-ID with the recipients.
"""

FIELD = b"idempotency-key"
KEY_LONGEST = 255
# Signatures whose list of signed fields may name the key: what they cover is left alone.
_SIGNATURES = frozenset((b"dkim-signature", b"arc-message-signature"))
_KEY = re.compile(rb'[!#-~]{1,%d}|"[!#-~]{1,%d}"' % (KEY_LONGEST, KEY_LONGEST))
_MESSAGE_ID = re.compile(rb"<[!-;=?-~]{1,512}>")

BAD_KEY = Reply(
    554,
    (f"Idempotency-Key is one field with 1 to {KEY_LONGEST} visible ASCII characters, in quotes or not",),
    "5.6.0",
)
OTHER_CONTENT = Reply(554, ("This idempotency key was used for another message",), "5.5.4")


@dataclass(frozen=True, slots=True)
class Key:
    """The key of one submission and the SHA-256 digest of what was submitted under it."""

    account: str
    name: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Known:
    """What was accepted under a key before: the queue id, and the digest of then."""

    id: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """A key to be kept with the message that is accepted under it, until it expires."""

    key: Key
    now: Instant
    expires_at: Instant


def may_have_key(submission: Submission, marks: Collection[str]) -> bool:
    """One cheap look, which nearly every message passes without a key."""
    return (
        submission.envelope.envid is not None
        or MESSAGE_ID in marks
        or FIELD in submission.content.head.lower()
    )


def key_of(submission: Submission, marks: Collection[str]) -> Key | Reply | None:
    """The key of a submission; the refusal of one that is none; None where there is none."""
    account, envelope, content = submission.account, submission.envelope, submission.content
    if HEADER in marks:
        written = [
            field.raw.partition(b":")[2].strip() for field in fields(content.head) if field.name == FIELD
        ]
        if len(written) > 1 or (written and not _KEY.fullmatch(written[0])):
            return BAD_KEY
        if written:
            name = written[0].strip(b'"').decode("ascii")
            return Key(account, f"{HEADER}:{name}", digest_of(envelope, content))
    if envelope.envid is not None and UNIQUE_ENVID in marks:
        return Key(account, f"{UNIQUE_ENVID}:{envelope.envid}", digest_of(envelope, content))
    if envelope.envid is not None and ENVID in marks:
        digest = digest_of(envelope, content)
        return Key(account, f"{ENVID}:{digest.hex()}:{envelope.envid}", digest)
    if MESSAGE_ID in marks and (found := _MESSAGE_ID.search(value(content.head, b"message-id") or b"")):
        named = sha256(b"\0".join((found[0], *_recipients(envelope))))
        return Key(account, f"{MESSAGE_ID}:{named.hexdigest()}", digest_of(envelope, content))
    return None


def digest_of(envelope: Envelope, content: Content) -> bytes:
    """What two submissions have in common that are the same: sender, recipients in any order, octets."""
    sender = str(envelope.sender).encode() if envelope.sender is not None else b""
    body = content.body
    # As a large body was read while it was received, whether this one went to disk or not: a door
    # that keeps more in memory must not make another message of it.
    if isinstance(body, bytes):
        shown = relaxed_body_hash(body) + b"%d %d" % (len(body), crc32(body))
    else:
        shown = body.relaxed_hash + b"%d %d" % (body.size, body.crc)
    digest = sha256()
    for piece in (sender, *_recipients(envelope), b"", content.head, shown):
        digest.update(b"%d:" % len(piece) + piece)
    return digest.digest()


def without_key(head: bytes) -> bytes:
    """The head without its Idempotency-Key, byte for byte else; as it is where it comes signed."""
    found = fields(head)
    if any(field.name in _SIGNATURES for field in found):
        return head
    kept = b"".join(field.raw for field in found if field.name != FIELD)
    return kept + head[sum(len(field.raw) for field in found) :]


def _recipients(envelope: Envelope) -> list[bytes]:
    return sorted(str(to.address).encode() for to in envelope.recipients)


def replayed(id: str) -> Reply:
    return Reply(250, (f"Ok: queued as {id}, id={id} (replayed)",), "2.0.0")
