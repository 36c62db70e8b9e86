"""Whether a submission was made before: the key a client gives it, and what it is compared by.

A client that lost the 250 may send again. The key is looked up under the account; the
same content under it is a repeat, other content is a mistake of the client.
"""

from __future__ import annotations

MARKS = ("header", "envid", "unique-envid", "message-id")
"""What may be a key, the first that a submission has. "header": the field Idempotency-Key.

"envid": ENVID (RFC 3461 4.4) with the content; nothing there says that a client may not
use one ENVID for many messages, as those do that split a list of recipients or name a
whole mailing, so other content is another message. "unique-envid": ENVID alone, for
clients that are known to use each once. "message-id": Message-ID with the recipients.
"""
