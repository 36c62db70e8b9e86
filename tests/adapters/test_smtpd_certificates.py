"""Several certificates: by the name that the client asks for, by what it can verify, and no older TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from postroad.adapters.smtpd_tls import TlsError, server_context
from postroad.config.model import Certificate, TlsConfig
from tests.support.door import Client, authority, client, house

NAMES = ("mail.example.com", "other.example", "*.wild.example")


def write(folder: Path, name: str, *names: str, kind: trustme.KeyType = trustme.KeyType.ECDSA) -> Certificate:
    made = authority().issue_cert(*names, key_type=kind)
    made.private_key_and_cert_chain_pem.write_to_path(folder / name)
    return Certificate(folder / name, folder / name)


def serving(folder: Path, *more: Certificate, minimum: str = "TLSv1.2") -> ssl.SSLContext:
    first = write(folder, "first", NAMES[0])
    context = server_context(TlsConfig(first.certificate, first.key, minimum_version=minimum), more)
    assert context is not None
    return context


def trusting(**changes: object) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    # What is shown is looked at by the test.
    context.check_hostname = False
    for key, value in changes.items():
        setattr(context, key, value)
    return context


def shown(one: Client) -> x509.Certificate:
    der = one.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(der)


def names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.DNSName)


async def handshake(one: Client, tls: str, asked: str | None, context: ssl.SSLContext) -> x509.Certificate:
    if tls == "starttls":
        await one.reply()
        assert (await one.say("STARTTLS")).startswith("220 ")
    await one.writer.start_tls(context, server_hostname=asked or "")
    return shown(one)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("mail.example.com", 0),
        ("other.example", 1),
        ("OTHER.example", 1),
        ("a.wild.example", 2),
        ("a.b.wild.example", 0),
        ("wild.example", 0),
        ("unknown.example", 0),
        (None, 0),
    ],
)
async def test_a_client_is_shown_the_certificate_for_the_name_it_asks_for(
    tls: str, asked: str | None, got: int, tmp_path: Path
) -> None:
    more = [write(tmp_path, name.strip("*."), name) for name in NAMES[1:]]
    context = serving(tmp_path, *more)
    async with house(tls=tls, context=lambda: context) as place, client(place) as one:
        assert names(await handshake(one, tls, asked, trusting())) == [NAMES[got]]
        assert (await one.say("NOOP"))[:3] in ("220", "250")


@pytest.mark.parametrize(
    ("ciphers", "kind"),
    [("ECDHE+ECDSA", ec.EllipticCurvePublicKey), ("ECDHE+aRSA", rsa.RSAPublicKey)],
)
async def test_of_a_pair_a_client_gets_the_one_it_knows(ciphers: str, kind: type, tmp_path: Path) -> None:
    pair = write(tmp_path, "rsa", NAMES[0], kind=trustme.KeyType.RSA)
    context = serving(tmp_path, write(tmp_path, "other", NAMES[1]), pair)
    asking = trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
    asking.set_ciphers(ciphers)
    async with house(tls="implicit", context=lambda: context) as place, client(place) as one:
        certificate = await handshake(one, "implicit", NAMES[0], asking)
        assert names(certificate) == [NAMES[0]]
        assert isinstance(certificate.public_key(), kind)


@pytest.mark.parametrize(("minimum", "served"), [("TLSv1.2", True), ("TLSv1.3", False)])
async def test_no_older_version_of_tls_is_spoken_than_the_one_that_is_set(
    minimum: str, served: bool, tmp_path: Path
) -> None:
    context = serving(tmp_path, write(tmp_path, "other", NAMES[1]), minimum=minimum)
    asking = trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
    for asked in NAMES[:2]:
        async with house(tls="implicit", context=lambda: context) as place, client(place) as one:
            try:
                await handshake(one, "implicit", asked, asking)
            except (ssl.SSLError, ConnectionError):
                assert not served
            else:
                assert served


@pytest.mark.parametrize(
    "text", ["nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_one_of_several_that_cannot_be_used_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "broken").write_text(text)
    with pytest.raises(TlsError, match=f"{tmp_path}/broken"):
        serving(tmp_path, Certificate(tmp_path / "broken", tmp_path / "broken"))
