"""What must fit together in a configuration whose single values are right.

A comparison is made only where both sides are without problems of their own, so
that one mistake is told once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address
from pathlib import Path

from postroad.config.keys import OPEN_RELAY_KEY
from postroad.config.model import Config, DkimKey, Listener, OAuthConfig, PolicyConfig
from postroad.config.problems import KeyPath, Report
from postroad.mail.printable import printable
from postroad.mail.routing import Route, TlsWish

MAX_PEM = 1024 * 1024
# sockaddr_un.sun_path holds 108 octets on Linux, the last of them NUL.
MAX_SOCKET_PATH = 107
# Wider is nobody's own network: 10.0.0.0/8 is the widest private one (RFC 1918), and no provider of
# IPv6 has more than a /16; fc00::/7 is for private use (RFC 4193).
WIDEST_V4, WIDEST_V6 = 8, 16
UNIQUE_LOCAL = IPv6Network("fc00::/7")
TRUSTS_EVERYONE = "trusts everyone, or nearly"


def check(config: Config, report: Report, *, open_relay_wanted: bool) -> None:
    """Add every contradiction to the report. Reads certificate and key files."""
    _state_directory(config, report)
    _certificate(config, report)
    _more_certificates(config, report)
    _listeners(config, report)
    _other_logins(config, report)
    if not open_relay_wanted:
        _open_relay(config, report)
    _limits(config, report)
    _routes(config.routes, report)
    _retry(config, report)
    _dkim(config.dkim, report)
    _policies(config.policies, report)


def _state_directory(config: Config, report: Report) -> None:
    path: KeyPath = ("state_directory",)
    if not report.sound(path):
        return
    if config.state_directory.exists() and not config.state_directory.is_dir():
        report.add(path, f"{config.state_directory}: not a folder")
    if len(os.fsencode(config.socket_path)) > MAX_SOCKET_PATH:
        report.add(path, f"too long: a socket in it would need more than {MAX_SOCKET_PATH} octets of path")


def _certificate(config: Config, report: Report) -> None:
    tls = config.tls
    if not report.sound(("tls", "certificate"), ("tls", "key")):
        return
    if tls.certificate is None and tls.key is None:
        return
    if tls.certificate is None or tls.key is None:
        present, missing = ("key", "certificate") if tls.key else ("certificate", "key")
        report.add(("tls", missing), f"missing, and tls.{present} alone is of no use")
        return
    _loads(tls.certificate, tls.key, ("tls",), report)


def _more_certificates(config: Config, report: Report) -> None:
    """Those that are chosen by name."""
    for n, one in enumerate(config.certificates):
        at: KeyPath = ("certificate", n)
        if one.key is not None and report.sound((*at, "certificate"), (*at, "key")):
            _loads(one.certificate, one.key, at, report)
    if config.certificates and config.tls.certificate is None and report.sound(("tls", "certificate")):
        report.add(("certificate",), "needs tls.certificate, which is for clients that ask for no name")


def _loads(certificate: Path, key: Path, at: KeyPath, report: Report) -> None:
    """Whether a certificate and its key can be used together."""
    import ssl  # only the daemon and `config check` come here

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password function OpenSSL would ask on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        of, why = _certificate_fault(error, certificate, key)
        report.add((*at, of), why)


def _certificate_fault(error: Exception, certificate: Path, key: Path) -> tuple[str, str]:
    reason = getattr(error, "reason", None) or ""
    if reason == "KEY_VALUES_MISMATCH":
        return "key", f"{key}: is not the key of {certificate}"
    if b"-----BEGIN CERTIFICATE-----" not in _pem(certificate):
        return "certificate", f"{certificate}: has no certificate in PEM"
    wrong = _key_fault(key)
    if wrong:
        return "key", wrong
    return "certificate", printable(f"{certificate} with {key}: {reason or error}")


def _key_fault(file: Path) -> str:
    """Why a file is no usable private key, by its looks; "" where nothing speaks against it."""
    pem = _pem(file)
    if b"ENCRYPTED" in pem:
        return f"{file}: is encrypted; a service needs a key without password, or a credential of systemd"
    if b"PRIVATE KEY-----" in pem:
        return ""
    if b"-----BEGIN PUBLIC KEY-----" in pem:
        return f"{file}: is the public key; the private one is needed"
    return f"{file}: has no private key in PEM"


def _pem(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_PEM)
    except OSError:
        return b""


def _listeners(config: Config, report: Report) -> None:
    seen: dict[str, int] = {}
    for n, listener in enumerate(config.listeners):
        at: KeyPath = ("listener", n)
        if report.sound((*at, "address")):
            if str(listener) in seen and (listener.port or not listener.host):
                where = report.where(("listener", seen[str(listener)], "address"))
                report.add((*at, "address"), f"{listener} is the address of another listener: {where}")
            seen.setdefault(str(listener), n)
        _place(listener, at, report)
        _vouchers(listener, at, report)
        if not report.sound((*at, "tls"), (*at, "auth")):
            continue
        if listener.auth != "off":
            _login(config, n, report)
        if listener.tls != "off" and config.tls.certificate is None and report.sound(("tls", "certificate")):
            report.add((*at, "tls"), f'"{listener.tls}" needs tls.certificate and tls.key')


def _place(listener: Listener, at: KeyPath, report: Report) -> None:
    """What the kind of address and the other keys have to do with each other."""
    path = listener.path
    if path is not None and len(os.fsencode(path)) > MAX_SOCKET_PATH:
        report.add((*at, "address"), f"too long: more than {MAX_SOCKET_PATH} octets of path")
    if listener.protocol == "lmtp" and listener.port == 25:
        report.add((*at, "protocol"), '"lmtp" must not be spoken on port 25 (RFC 2033 section 5)')
    usual = Listener()
    if path is None:
        for key in ("mode", "owner"):
            if getattr(listener, key) != getattr(usual, key):
                report.add((*at, key), f"is for Unix sockets, and {listener} is none")
        return
    for key in ("tls", "auth"):
        if getattr(listener, key) != "off" and report.sound((*at, key)):
            report.add((*at, key), 'a Unix socket knows its clients by their uid: "off" is all it can be')
    for key in ("proxy", "xclient"):
        if getattr(listener, key):
            report.add((*at, key), "a Unix socket knows its clients by their uid, not by an address")


def _vouchers(listener: Listener, at: KeyPath, report: Report) -> None:
    """Whose word for somebody else's address is taken must be few."""
    for key in ("proxy", "xclient"):
        if _covers_everyone(getattr(listener, key)) and report.sound((*at, key)):
            report.add((*at, key), "names everyone: any client could say that it is a trusted one")


def _login(config: Config, n: int, report: Report) -> None:
    listener = config.listeners[n]
    path: KeyPath = ("listener", n, "auth")
    if listener.tls == "off":
        report.add(path, f'"{listener.auth}" with tls = "off" would take passwords in the clear')
    if not report.sound(("submission", "accounts"), ("tls", "client_ca"), ("login",), ("oauth",)):
        return
    others = (config.tls.client_ca, config.login.dovecot_socket, config.oauth)
    if config.submission.accounts is None and not any(others):
        report.add(path, f'"{listener.auth}" needs submission.accounts')


def _other_logins(config: Config, report: Report) -> None:
    """A Dovecot, bearer tokens, certificates of clients."""
    socket: KeyPath = ("login", "dovecot_socket")
    if config.login.dovecot_socket is not None and config.submission.accounts is not None:
        report.add(socket, "and submission.accounts are two places for passwords; leave one out")
    oauth, at = config.oauth, "oauth"
    if report.sound((at,)) and oauth.introspection_url is not None and oauth.key is not None:
        report.add((at, "key"), "and introspection_url are two ways to check a token; leave one out")
    if report.sound((at,)) and oauth.key is not None and not oauth.audience:
        report.add((at, "audience"), "missing: without it a token for any other service would log in here")
    if report.sound((at,)) and not oauth and oauth != OAuthConfig():
        report.add((at,), "needs introspection_url or key")
    _client_certificates(config, report)


def _client_certificates(config: Config, report: Report) -> None:
    login, authorities = config.login, config.tls.client_ca
    paths: tuple[KeyPath, ...] = (("login", "certificate_account"), ("tls", "client_ca"))
    if not report.sound(*paths, ("client_certificate",), ("submission", "accounts")):
        return
    by_name = login.certificate_account != "fingerprint"
    if authorities is None:
        if by_name:
            report.add(paths[0], "needs tls.client_ca, whose word for it counts")
        elif login.certificates:
            report.add(("client_certificate",), "needs tls.client_ca, which may hold the certificate itself")
    elif by_name and config.submission.accounts is None:
        report.add(paths[0], f'"{login.certificate_account}" needs submission.accounts to name who may')
    elif not by_name and not login.certificates:
        report.add(paths[1], "lets nobody in without a [[client_certificate]]")
    elif b"-----BEGIN CERTIFICATE-----" not in _pem(authorities):
        report.add(paths[1], f"{authorities}: has no certificate in PEM")


def _open_relay(config: Config, report: Report) -> None:
    path: KeyPath = ("submission", "trusted_networks")
    if not report.sound(path, ("listener",)):
        return
    for listener in open_relays(config):
        report.add(
            path,
            f"{TRUSTS_EVERYONE}, and listener {listener} asks for no login: an open relay, which "
            f"spammers find within hours; submission.{OPEN_RELAY_KEY} = true if that is really wanted",
        )
        return


def open_relays(config: Config) -> list[Listener]:
    """The listeners that take mail from (nearly) anybody; in a configuration that loaded, on purpose."""
    if not _covers_everyone(config.submission.trusted_networks):
        return []
    return [listener for listener in config.listeners if listener.auth != "required" and not _near(listener)]


def _covers_everyone(networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether a network is so wide that nobody knows all who are in it."""
    v4 = [network for network in networks if isinstance(network, IPv4Network)]
    v6 = [network for network in networks if isinstance(network, IPv6Network)]
    # Two halves of the address space make a whole: hence collapsed first.
    return any(net.prefixlen < WIDEST_V4 for net in collapse_addresses(v4)) or any(
        net.prefixlen < WIDEST_V6 and not net.subnet_of(UNIQUE_LOCAL) for net in collapse_addresses(v6)
    )


def _near(listener: Listener) -> bool:
    """Whether only this machine can be a client of it."""
    far = listener.proxy or listener.xclient
    return listener.path is not None or (_loopback(listener.host) and not far)


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.strip("[]") == "localhost"


def _limits(config: Config, report: Report) -> None:
    submission = config.submission
    paths: tuple[KeyPath, ...] = (("submission", "max_header_size"), ("submission", "max_message_size"))
    if report.sound(*paths) and submission.max_header_size > submission.max_message_size:
        report.add(paths[0], "is more than submission.max_message_size")
    _account_limits(config, report)
    owners: list[tuple[KeyPath, float, float]] = [
        (("delivery",), config.delivery.limits.pause_first, config.delivery.limits.pause_longest)
    ]
    owners += [
        (("route", n), route.limits.pause_first, route.limits.pause_longest)
        for n, route in enumerate(config.routes)
    ]
    for owner, first, longest in owners:
        if report.sound(("delivery",), owner) and first > longest:
            report.add((*owner, "pause_first"), "is longer than pause_longest")


def _account_limits(config: Config, report: Report) -> None:
    """A larger limit would do nothing."""
    for key in ("max_message_size", "max_recipients"):
        most = getattr(config.submission, key)
        default = getattr(config.accounts.defaults, key)
        values: dict[KeyPath, int | None] = {("account_defaults", key): default}
        for name, policy in config.accounts.tables.items():
            value = getattr(policy, key)
            values["account", name, key] = None if value == default else value
        for path, value in values.items():
            if value is not None and value > most and report.sound(path, ("submission", key)):
                report.add(path, f"is more than submission.{key}")


def _routes(routes: tuple[Route, ...], report: Report) -> None:
    first: dict[str, int] = {}
    for n, route in enumerate(routes):
        at: KeyPath = ("route", n)
        other = first.setdefault(route.name, n)
        if other != n and report.sound((*at, "name")):
            where = report.where(("route", other, "name"))
            report.add((*at, "name"), f'"{route.name}" is the name of another route too: {where}')
        if report.sound((*at, "username"), (*at, "password"), (*at, "relay"), (*at, "tls")):
            _relay_login(route, at, report)


def _relay_login(route: Route, at: KeyPath, report: Report) -> None:
    if route.username is None and route.password is None:
        return
    if route.username is None or route.password is None:
        missing = "username" if route.username is None else "password"
        report.add((*at, missing), "missing: a login needs username and password")
    if route.relay is None:
        report.add((*at, "relay"), "missing: a login is for a relay, not for delivery by MX")
    elif route.tls is TlsWish.NONE and not _loopback(route.relay[0]):
        report.add((*at, "tls"), f'"none" would send the password to {route.relay[0]} in the clear')


def _retry(config: Config, report: Report) -> None:
    retry = config.retry
    paths: tuple[KeyPath, ...] = (("retry", "expire_after"), ("retry", "schedule"))
    if report.sound(*paths) and retry.schedule[0] >= retry.expire_after:
        report.add(paths[0], "is over before the first wait of retry.schedule: nothing would be tried twice")


def _dkim(keys: tuple[DkimKey, ...], report: Report) -> None:
    first: dict[tuple[str, str], int] = {}
    for n, key in enumerate(keys):
        at: KeyPath = ("dkim", n)
        if report.sound((*at, "key")) and (wrong := _key_fault(key.key)):
            report.add((*at, "key"), wrong)
        if not report.sound((*at, "domain"), (*at, "selector")):
            continue
        other = first.setdefault((key.domain, key.selector), n)
        if other != n:
            where = report.where(("dkim", other, "selector"))
            named = f"{key.selector}._domainkey.{key.domain}"
            report.add((*at, "selector"), f"{named} has an entry already: {where}")


def _policies(policies: tuple[PolicyConfig, ...], report: Report) -> None:
    first: dict[str, int] = {}
    for n, policy in enumerate(policies):
        at: KeyPath = ("policy", n)
        other = first.setdefault(policy.name, n)
        if other != n and report.sound((*at, "name")):
            where = report.where(("policy", other, "name"))
            report.add((*at, "name"), f'"{policy.name}" is the name of another policy too: {where}')
        if policy.hook and report.sound((*at, "hook"), (*at, "path")) and (wrong := _hook_fault(policy)):
            report.add((*at, "hook"), wrong)


def _hook_fault(policy: PolicyConfig) -> str:
    """Why a hook cannot be had, found by importing it as the daemon will; "" where it can."""
    module, _, name = (policy.hook or "").partition(":")
    if policy.path is not None and str(policy.path) not in sys.path:
        sys.path.append(str(policy.path))
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        # Whatever a module does when it is imported.
        return printable(f"cannot be imported: {type(error).__name__}: {error}")
    return "" if callable(found) else "is no callable"
