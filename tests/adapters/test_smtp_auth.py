"""How a session logs in at a relay, and when it does not."""

from __future__ import annotations

import base64

import pytest

from postroad.adapters.smtp import SmtpTransport
from postroad.mail.outcome import Fault, Stage
from postroad.mail.routing import Endpoint, Route
from postroad.ports.transport import ConnectFailed
from tests.support.connecting import ENCRYPTED, NONE, OPPORTUNISTIC, connected, failure, over_tls, trouble
from tests.support.scripted_smtp import Authority, Peer, ScriptedSmtp, accepting

ROUTE = Route("relay", username="user", password="secret")
PLAIN = base64.b64encode(b"\0user\0secret").decode()


@pytest.mark.parametrize(
    ("offered", "dialogue"),
    [
        ("AUTH PLAIN LOGIN", f"C: AUTH PLAIN {PLAIN}\nS: 235 Welcome"),
        ("AUTH LOGIN", "C: AUTH LOGIN dXNlcg==\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nS: 235 Welcome"),
        ("AUTH CRAM-MD5", "C: AUTH CRAM-MD5\nS: 334 PDE+\nC: dXNlci\nS: 235 Welcome"),
        ("auth plain", f"C: AUTH PLAIN {PLAIN}\nS: 235 Welcome"),
    ],
)
async def test_the_best_known_mechanism_logs_in(offered: str, dialogue: str) -> None:
    async def inside(peer: Peer) -> None:
        await peer.hello(offered)
        await peer.play(dialogue)
        await peer.expect("QUIT")

    script = over_tls(Authority().server("mx.example.org"), inside)
    async with connected(script, ENCRYPTED, ROUTE) as (session, _):
        assert session.usable


@pytest.mark.parametrize("line", ["535 5.7.8 Wrong", "454 4.7.0 Later", "421 4.3.2 Closing"])
async def test_a_refused_login_is_told_as_the_reply_it_is(line: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("AUTH PLAIN")
        await peer.play(f"C: AUTH PLAIN\nS: {line}")
        assert await peer.closed() == b"QUIT\r\n"

    failed = await failure(script, NONE, ROUTE)
    assert failed.stage is Stage.AUTH
    assert str(failed.what) == line


@pytest.mark.parametrize("dialogue", ["C: AUTH PLAIN\nS: 334 more", "C: AUTH PLAIN\nS: 235-a\nS: 535 b"])
async def test_an_answer_to_auth_that_is_none_is_a_violation(dialogue: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("AUTH PLAIN")
        await peer.play(dialogue)
        await peer.closed()

    assert trouble(await failure(script, NONE, ROUTE)) == (Stage.AUTH, Fault.PROTOCOL)


@pytest.mark.parametrize("offered", ["PIPELINING", "AUTH GSSAPI", "AUTH"])
async def test_without_a_known_mechanism_there_is_no_session(offered: str) -> None:
    failed = await failure(accepting(offered), NONE, ROUTE)
    assert trouble(failed) == (Stage.AUTH, Fault.NO_AUTH)


async def test_a_password_never_goes_in_clear_where_tls_was_wished_for() -> None:
    async with ScriptedSmtp(accepting("AUTH PLAIN")) as server:
        endpoint = Endpoint("mx", "127.0.0.1", server.port)
        with pytest.raises(ConnectFailed) as failed:
            async with SmtpTransport("c").connect(endpoint, OPPORTUNISTIC, ROUTE):
                pass
    assert trouble(failed.value) == (Stage.AUTH, Fault.NO_AUTH)
    assert not any("AUTH" in line for line in server.peers[0].said)


async def test_a_route_without_a_user_does_not_log_in() -> None:
    async with connected(accepting("AUTH PLAIN"), NONE, Route("relay")) as (session, server):
        assert session.usable
        assert [line[:4] for line in server.peers[0].said] == ["EHLO"]
