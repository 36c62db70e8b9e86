"""What the demonstration's daemon needs, in a directory: certificate, account, key, configuration."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from postroad.adapters import key_pairs
from postroad.adapters.accounts_file import add_account
from postroad.demo.letters import HARBOUR, Door
from postroad.demo.world import Site

SELECTOR = "demo"
ACCOUNT = "anna"
CERTIFICATE = "cert.pem"
KEY = "key.pem"

CONFIGURATION = """\
hostname = "mail.{domain}"
state_directory = "state"

[[listener]]
address = "127.0.0.1:{port}"
tls = "starttls"
auth = "required"

[submission]
accounts = "accounts"

[tls]
certificate = "cert.pem"
key = "key.pem"

[delivery]
allow_private_addresses = true

[retry]
schedule = ["2s", "2s", "3s"]
greylist = ["4s", "2s", "2s"]
expire_after = "10m"
warn_after = "5m"

[[dkim]]
domain = "{domain}"
selector = "{selector}"
key = "dkim.pem"

[log]
format = "json"
"""

ROUTE = """
[[route]]
match = ["{domain}"]
relay = "127.0.0.1:{port}"
"""


@dataclass(frozen=True, slots=True)
class House:
    """A furnished directory: where the configuration is, how to submit, how to verify a signature.

    `dkim_record` is the TXT record that would be published.
    """

    config: Path
    door: Door
    dkim_record: bytes


def furnish(directory: Path, port: int, sites: Iterable[Site]) -> House:
    """Write all files but the certificate (`self_signed`); the routes lead each site's domain to its port."""
    record = dkim_key(directory / "dkim.pem")
    password = secrets.token_urlsafe(18)
    add_account(directory / "accounts", ACCOUNT, password)
    routes = "".join(ROUTE.format(domain=site.domain, port=site.port) for site in sites)
    config = directory / "postroad.toml"
    config.write_text(CONFIGURATION.format(domain=HARBOUR, port=port, selector=SELECTOR) + routes)
    door = Door(port, ACCOUNT, password, (directory / CERTIFICATE).read_text("ascii"))
    return House(config, door, record)


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A certificate for localhost, good for a day, and its key: the two PEM files."""
    certificate, key = key_pairs.self_signed("localhost", days=1, addresses=("127.0.0.1",))
    certificate_path, key_path = directory / CERTIFICATE, directory / KEY
    certificate_path.write_bytes(certificate)
    _write_private(key_path, key)
    return certificate_path, key_path


def dkim_key(path: Path) -> bytes:
    """Make a signing key; the answer is the TXT record of its public half (RFC 6376 3.6.1)."""
    key, record = key_pairs.dkim_pair()
    _write_private(path, key)
    return record.encode("ascii")


def _write_private(path: Path, octets: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(octets)
