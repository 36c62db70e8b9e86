from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from postroad.adapters.oauth import AskedClaims, Endpoint, OAuthTokens, SignedClaims
from postroad.adapters.oauth_keys import KeyRing, TokenKeyError
from postroad.adapters.smtpd_auth import Logins
from postroad.demo.process import HANGS_AFTER
from postroad.mail.jwt import Demands
from postroad.ports.logins import LoginsUnavailable
from tests.support.door import NOW, StillClock, client, house

DEMANDS = Demands("sub", audience="smtp")
CLAIMS = {"sub": "anna", "aud": "smtp", "exp": NOW + 100}

NONE = b'{"alg":"none"}'
RSA = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def url64(octets: bytes) -> str:
    return urlsafe_b64encode(octets).decode().rstrip("=")


def by_p256(octets: bytes) -> bytes:
    r, s = decode_dss_signature(P256.sign(octets, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def by_pss(octets: bytes) -> bytes:
    return RSA.sign(octets, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


SIGNERS: dict[str, Callable[[bytes], bytes]] = {
    "RS256": lambda octets: RSA.sign(octets, padding.PKCS1v15(), hashes.SHA256()),
    "PS256": by_pss,
    "ES256": by_p256,
    "EdDSA": ED.sign,
}


def token(algorithm: str, claims: object = CLAIMS, *, called: str | None = None) -> str:
    header = url64(json.dumps({"alg": called or algorithm}).encode())
    signed = f"{header}.{url64(json.dumps(claims).encode())}"
    return f"{signed}.{url64(SIGNERS[algorithm](signed.encode()))}"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("oauth") / "keys.pem"
    pems = [
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for key in (RSA, P256, ED)
    ]
    path.write_bytes(b"".join(pems))
    return path


@pytest.fixture
def tokens(keys: Path) -> OAuthTokens:
    return OAuthTokens(SignedClaims(KeyRing(keys)), DEMANDS, StillClock(), expires=True)


@pytest.mark.parametrize("algorithm", SIGNERS)
async def test_a_signed_token_names_its_account(tokens: OAuthTokens, algorithm: str) -> None:
    assert await tokens.check(token(algorithm)) == "anna"
    assert await tokens.check(token(algorithm)) == "anna"


async def test_a_token_that_is_not_good_names_nobody(tokens: OAuthTokens) -> None:
    good = token("RS256")
    head, body, signature = good.split(".")
    public = url64(json.dumps(CLAIMS | {"sub": "bob"}).encode())
    for wrong in (
        f"{head}.{public}.{signature}",
        f"{head}.{body}.",
        f"{url64(NONE)}.{body}.",
        token("RS256", called="HS256"),
        token("RS256", called="ES256"),
        token("EdDSA", called="RS256"),
        token("RS256", CLAIMS | {"exp": NOW - 100}),
        token("RS256", {"sub": "anna", "aud": "smtp"}),
        token("RS256", CLAIMS | {"aud": "imap"}),
        "opaque",
    ):
        assert await tokens.check(wrong) is None, wrong


@pytest.mark.parametrize("text", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_file_without_keys_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "key").write_bytes(text)
    with pytest.raises(TokenKeyError, match="key"):
        KeyRing(tmp_path / "key")


class Issuer(BaseHTTPRequestHandler):
    """Says `answer` and remembers what it was asked."""

    status: ClassVar[int] = 200
    answer: ClassVar[bytes] = b""
    asked: ClassVar[list[tuple[str, str, dict[str, list[str]]]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append((self.path, self.headers.get("Authorization", ""), parse_qs(body)))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def issuer() -> Iterator[tuple[str, type[Issuer]]]:
    class Own(Issuer):
        asked: ClassVar[list[tuple[str, str, dict[str, list[str]]]]] = []

    server = HTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/introspect", Own
    server.shutdown()
    thread.join()
    server.server_close()


def asking(url: str) -> OAuthTokens:
    endpoint = Endpoint(url, "post road", "s:cret", HANGS_AFTER)
    return OAuthTokens(AskedClaims(endpoint), Demands("sub", scope="mail"), StillClock(), expires=False)


async def test_the_issuer_is_asked_as_rfc_7662_says_and_once(issuer: tuple[str, type[Issuer]]) -> None:
    url, said = issuer
    said.answer = json.dumps({"active": True, "sub": "anna", "scope": "x mail", "exp": NOW + 50}).encode()
    tokens = asking(url)
    assert await tokens.check("opaque") == "anna"
    assert await tokens.check("opaque") == "anna"
    basic = "Basic " + b64encode(b"post+road:s%3Acret").decode()
    assert said.asked == [("/introspect", basic, {"token": ["opaque"], "token_type_hint": ["access_token"]})]


@pytest.mark.parametrize(
    "answer", [{"active": False}, {"active": "true", "sub": "a"}, {}, {"active": True, "sub": "anna"}]
)
async def test_a_token_that_its_issuer_does_not_know_names_nobody(
    issuer: tuple[str, type[Issuer]], answer: object
) -> None:
    url, said = issuer
    said.answer = json.dumps(answer).encode()
    assert await asking(url).check("opaque") is None


@pytest.mark.parametrize(
    ("status", "answer"), [(500, b"{}"), (401, b"{}"), (200, b"no json"), (200, b"[]"), (200, b" " * 70_000)]
)
async def test_an_issuer_that_does_not_answer_well_is_unavailable(
    issuer: tuple[str, type[Issuer]], status: int, answer: bytes
) -> None:
    url, said = issuer
    said.status, said.answer = status, answer
    with pytest.raises(LoginsUnavailable):
        await asking(url).check("opaque")


async def test_an_issuer_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(LoginsUnavailable, match=r"127\.0\.0\.1:1: "):
        await asking("http://127.0.0.1:1/").check("opaque")


def oauthbearer(user: str, value: str) -> str:
    return b64encode(f"n,a={user},\1auth=Bearer {value}\1\1".encode()).decode()


def xoauth2(user: str, value: str) -> str:
    return b64encode(f"user={user}\1auth=Bearer {value}\1\1".encode()).decode()


async def test_the_door_takes_a_good_token_by_either_name(tokens: OAuthTokens) -> None:
    for said in (
        f"OAUTHBEARER {oauthbearer('anna', token('RS256'))}",
        f"xoauth2 {xoauth2('anna', token('ES256'))}",
    ):
        async with (
            house(tls="implicit", logins=Logins(tokens=tokens)) as place,
            client(place, tls=True) as one,
        ):
            await one.reply()
            assert "AUTH OAUTHBEARER XOAUTH2" in await one.say("EHLO c")
            assert (await one.say(f"AUTH {said}"))[:9] == "235 2.7.0"


@pytest.mark.parametrize(
    "said", [f"OAUTHBEARER {oauthbearer('bob', token('RS256'))}", f"XOAUTH2 {xoauth2('anna', 'x')}"]
)
async def test_the_door_tells_why_before_it_refuses(tokens: OAuthTokens, said: str) -> None:
    async with house(tls="implicit", logins=Logins(tokens=tokens)) as place, client(place, tls=True) as one:
        await one.reply()
        await one.say("EHLO c")
        why = await one.say(f"AUTH {said}")
        assert why[:4] == "334 "
        assert json.loads(b64decode(why[4:]))["status"] in ("invalid_token", "401")
        assert (await one.say("AQ=="))[:9] == "535 5.7.8"


async def test_checks_do_not_hold_up_the_loop(issuer: tuple[str, type[Issuer]]) -> None:
    url, said = issuer
    said.answer = json.dumps({"active": True, "sub": "anna", "scope": "mail"}).encode()
    found = await asyncio.gather(*(asking(url).check(f"opaque{n}") for n in range(5)))
    assert found == ["anna"] * 5
