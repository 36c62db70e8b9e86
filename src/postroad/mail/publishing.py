"""What the DNS should say of a domain that sends mail: SPF, DKIM, DMARC, MTA-STS, TLS reports, the way back.

Records as zone files write them, each with the reason for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from postroad.mail.frozen import dataclass

# RFC 1035 3.3: what one character-string of a TXT record holds.
LONGEST_STRING = 255


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One record; `value` is what it holds as one text, `why` a sentence for who publishes it."""

    name: str
    type: str
    value: str
    why: str

    def __str__(self) -> str:
        data = quoted(self.value) if self.type == "TXT" else self.value
        return f"{self.name}. {self.type} {data}"


@dataclass(frozen=True, slots=True)
class Publication:
    """A domain and the host that sends its mail.

    `addresses`: of the host as the world sees it. `keys`: selectors and DKIM records. `spf`: what the
    domain publishes now, None: nothing or unknown. `mx`: who receives its mail. `stamp`: digits of a date.
    """

    domain: str
    hostname: str
    reports: str
    keys: Sequence[tuple[str, str]]
    addresses: Sequence[str] = ()
    spf: str | None = None
    mx: Sequence[str] = ()
    stamp: str = "1"


def quoted(text: str) -> str:
    """A TXT value as strings of at most 255 octets, which readers put together again (RFC 7208 3.3)."""
    pieces = [text[at : at + LONGEST_STRING] for at in range(0, len(text), LONGEST_STRING)] or [""]
    strings = ['"' + piece.replace("\\", "\\\\").replace('"', '\\"') + '"' for piece in pieces]
    return strings[0] if len(strings) == 1 else f"( {' '.join(strings)} )"


def dkim_value(algorithm: str, public_key: str) -> str:
    """RFC 6376 3.6.1; `algorithm`: rsa | ed25519, the key in base64."""
    return f"v=DKIM1; k={algorithm}; p={public_key}"


def spf_value(hostname: str, published: str | None) -> str:
    """RFC 7208: one record a domain, so what is published is kept and this host put in front."""
    mine = f"a:{hostname}"
    if published is None or not published.lower().startswith("v=spf1"):
        return f"v=spf1 {mine} -all"
    terms = published.split()
    return published if mine in terms else " ".join((terms[0], mine, *terms[1:]))


def reverse_name(address: str) -> str:
    return ip_address(address).reverse_pointer


def records(of: Publication) -> list[DnsRecord]:
    """In the order in which they matter."""
    host = [
        DnsRecord(
            of.hostname,
            "AAAA" if ":" in address else "A",
            address,
            "Where the name of this server leads; receivers compare it with the way back.",
        )
        for address in of.addresses
    ]
    back = [
        DnsRecord(
            reverse_name(address),
            "PTR",
            f"{of.hostname}.",
            "The way back, set by whoever gave you the address; without it large receivers refuse.",
        )
        for address in of.addresses
    ]
    keys = [
        DnsRecord(f"{selector}._domainkey.{of.domain}", "TXT", value, "DKIM: what verifies your signatures.")
        for selector, value in of.keys
    ]
    return [*host, *back, *_senders(of), *keys, *_policies(of)]


def _senders(of: Publication) -> list[DnsRecord]:
    changed = " It takes the place of the one you have." if of.spf else ""
    why = f"SPF: who sends for {of.domain}.{changed}"
    found = [DnsRecord(of.domain, "TXT", spf_value(of.hostname, of.spf), why)]
    if of.hostname != of.domain:
        own = "SPF of the server's own name, for its bounces."
        found.append(DnsRecord(of.hostname, "TXT", "v=spf1 a -all", own))
    return found


def _policies(of: Publication) -> list[DnsRecord]:
    return [
        DnsRecord(
            f"_dmarc.{of.domain}",
            "TXT",
            f"v=DMARC1; p=none; rua=mailto:{of.reports}",
            "DMARC: asks for reports at first; p=quarantine when they look well.",
        ),
        DnsRecord(
            f"_mta-sts.{of.domain}",
            "TXT",
            f"v=STSv1; id={of.stamp}",
            f"MTA-STS: who sends to {of.domain} must use TLS. Once https://mta-sts.{of.domain}"
            "/.well-known/mta-sts.txt has the policy below.",
        ),
        DnsRecord(
            f"_smtp._tls.{of.domain}",
            "TXT",
            f"v=TLSRPTv1; rua=mailto:{of.reports}",
            "TLS reports: where others say that their TLS to you failed.",
        ),
    ]


def mta_sts_policy(mx: Sequence[str]) -> str:
    """RFC 8461 3.2; `mx`: who receives the domain's mail."""
    hosts = "".join(f"mx: {host}\n" for host in mx)
    return f"version: STSv1\nmode: testing\n{hosts}max_age: 604800\n"
