"""The server's TLS: its context, and what the channel says of the client (RFC 5929, RFC 9266).

Channel bindings: of TLS 1.2 "tls-unique" and "tls-server-end-point". Of TLS 1.3 there is
one that every client must know, "tls-exporter", and none is offered where Python does not
give it: a client that is led to -PLUS and finds it missing cannot log in at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from postroad.adapters.smtpd_auth import Channel, Logins
from postroad.adapters.smtpd_certificates import Choice, Read, read, together
from postroad.config.model import Certificate, TlsConfig

# Older ones are broken (RFC 8996).
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class TlsError(ValueError):
    """Certificate or key cannot be used; the text names the file and the cause."""


class ServerContext(ssl.SSLContext):
    """`end_point`: the "tls-server-end-point" of its certificate; None where that has none."""

    end_point: bytes | None = None


def server_context(config: TlsConfig, more: Sequence[Certificate] = ()) -> ssl.SSLContext | None:
    """A server's TLS, `more` certificates chosen by SNI; None without a certificate. Raises TlsError.

    With `client_ca` clients may show a certificate; one that does not verify ends the handshake.
    """
    if config.certificate is None:
        return None
    sources = (Certificate(config.certificate, config.key), *more)
    contexts = [
        (_context(config, group), group[0].names) for group in together([_read(one) for one in sources])
    ]
    first = contexts[0][0]
    if len(contexts) > 1:
        first.sni_callback = Choice(contexts).choose
    return first


def _read(source: Certificate) -> Read:
    try:
        return read(source)
    except (OSError, ValueError) as error:
        raise TlsError(f"{source.certificate}: {error}") from error


def _context(config: TlsConfig, group: Sequence[Read]) -> ServerContext:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[config.minimum_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    for one in group:
        source = one.source
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(source.certificate, source.key, password="")
        except (OSError, ValueError) as error:
            names = " and ".join(str(path) for path in (source.certificate, source.key) if path)
            raise TlsError(f"{names}: {error}") from error
    # Of two certificates nobody tells us which one the client was shown.
    context.end_point = _end_point(group[0].pem) if len(group) == 1 else None
    if config.client_ca is not None:
        _ask_for_certificates(context, config.client_ca)
    return context


def _ask_for_certificates(context: ssl.SSLContext, authorities: Path) -> None:
    try:
        context.load_verify_locations(authorities)
    except (OSError, ValueError) as error:
        raise TlsError(f"{authorities}: {error}") from error
    context.verify_mode = ssl.CERT_OPTIONAL
    # A certificate that stands in the file needs no issuer.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


def _end_point(pem: bytes) -> bytes | None:
    """The hash of a certificate, by the hash of its signature, at least SHA-256 (RFC 5929 4.1)."""
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    return hashlib.new(name, ssl.PEM_cert_to_DER_cert(pem.decode())).digest()


def channel(transport: asyncio.BaseTransport | None, logins: Logins) -> Channel:
    """What is known of an established TLS connection, as far as a login can use it."""
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    if tls is None:
        return Channel()
    bindings = _bindings(tls) if logins.accounts is not None and logins.accounts.offers_scram else {}
    certified = None
    if logins.certificates is not None and (der := tls.getpeercert(binary_form=True)):
        certified = logins.certificates(der, tls.getpeercert() or {})
    return Channel(bindings, certified)


def _bindings(tls: ssl.SSLObject) -> dict[str, bytes]:
    name = "tls-exporter" if tls.version() == "TLSv1.3" else "tls-unique"
    if name not in ssl.CHANNEL_BINDING_TYPES:
        return {}
    data = tls.get_channel_binding(name)
    if not data:
        return {}
    end_point = getattr(tls.context, "end_point", None)
    return {name: data} | ({"tls-server-end-point": end_point} if end_point else {})
