"""Whose a client certificate is: by its fingerprint, or by a name that its issuer vouches for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import field

from postroad.mail.frozen import dataclass
from postroad.mail.sasl import SaslError, login_name


@dataclass(frozen=True, slots=True)
class CertificateRule:
    """`fingerprints`: SHA-256 in lower-case hexadecimal -> account.

    `name`: what else is an account's name, "email" or "common_name"; "" nothing.
    """

    fingerprints: Mapping[str, str] = field(default_factory=dict)
    name: str = ""


def account_by_fingerprint(rule: CertificateRule, der: bytes) -> str | None:
    return rule.fingerprints.get(hashlib.sha256(der).hexdigest())


def account_by_name(rule: CertificateRule, certificate: Mapping[str, object]) -> str | None:
    """`certificate`: as `ssl.SSLSocket.getpeercert` gives it. None without a name, or with several."""
    if rule.name == "email":
        found = _alternatives(certificate, "email") or _subject(certificate, "emailAddress")
    elif rule.name == "common_name":
        found = _subject(certificate, "commonName")
    else:
        return None
    if len(set(found)) != 1:
        return None
    try:
        return login_name(found[0].encode())
    except SaslError:
        return None


def _alternatives(certificate: Mapping[str, object], kind: str) -> list[str]:
    names = certificate.get("subjectAltName", ())
    assert isinstance(names, tuple)
    return [value for name, value in names if name == kind]


def _subject(certificate: Mapping[str, object], kind: str) -> list[str]:
    parts = certificate.get("subject", ())
    assert isinstance(parts, tuple)
    return [value for part in parts for name, value in part if name == kind]
