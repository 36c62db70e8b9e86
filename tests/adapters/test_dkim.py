from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.adapters.dkim import DkimKeyError, DkimSigner
from postroad.config.model import DkimKey
from postroad.mail.canonical import relaxed_body_hash
from postroad.mail.dkim_fields import COVERED, GUARDED
from postroad.mail.headers import split
from postroad.mail.message import Content, StagedBody
from tests.support.corpus import messages
from tests.support.dkim_oracles import dkimpy_verifies, ed25519_key, opendkim_verifies, pem, record, rsa_key
from tests.support.requires import require

RECORDS = {
    "s1._domainkey.example.com": record(rsa_key()),
    "ed._domainkey.example.com": record(ed25519_key()),
    "s2._domainkey.sub.example.com": record(rsa_key()),
}
PLAIN = b"From: ann@example.com\r\nTo: bob@example.org\r\nSubject: hello\r\n\r\nGood morning.\r\n"
ODDITIES = {
    "plain": PLAIN,
    "empty body": b"From: ann@example.com\r\n\r\n",
    "no final line end": b"From: ann@example.com\r\n\r\nhello",
    "blank lines at the end": b"From: ann@example.com\r\n\r\nhello\r\n\r\n \r\n\t\r\n",
    "only blank lines": b"From: ann@example.com\r\n\r\n\r\n\r\n\r\n",
    "white space everywhere": b"From:  ann@example.com  \r\nSubject: \t a \t b \r\n\r\n a \t b  \r\n",
    "folded": b"From: Ann\r\n\t<ann@example.com>\r\nSubject: a\r\n b \r\n \tc\r\n\r\nhello\r\n",
    "empty values": b"From: ann@example.com\r\nSubject:\r\nTo:\r\n \r\nCc: \r\n\r\nhello\r\n",
    "many of one name": b"From: ann@example.com\r\nTo: a@b\r\nTo: c@d\r\nDate: x\r\nTo: e\r\n\r\nhello\r\n",
    "long field": b"From: ann@example.com\r\nSubject: " + b"x" * 1200 + b"\r\n\r\nhello\r\n",
    "names in capitals": b"FROM: ann@example.com\r\nsUBJECT: X\r\nmime-VERSION: 1.0\r\n\r\nhello\r\n",
    "8-bit body": b"From: ann@example.com\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n",
    "list": b"From: ann@example.com\r\nList-Unsubscribe: <x:y>\r\nList-Unsubscribe-Post: y\r\n\r\nhello\r\n",
    "dots": b"From: ann@example.com\r\n\r\n.\r\n..\r\n.a\r\n",
}
EC_KEY = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)
# What one of the two does not read, each with the verifier that does.
DKIMPY_ALONE = {
    "two authors": b"From: ann@example.com\r\nFrom: eve@example.org\r\n\r\nhello\r\n",
    "8-bit header": b"From: ann@example.com\r\nSubject: \xff\xc3\xbc\r\n\r\nhello\r\n",
}
OPENDKIM_ALONE = {"space before a colon": b"From: ann@example.com\r\nSubject : odd\r\n\r\nhello\r\n"}


def key_file(folder: Path, octets: bytes, name: str = "key.pem") -> Path:
    path = folder / name
    path.write_bytes(octets)
    return path


def content(message: bytes) -> Content:
    head, body = split(message)
    return Content(head, body, dotted=False, eight_bit=False)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DkimSigner]:
    folder = tmp_path_factory.mktemp("keys")
    rsa_file = key_file(folder, pem(rsa_key()))
    ed_file = key_file(folder, pem(ed25519_key()), "ed.pem")
    signer = DkimSigner(
        [
            DkimKey("example.com", "s1", rsa_file),
            DkimKey("sub.example.com", "s2", rsa_file),
            DkimKey("ed.example", "ed", ed_file),
        ],
        now=lambda: 1_700_000_000.9,
    )
    yield signer
    signer.close()


def signed(signer: DkimSigner, message: bytes, domain: str = "example.com") -> bytes:
    """As it is sent: the signature on top, and a line end behind a body that had none."""
    whole = asyncio.run(signer.sign(domain, content(message))) + message
    return whole if whole.endswith(b"\r\n") else whole + b"\r\n"


def tags(field: bytes) -> dict[str, str]:
    text = re.sub(r"\s+", "", field.decode("ascii").partition(":")[2])
    return dict(tag.split("=", 1) for tag in text.split(";"))


@pytest.mark.parametrize(
    "message", [*ODDITIES.values(), *DKIMPY_ALONE.values()], ids=[*ODDITIES, *DKIMPY_ALONE]
)
def test_dkimpy_verifies_what_we_sign(signer: DkimSigner, message: bytes) -> None:
    assert dkimpy_verifies(signed(signer, message), RECORDS)


@pytest.mark.parametrize(
    "message", [*ODDITIES.values(), *OPENDKIM_ALONE.values()], ids=[*ODDITIES, *OPENDKIM_ALONE]
)
def test_opendkim_verifies_what_we_sign(signer: DkimSigner, message: bytes, tmp_path: Path) -> None:
    assert opendkim_verifies(signed(signer, message), RECORDS, tmp_path)


def test_the_verifiers_would_notice(signer: DkimSigner, tmp_path: Path) -> None:
    changed = signed(signer, PLAIN).replace(b"hello", b"hallo")
    assert not dkimpy_verifies(changed, RECORDS)
    assert not opendkim_verifies(changed, RECORDS, tmp_path)


@pytest.mark.parametrize("name", sorted(set(GUARDED) - {b"from"}))
def test_a_guarded_field_cannot_be_added_afterwards(signer: DkimSigner, name: bytes) -> None:
    message = signed(signer, PLAIN)
    assert dkimpy_verifies(message, RECORDS)
    assert not dkimpy_verifies(name + b": added\r\n" + message, RECORDS)


def test_collected_messages_verify(signer: DkimSigner) -> None:
    for name, message in messages():
        head, body = split(message)
        if not head.isascii() or b"\r\n\r\n" not in head or head.startswith(b"From "):
            continue
        whole = b"From: ann@example.com\r\n" + head + body
        assert dkimpy_verifies(signed(signer, whole), RECORDS), name


LINES = st.sampled_from(
    [b"Subject:", b"To: a@b", b"CC:x", b"X-Y: z", b"Date:  1", b"Sender: q", b"List-Id: l"]
)
FOLDS = st.sampled_from([b"", b" a", b"\r\n b", b"\r\n\tc  d", b" \t", b": e", b"\xc3\xbc"])
FIELDS = st.lists(st.tuples(LINES, st.lists(FOLDS, max_size=3).map(b"".join)), max_size=8)
BODIES = st.lists(st.sampled_from([b"a", b" ", b"\t ", b"\r\n", b"\r\n\r\n", b"b c"]), max_size=12).map(
    b"".join
)


@given(FIELDS, BODIES)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_message_verifies(signer: DkimSigner, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    head = b"".join(line + fold + b"\r\n" for line, fold in fields)
    message = b"From: ann@example.com\r\n" + head + b"\r\n" + body
    assert dkimpy_verifies(signed(signer, message), RECORDS)


def test_an_ed25519_key_signs_too(signer: DkimSigner, tmp_path: Path) -> None:
    message = signed(signer, PLAIN, "ed.example")
    assert tags(message.partition(PLAIN)[0])["a"] == "ed25519-sha256"
    assert opendkim_verifies(message, {"ed._domainkey.ed.example": record(ed25519_key())}, tmp_path)


async def test_several_keys_of_a_domain_make_a_field_each(tmp_path: Path) -> None:
    first = DkimKey("example.com", "s1", key_file(tmp_path, pem(rsa_key())))
    second = DkimKey("example.com", "ed", key_file(tmp_path, pem(ed25519_key()), "ed.pem"))
    signer = DkimSigner([first, second])
    fields = await signer.sign("example.com", content(PLAIN))
    signer.close()
    assert [tags(field)["s"] for field in re.split(rb"(?<=\r\n)(?=D)", fields)] == ["s1", "ed"]
    assert dkimpy_verifies(fields + PLAIN, RECORDS, index=0)


def test_the_field_says_what_it_should_and_no_more(signer: DkimSigner) -> None:
    field = signed(signer, PLAIN).partition(PLAIN)[0]
    found = tags(field)
    assert list(found) == ["v", "a", "c", "d", "s", "t", "h", "bh", "b"]
    assert (found["a"], found["c"], found["t"]) == ("rsa-sha256", "relaxed/relaxed", "1700000000")
    assert found["h"] == (
        "from:from:to:to:cc:subject:subject:date:message-id:reply-to:"
        "mime-version:content-type:content-transfer-encoding"
    )


@pytest.mark.parametrize("message", ODDITIES.values(), ids=ODDITIES)
def test_the_field_is_folded(signer: DkimSigner, message: bytes) -> None:
    field = asyncio.run(signer.sign("example.com", content(message)))
    assert field.endswith(b"\r\n")
    lines = field.removesuffix(b"\r\n").split(b"\r\n")
    assert all(len(line) <= 78 for line in lines)
    assert all(line.startswith(b"\t") for line in lines[1:])


def test_long_names_of_domain_and_selector_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    key = DkimKey("d" * 60 + ".example", "s" * 60, key_file(tmp_path, pem(rsa_key())))
    signer = DkimSigner([key])
    message = signed(signer, PLAIN, key.domain)
    signer.close()
    assert max(map(len, message.split(b"\r\n"))) <= 78
    assert dkimpy_verifies(message, {f"{key.selector}._domainkey.{key.domain}": record(rsa_key())})


def test_fields_that_readers_act_upon_are_covered_when_present(signer: DkimSigner) -> None:
    head = b"From: ann@example.com\r\n" + b"".join(name + b": x\r\n" for name in COVERED)
    field = signed(signer, head + b"\r\nhello\r\n").partition(b"\r\nFrom: ")[0]
    assert set(COVERED) <= {name.encode() for name in tags(field)["h"].split(":")}


def test_a_staged_body_is_signed_by_the_hash_taken_while_it_came(signer: DkimSigner) -> None:
    whole = content(PLAIN)
    assert isinstance(whole.body, bytes)
    staged = StagedBody("1.body", len(whole.body), 0, relaxed_body_hash(whole.body))
    field = asyncio.run(
        signer.sign("example.com", Content(whole.head, staged, dotted=False, eight_bit=False))
    )
    assert dkimpy_verifies(field + PLAIN, RECORDS)


@pytest.mark.parametrize(
    ("domain", "signing"),
    [
        ("example.com", "example.com"),
        ("mail.example.com", "example.com"),
        ("sub.example.com", "sub.example.com"),
        ("a.b.sub.example.com", "sub.example.com"),
        ("notexample.com", None),
        ("com", None),
        ("", None),
        ("[192.0.2.1]", None),
    ],
)
def test_a_domain_is_signed_for_by_itself_or_its_nearest_parent(
    signer: DkimSigner, domain: str, signing: str | None
) -> None:
    assert signer.domain_for(domain) == signing


async def test_many_signatures_at_once_each_reach_their_message(signer: DkimSigner) -> None:
    bodies = [b"From: ann@example.com\r\n\r\nmessage %d\r\n" % n for n in range(50)]
    made = await asyncio.gather(*(signer.sign("example.com", content(body)) for body in bodies))
    assert all(dkimpy_verifies(field + body, RECORDS) for field, body in zip(made, bodies, strict=True))


async def test_a_caller_that_left_disturbs_nobody(signer: DkimSigner) -> None:
    left = asyncio.ensure_future(signer.sign("example.com", content(PLAIN)))
    await asyncio.sleep(0)
    left.cancel()
    assert dkimpy_verifies(await signer.sign("example.com", content(PLAIN)) + PLAIN, RECORDS)


async def test_closing_lets_what_was_begun_end_and_takes_nothing_new(tmp_path: Path) -> None:
    signer = DkimSigner([DkimKey("example.com", "s1", key_file(tmp_path, pem(rsa_key())))])
    begun = asyncio.ensure_future(signer.sign("example.com", content(PLAIN)))
    await asyncio.sleep(0)
    signer.close()
    signer.close()
    assert dkimpy_verifies(await begun + PLAIN, RECORDS)
    with pytest.raises(RuntimeError, match="closed"):
        await signer.sign("example.com", content(PLAIN))


async def test_a_signature_that_fails_fails_its_message_alone(signer: DkimSigner) -> None:
    broken = Content(None, b"", dotted=False, eight_bit=False)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await signer.sign("example.com", broken)
    assert dkimpy_verifies(await signer.sign("example.com", content(PLAIN)) + PLAIN, RECORDS)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_key_may_be_pkcs1_or_pkcs8_with_any_line_ends(
    tmp_path: Path, form: PrivateFormat, line_end: bytes
) -> None:
    octets = b"some text\n" + pem(rsa_key(), form)
    path = key_file(tmp_path, octets.replace(b"\n", line_end))
    signer = DkimSigner([DkimKey("example.com", "s1", path)])
    assert dkimpy_verifies(signed(signer, PLAIN), RECORDS)
    signer.close()


@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        (b"", "holds no private key"),
        (b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", "holds no private key"),
        (record(rsa_key()), "holds no private key"),
        (
            rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
            "encrypted",
        ),
        (EC_KEY, "neither an RSA nor an Ed25519 key"),
    ],
    ids=["empty", "damaged", "public", "encrypted", "other kind"],
)
def test_an_unfit_key_is_refused_by_file_and_cause(tmp_path: Path, octets: bytes, cause: str) -> None:
    path = key_file(tmp_path, octets)
    with pytest.raises(DkimKeyError, match=f"^{re.escape(str(path))}: .*{cause}"):
        DkimSigner([DkimKey("example.com", "s1", path)])


def test_a_key_that_verifiers_would_not_take_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weak.pem"
    subprocess.run([require("openssl"), "genrsa", "-out", str(path), "768"], check=True, capture_output=True)
    with pytest.raises(DkimKeyError, match="768 bits; DKIM asks for 1024"):
        DkimSigner([DkimKey("example.com", "s1", path)])


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DkimKeyError, match=r"missing\.pem: cannot be read: No such file"):
        DkimSigner([DkimKey("example.com", "s1", tmp_path / "missing.pem")])
    with pytest.raises(DkimKeyError, match="cannot be read: Is a directory"):
        DkimSigner([DkimKey("example.com", "s1", tmp_path)])
