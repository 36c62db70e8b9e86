"""Anything at all said to the door: it answers in well-formed replies, or closes; it has no bug to report."""

from __future__ import annotations

import asyncio
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.config.model import SubmissionConfig
from postroad.mail.events import InternalError, SessionEnded
from tests.support.door import client, house

FRAGMENTS = st.sampled_from(
    [
        b"EHLO c\r\n",
        b"HELO c\r\n",
        b"MAIL FROM:<a@x.example>\r\n",
        b"MAIL FROM:<> BODY=8BITMIME SIZE=9\r\n",
        b"RCPT TO:<b@y.example>\r\n",
        b"RCPT TO:<b@y.example> NOTIFY=NEVER\r\n",
        b"MAIL FROM:<a@x.example> BODY=BINARYMIME\r\n",
        b"DATA\r\n",
        b"BDAT 5\r\n",
        b"BDAT 3\r\n\n.\r",
        b"BDAT 0 LAST\r\n",
        b"BDAT 9 LAST\r\n",
        b"BDAT 999 LAST\r\n",
        b"BDAT ",
        b".\r\n",
        b"\r\n.\r\n",
        b"Subject: s\r\n\r\nhi\r\n",
        b"RSET\r\n",
        b"AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\r\n",
        b"STARTTLS\r\n",
        b"NOOP\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b" ",
    ]
)
SAID = re.compile(rb"(?:[2345][0-9]{2}[ -][ -~]*\r\n)*")
CONFIG = SubmissionConfig(max_message_size=200, max_header_size=50, spill_threshold=20, max_errors=50)


@settings(max_examples=150, deadline=None)
@given(octets=st.lists(FRAGMENTS | st.binary(max_size=20), max_size=25).map(b"".join))
def test_any_octets_are_answered_in_well_formed_replies(octets: bytes) -> None:
    said, bugs, ends = asyncio.run(talk(octets))
    assert SAID.fullmatch(said), said
    assert bugs == []
    assert ends == 1


async def talk(octets: bytes) -> tuple[bytes, list[InternalError], int]:
    """All the door says to these octets, its bugs, and how many sessions came to an end."""
    async with house(tls="off", auth="optional", config=CONFIG) as place:
        async with client(place) as one:
            one.send(octets)
            one.half_close()
            said = await one.rest()
        place.doors.close()
        await place.doors.wait_closed()
        return said, place.events.of(InternalError), len(place.events.of(SessionEnded))
