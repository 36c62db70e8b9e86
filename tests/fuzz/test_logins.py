"""Any exchange at all, of any mechanism: the door answers in well-formed replies and has no bug to report."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.adapters.oauth import OAuthTokens
from postroad.adapters.smtpd_auth import Logins
from postroad.config.model import SubmissionConfig
from postroad.mail.events import InternalError, LoggedIn
from postroad.mail.jwt import Demands
from postroad.mail.login_limits import LoginLimits
from postroad.mail.scram import verifier
from tests.support.door import FakeAccounts, StillClock, client, house

KNOWN = {"alice": verifier(b"wonderland", b"salt", 4096)}
SAID = re.compile(r"[2345][0-9]{2}[ -][ -~\n-]*")
CONFIG = SubmissionConfig(max_errors=1000, max_auth_failures=1000)
COMMANDS = st.sampled_from(
    [
        f"AUTH {name}"
        for name in ("PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "EXTERNAL", "X")
    ]
)
MESSAGES = st.lists(
    st.sampled_from(
        [
            b"n,,",
            b"p=tls-unique,,",
            b"y,a=x,",
            b"n=alice,r=abc",
            b"c=biws,r=",
            b",p=",
            b"user=a",
            b"\x01",
            b"\x00",
            b"auth=Bearer abc",
            b"alice",
            b"net:1",
            b"=2C",
            b"A" * 43 + b"=",
        ]
    )
    | st.binary(max_size=6),
    max_size=6,
).map(lambda parts: b64encode(b"".join(parts)).decode())
LINES = MESSAGES | st.sampled_from(["*", "=", "", "A", "%%"])


class NoClaims:
    """Takes no token."""

    async def of(self, token: str) -> Mapping[str, object] | None:
        return None


@settings(max_examples=100, deadline=None)
@given(exchanges=st.lists(st.tuples(COMMANDS, st.none() | LINES, st.lists(LINES, max_size=4)), max_size=6))
def test_any_exchange_is_answered(exchanges: list[tuple[str, str | None, list[str]]]) -> None:
    said, bugs, logins = asyncio.run(talk(exchanges))
    assert all(SAID.fullmatch(reply) for reply in said), said
    assert bugs == []
    assert logins == 0


async def talk(
    exchanges: list[tuple[str, str | None, list[str]]],
) -> tuple[list[str], list[InternalError], int]:
    tokens = OAuthTokens(NoClaims(), Demands(), StillClock(), expires=False)
    ways = Logins(FakeAccounts({}, verifiers=KNOWN), tokens, limits=LoginLimits(1000, 1000))
    said = []
    async with house(tls="implicit", logins=ways, config=CONFIG) as place:
        async with client(place, tls=True) as one:
            await one.reply()
            await one.say("EHLO c")
            for command, initial, lines in exchanges:
                said.append(await one.say(command if initial is None else f"{command} {initial}"))
                for line in lines:
                    if said[-1].startswith("334"):
                        said.append(await one.say(line))
                if said[-1].startswith("334"):
                    said.append(await one.say("*"))
        return said, place.events.of(InternalError), len(place.events.of(LoggedIn))
