"""The ways to log in that a configuration names, built."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from postroad.adapters.accounts import PasswdAccounts, lasting_key
from postroad.adapters.dovecot import DovecotServer
from postroad.adapters.oauth import AskedClaims, Claims, Endpoint, OAuthTokens, SignedClaims
from postroad.adapters.oauth_keys import KeyRing
from postroad.adapters.smtpd_auth import Logins
from postroad.config.model import Config, OAuthConfig
from postroad.mail.certificates import CertificateRule, account_by_fingerprint, account_by_name
from postroad.mail.jwt import Demands
from postroad.mail.login_limits import LoginLimits
from postroad.ports.clock import Clock


def certificate_rule(config: Config) -> CertificateRule:
    name = config.login.certificate_account
    return CertificateRule(config.login.certificates, "" if name == "fingerprint" else name)


def password_accounts(config: Config) -> PasswdAccounts | None:
    """Raises AccountsError, OSError."""
    if config.submission.accounts is None:
        return None
    return PasswdAccounts(config.submission.accounts, key=lasting_key(config.login_key_path))


def logins(
    config: Config, rule: Callable[[], CertificateRule], accounts: PasswdAccounts | None, clock: Clock
) -> Logins:
    """All of them; `rule` is that of the moment. Raises TokenKeyError."""

    def certified(der: bytes, certificate: Mapping[str, object]) -> str | None:
        named = account_by_name(rule(), certificate)
        if named is not None and accounts is not None and named in accounts:
            return named
        return account_by_fingerprint(rule(), der)

    login = config.login
    return Logins(
        accounts=accounts,
        tokens=_tokens(config.oauth, clock),
        server=DovecotServer(login.dovecot_socket) if login.dovecot_socket is not None else None,
        named=lambda account: account in config.accounts.tables or account in login.certificates.values(),
        certificates=certified if config.tls.client_ca is not None else None,
        limits=LoginLimits(
            login.max_failures_per_address, login.max_failures_per_account, login.failure_memory
        ),
    )


def _tokens(config: OAuthConfig, clock: Clock) -> OAuthTokens | None:
    claims: Claims
    if config.key is not None:
        claims = SignedClaims(KeyRing(config.key))
    elif config.introspection_url is not None:
        claims = AskedClaims(
            Endpoint(config.introspection_url, config.client_id, config.client_secret, config.timeout)
        )
    else:
        return None
    demands = Demands(config.account_claim, config.scope, config.audience, config.issuer)
    expires = config.key is not None
    return OAuthTokens(claims, demands, clock, expires=expires, configuration=config.openid_configuration)
