"""The files of a new server: configuration, account, signing key, certificate; none in place of another."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from postroad.adapters import key_pairs
from postroad.cli.text import CommandFailed

YEARS = 10

CONFIGURATION = """\
# Made by `postroad quickstart`. Every key that may stand here: postroad.toml(5), or `postroad config show`.
hostname = "{hostname}"
origin = "{domain}"
state_directory = "{state}"

{listeners}[submission]
accounts = "accounts"

# As whom this account may send.
[account."{account}"]
allowed_senders = ["{domain}", "*.{domain}"]

[tls]
certificate = {certificate}
key = {key}
"""

LISTENER = """\
[[listener]]
address = "{address}"
tls = "{tls}"
auth = "required"

"""

DKIM = """
[[dkim]]
domain = "{domain}"
selector = "{selector}"
key = "dkim/{domain}.{selector}.pem"
"""


@dataclass(frozen=True, slots=True)
class Made:
    """A file to be: its name below the folder of the configuration, its octets, whether it is secret."""

    name: str
    octets: bytes
    private: bool


def dkim_pair(domain: str, selector: str, *, algorithm: str = "rsa") -> tuple[Made, str]:
    """The private key, and what the DNS should say of it."""
    pem, record = key_pairs.dkim_pair(algorithm)
    return Made(f"dkim/{domain}.{selector}.pem", pem, private=True), record


def self_signed(hostname: str) -> tuple[Made, Made]:
    """A certificate that clients must be told to trust, and its key."""
    certificate, key = key_pairs.self_signed(hostname, days=365 * YEARS)
    return Made("cert.pem", certificate, private=False), Made("key.pem", key, private=True)


def write(folder: Path, files: list[Made], group: int | None) -> None:
    """All files or none; CommandFailed where one is there already or cannot be written.

    `group` may read what is secret; None: only their owner may.
    """
    there = [str(folder / made.name) for made in files if os.path.lexists(folder / made.name)]
    if there:
        raise CommandFailed(
            f"already there, and nothing is overwritten: {', '.join(there)}; name another folder with --dir",
            os.EX_CANTCREAT,
        )
    written: list[Path] = []
    try:
        for made in files:
            path = folder / made.name
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            mode = (0o640 if group is not None else 0o600) if made.private else 0o644
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            written.append(path)
            with open(descriptor, "wb") as file:
                if group is not None and made.private:
                    os.fchown(file.fileno(), -1, group)
                os.fchmod(file.fileno(), mode)
                file.write(made.octets)
    except OSError as error:
        for path in written:
            with suppress(OSError):
                path.unlink()
        hint = "; be root, or try it with --dir" if isinstance(error, PermissionError) else ""
        raise CommandFailed(f"{error.filename or folder}: {error.strerror}{hint}", os.EX_CANTCREAT) from None
