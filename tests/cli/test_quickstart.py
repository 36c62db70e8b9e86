"""`postroad quickstart`: all that a server needs, made once, and nothing overwritten."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from postroad.adapters.accounts import PasswdAccounts
from postroad.adapters.dkim import DkimSigner
from postroad.cli.main import main
from postroad.config import load
from postroad.config.exposure import exposed
from tests.support.certificates import write_pair

Captured = pytest.CaptureFixture[str]


def start(capsys: Captured, *options: str, address: str = "you@example.com") -> dict[str, Any]:
    assert main(["quickstart", address, "--offline", "--json", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


async def test_what_it_makes_is_a_server_that_signs_and_knows_its_account(
    tmp_path: Path, capsys: Captured
) -> None:
    folder = tmp_path / "new"
    told = start(capsys, "--dir", str(folder), "--hostname", "mail.example.com", "--ed25519")
    config = load(folder / "postroad.toml")
    assert (config.hostname, config.origin) == ("mail.example.com", "example.com")
    assert config.state_directory == folder / "state"
    assert [(each.host, each.tls, each.auth) for each in config.listeners] == [
        ("127.0.0.1", "starttls", "required")
    ]
    signer = DkimSigner(config.dkim)
    signer.close()
    assert len(config.dkim) == 2
    assert config.submission.accounts is not None
    accounts = PasswdAccounts(config.submission.accounts)
    assert await accounts.verify("you@example.com", told["password"].encode())
    assert not await accounts.verify("you@example.com", b"another")
    accounts.close()
    assert len(told["password"]) >= 20
    certificate = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail.example.com"]
    key = load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert key.public_key() == certificate.public_key()


def test_what_is_secret_is_its_owners_alone(tmp_path: Path, capsys: Captured) -> None:
    before = os.umask(0)
    try:
        told = start(capsys, "--dir", str(tmp_path / "new"))
    finally:
        os.umask(before)
    modes = {Path(name).name: stat.S_IMODE(os.stat(name).st_mode) for name in told["files"]}
    public = {name for name, mode in modes.items() if mode & 0o077}
    assert public == {"cert.pem", "postroad.toml"}
    assert exposed(load(tmp_path / "new/postroad.toml")) == ()


@pytest.mark.parametrize("name", ["postroad.toml", "accounts", "key.pem"])
def test_nothing_is_overwritten_and_then_nothing_is_made(tmp_path: Path, capsys: Captured, name: str) -> None:
    (tmp_path / name).symlink_to("nowhere")
    assert main(["quickstart", "you@example.com", "--offline", "--dir", str(tmp_path)]) == os.EX_CANTCREAT
    out, err = capsys.readouterr()
    assert out == ""
    assert f"nothing is overwritten: {tmp_path / name}" in err
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_certificate_that_is_given_is_taken_where_it_lies(tmp_path: Path, capsys: Captured) -> None:
    odd = tmp_path / 'a "quoted" name'
    odd.mkdir()
    write_pair(odd)
    given = ("--certificate", str(odd / "cert.pem"), "--key", str(odd / "key.pem"))
    told = start(capsys, "--dir", str(tmp_path / "new"), *given)
    config = load(tmp_path / "new/postroad.toml")
    assert (config.tls.certificate, config.tls.key) == (odd / "cert.pem", odd / "key.pem")
    assert not any(name.endswith("cert.pem") for name in told["files"])


def test_a_domain_may_be_written_in_its_own_letters(tmp_path: Path, capsys: Captured) -> None:
    start(capsys, "--dir", str(tmp_path / "new"), address="you@b\u00fccher.example")
    assert load(tmp_path / "new" / "postroad.toml").origin == "xn--bcher-kva.example"


@pytest.mark.parametrize(("ipv6", "everywhere"), [(True, "[::]"), (False, "0.0.0.0")])
def test_for_a_system_it_goes_where_the_service_looks(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, ipv6: bool, everywhere: str
) -> None:
    monkeypatch.setattr("postroad.cli.quickstart._has_ipv6", lambda: ipv6)
    start(capsys, "--root", str(tmp_path), "--hostname", "mail.example.com")
    config = load(tmp_path / "etc/postroad/postroad.toml")
    assert config.state_directory == Path("/var/lib/postroad")
    assert [str(each) for each in config.listeners] == [f"{everywhere}:587", f"{everywhere}:465"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["you"], 64),
        (["you@localhost"], 64),
        (["\u00fc@example.com"], 64),
        (["you@[192.0.2.1]"], 64),
        (["a b@example.com"], 64),
        (["o'brien@example.com"], 64),
        (['"quoted\\"]"@example.com'], 64),
        (["you@example.com", "--hostname", "short"], 64),
        (["you@example.com", "--port", "0"], 64),
        (["you@example.com", "--certificate", "/x"], 64),
        (["you@example.com", "--certificate", "/nowhere", "--key", "/nowhere"], 66),
    ],
)
def test_what_makes_no_sense_is_told(
    tmp_path: Path, capsys: Captured, arguments: list[str], code: int
) -> None:
    try:
        found = main(["quickstart", "--offline", "--dir", str(tmp_path / "new"), *arguments])
    except SystemExit as ended:
        found = int(ended.code or 0)
    assert found == code
    assert not (tmp_path / "new").exists()
    assert capsys.readouterr().out == ""


def test_people_are_told_the_records_the_password_once_and_what_to_do(
    tmp_path: Path, capsys: Captured
) -> None:
    assert main(["quickstart", "you@example.com", "--offline", "--dir", str(tmp_path / "new")]) == 0
    text = capsys.readouterr().out
    for words in ("v=spf1 ", "v=DKIM1; k=rsa; p=", "v=DMARC1", "v=STSv1", "v=TLSRPTv1", "PTR", "mx: "):
        assert words in text
    after = text.split("its password shown only now:\n")[1].splitlines()
    password = after[1].strip()
    assert text.count(password) == 1
    assert f"postroad --config {tmp_path}/new/postroad.toml serve" in text
    assert not any(password in path.read_text() for path in (tmp_path / "new").rglob("*") if path.is_file())
