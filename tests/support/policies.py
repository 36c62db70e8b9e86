"""Views of a submission, for whoever judges one."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from postroad.mail.message import Envelope, Lane, Peer
from postroad.mail.policy import View
from tests.support.build import BODY, HEAD, NOW, address, envelope_recipient, queue_id


def view(head: bytes = HEAD, body: bytes = BODY, **fields: Any) -> View:
    """A submission of "user" from 203.0.113.7 as a policy is shown it."""

    async def slice(start: int, end: int) -> bytes:
        return body[start:end]

    usual: dict[str, Any] = {
        "id": queue_id(1),
        "envelope": Envelope(address("a@example.com"), (envelope_recipient(),)),
        "account": "user",
        "lane": Lane.NORMAL,
        "peer": Peer("203.0.113.7", 40123, "client.example", tls="TLSv1.3 TLS_AES_256_GCM_SHA384"),
        "received_at": NOW,
    }
    return View(
        **{**usual, **fields},
        head=head,
        size=len(head) + len(body),
        opened=lambda: nullcontext(body),
        slice=slice,
    )
