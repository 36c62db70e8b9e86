"""[login], [oauth] and [[client_certificate]]: what they need of each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroad.config import ConfigError, load

HOST = 'hostname = "mail.example.com"\n'
PRINT = ":".join(["AB"] * 32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "accounts").touch()
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "key.pem").touch()
    return tmp_path


CERTIFICATE = f'[[client_certificate]]\nfingerprint = "{PRINT}"\naccount = "robot"\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (CERTIFICATE, "client_certificate: needs tls.client_ca"),
        (f'[tls]\nclient_ca = "ca.pem"\n{CERTIFICATE}{CERTIFICATE}', "fingerprint: is there twice"),
        ('[tls]\nclient_ca = "ca.pem"\n', "tls.client_ca: lets nobody in"),
        (f'[tls]\nclient_ca = "key.pem"\n{CERTIFICATE}', "has no certificate in PEM"),
        ('[login]\ncertificate_account = "email"\n', "needs tls.client_ca"),
        (
            '[tls]\nclient_ca = "ca.pem"\n[login]\ncertificate_account = "email"\n',
            "needs submission.accounts",
        ),
        ('[[client_certificate]]\nfingerprint = "AB"\naccount = "a"\n', "expected 32 octets"),
        (f'[[client_certificate]]\nfingerprint = "{PRINT}"\n', "account: missing"),
        (f'[[client_certificate]]\nfingerprint = "{PRINT}"\naccount = "uid:0"\n', "expected the name"),
        ('[login]\ndovecot_socket = "auth"\n', "expected a path"),
        ('[submission]\naccounts = "accounts"\n[login]\ndovecot_socket = "/x"\n', "two places for passwords"),
        ('[oauth]\nissuer = "x"\n', "oauth: needs introspection_url or key"),
        ('[oauth]\nkey = "key.pem"\n', "oauth.audience: missing"),
        ('[oauth]\nkey = "key.pem"\naudience = "x"\nintrospection_url = "https://x/"\n', "two ways"),
        ('[oauth]\nintrospection_url = "http://id.example/"\n', "in the clear"),
        ('[oauth]\nintrospection_url = "id.example"\n', "expected an address"),
    ],
)
def test_what_does_not_fit_together_is_told(folder: Path, text: str, problem: str) -> None:
    (folder / "postroad.toml").write_text(HOST + text)
    with pytest.raises(ConfigError, match=problem):
        load(folder / "postroad.toml")


def test_what_fits_together_is_taken(folder: Path) -> None:
    (folder / "postroad.toml").write_text(
        HOST
        + '[tls]\nclient_ca = "ca.pem"\n[login]\ndovecot_socket = "/run/auth"\nfailure_memory = "2h"\n'
        + f'[oauth]\nkey = "key.pem"\naudience = "smtp"\n{CERTIFICATE}'
    )
    found = load(folder / "postroad.toml")
    assert found.login.certificates == {"ab" * 32: "robot"}
    assert found.login.failure_memory == 7200.0
    assert found.oauth
