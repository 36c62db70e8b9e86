"""The server's certificates: read, put together by the names they are for, chosen by SNI (RFC 6066 3).

Certificates for the same names whose keys are of different kinds (RSA and ECDSA) are one
choice: TLS takes the one that the client knows. A name that none is for, and no name, get
the first.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence

from cryptography import x509

from postroad.config.model import Certificate
from postroad.mail.frozen import dataclass
from postroad.mail.validity import Validity

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Read:
    """One certificate as it lies in its file; `kind` is that of its key. `pem` is the first of its chain."""

    source: Certificate
    names: frozenset[str]
    kind: str
    pem: bytes
    validity: Validity


def read(source: Certificate) -> Read:
    """Raises OSError, ValueError."""
    found = _CERTIFICATE.search(source.certificate.read_bytes())
    if found is None:
        raise ValueError("has no certificate in PEM")
    parsed = x509.load_pem_x509_certificate(found[0])
    validity = Validity(str(source.certificate), *_validity(parsed))
    return Read(source, _names(parsed), type(parsed.public_key()).__name__, found[0], validity)


def _validity(parsed: x509.Certificate) -> tuple[float, float]:
    return parsed.not_valid_before_utc.timestamp(), parsed.not_valid_after_utc.timestamp()


def _names(parsed: x509.Certificate) -> frozenset[str]:
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower() for name in names.get_values_for_type(x509.DNSName))


def together(found: Sequence[Read]) -> list[list[Read]]:
    """Those for the same names with keys of different kinds, in the order of the first of each."""
    groups: list[list[Read]] = []
    for one in found:
        for group in groups:
            if group[0].names == one.names and all(other.kind != one.kind for other in group):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


class Choice:
    """Contexts by the names of their certificates; the first context for all others."""

    def __init__(self, contexts: Sequence[tuple[ssl.SSLContext, frozenset[str]]]) -> None:
        self._by_name: dict[str, ssl.SSLContext] = {}
        for context, names in contexts:
            for name in names:
                self._by_name.setdefault(name, context)

    def of(self, name: str | None) -> ssl.SSLContext | None:
        """The context for a name that a client asks for; None: no other than the first."""
        if name is None:
            return None
        name = name.lower().removesuffix(".")
        exact = self._by_name.get(name)
        return exact if exact is not None else self._by_name.get(f"*.{name.partition('.')[2]}")

    def choose(self, tls: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """As `ssl.SSLContext.sni_callback`. A name that is not known is no reason to hang up."""
        chosen = self.of(name)
        if chosen is not None:
            tls.context = chosen


def validities(sources: Sequence[Certificate]) -> list[Validity]:
    """Of all that can be read: what cannot is told elsewhere."""
    found = []
    for source in sources:
        try:
            found.append(read(source).validity)
        except (OSError, ValueError):
            continue
    return found
