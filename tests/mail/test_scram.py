from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.sasl import SaslError
from postroad.mail.saslprep import prepared
from postroad.mail.scram import (
    Verifier,
    imitation,
    matches,
    parse_final,
    parse_first,
    parse_verifier,
    server_final,
    server_first,
    verifier,
    written,
)
from tests.support.scram_client import ScramClient

# RFC 7677 3.
SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
KNOWN = verifier(b"pencil", SALT, 4096)
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
NONCE = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SAID = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
PROOF = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_example_of_the_rfc_is_spoken_to_the_octet() -> None:
    first = parse_first(FIRST)
    assert server_first(first, NONCE, KNOWN) == SAID
    assert server_final(first, SAID, parse_final(FINAL), KNOWN, b"") == PROOF


@pytest.mark.parametrize(
    ("final", "binding"),
    [
        (FINAL.replace(b"p=d", b"p=e"), b""),
        (FINAL.replace(b"c=biws", b"c=eSws"), b""),
        (FINAL.replace(b"$k0,p", b"$k1,p"), b""),
        (FINAL, b"another channel"),
    ],
)
def test_a_proof_for_anything_else_is_wrong(final: bytes, binding: bytes) -> None:
    assert server_final(parse_first(FIRST), SAID, parse_final(final), KNOWN, binding) is None


def test_a_verifier_is_written_as_dovecot_does() -> None:
    # `doveadm pw -s SCRAM-SHA-256 -p pencil` of Dovecot 2.3.19.
    text = (
        "4096,pOIATE1Qm/aWtP5GWMqhWw==,M0lVKttDMZYpQwgnezGzNyNG8yKnOJj/bZAQESu+lBg=,"
        "8OVShMc7RTR7Fafy19yIayJFoLxzH7bvMyqloTGeZmE="
    )
    known = parse_verifier(text)
    assert matches(known, b"pencil")
    assert not matches(known, b"Pencil")
    assert written(known) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4096,YQ==,YQ==",
        "4095,YQ==," + ",".join([b64encode(bytes(32)).decode()] * 2),
        "99999999,YQ==," + ",".join([b64encode(bytes(32)).decode()] * 2),
        "4096,," + ",".join([b64encode(bytes(32)).decode()] * 2),
        "4096,YQ==," + ",".join([b64encode(bytes(31)).decode()] * 2),
        "4096,Y,YQ==,YQ==",
    ],
)
def test_a_damaged_verifier_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_verifier(text)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n,,n=user",
        b"n,,n=,r=abc",
        b"n,,n=user,r=",
        b"n,,n=us=er,r=abc",
        b"n,,n=user,r=a b",
        b"n,,m=1,n=user,r=abc",
        b"p=,,n=user,r=abc",
        b"x,,n=user,r=abc",
        b"n,a=,n=user,r=abc",
        b"n,,n=\xff,r=abc",
        b"n,,n=us\0er,r=abc",
        b"n,,n=net:192.0.2.1,r=abc",
        b"n,,n=" + b"x" * 256 + b",r=abc",
    ],
)
def test_a_first_message_that_is_none_is_an_error(message: bytes) -> None:
    with pytest.raises(SaslError):
        parse_first(message)


def test_names_are_unescaped_and_prepared() -> None:
    first = parse_first("n,a=x=2Cy,n=a=3Db\u2168,r=abc,z=future".encode())
    assert (first.login, first.gs2.authzid) == ("a=bIX", "x,y")


def test_an_unknown_name_looks_the_same_each_time_and_as_long_as_a_known_one() -> None:
    one = imitation(b"key", "nobody", KNOWN)
    assert one == imitation(b"key", "nobody", KNOWN)
    assert (one.iterations, len(one.salt)) == (KNOWN.iterations, len(KNOWN.salt))
    assert len({one.salt, imitation(b"key", "other", KNOWN).salt, imitation(b"2", "nobody", KNOWN).salt}) == 3
    assert not matches(one, b"pencil")


SECRETS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(secret=SECRETS, other=SECRETS, binding=st.binary(max_size=40))
def test_who_has_the_password_and_the_channel_gets_through_and_nobody_else(
    secret: str, other: str, binding: bytes
) -> None:
    known = cheap(secret.encode())
    for tried, channel in ((secret, binding), (other, binding), (secret, binding + b"!")):
        client = ScramClient("user", tried.encode(), binding=("tls-unique", channel), rounds=1)
        first = parse_first(client.first())
        said = server_first(first, b"server", known)
        proof = server_final(first, said, parse_final(client.final(said)), known, binding)
        same = cheap(tried.encode()).stored_key == known.stored_key
        assert (proof is not None) == (same and channel == binding)
        assert proof is None or client.believes(proof)


def cheap(secret: bytes, salt: bytes = b"salt", iterations: int = 4096) -> Verifier:
    """The keys of SCRAM from one round, for the sake of speed."""
    salted = hashlib.pbkdf2_hmac("sha256", prepared(secret), salt, 1)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    return Verifier(iterations, salt, hashlib.sha256(client).digest(), server)
