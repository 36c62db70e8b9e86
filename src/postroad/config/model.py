"""The configuration as frozen values: what the rest of the program receives, in pieces.

Defaults live here and nowhere else; `conf/postroad.toml` shows them and a test
holds the two together. Times are seconds, sizes octets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from postroad.config.places import Places
from postroad.mail.account import AccountPolicies
from postroad.mail.aliases import Target
from postroad.mail.backoff import RetryPolicy
from postroad.mail.routing import Route
from postroad.mail.throttle import Limits

KIB = 1024
MIB = 1024 * KIB

STATE_DIRECTORY = Path("/var/lib/postroad")
ALIASES = Path("/etc/aliases")


Networks = tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class Listener:
    """One submission door. `tls`: starttls | implicit | off; `auth`: required | optional | off.

    It is at `host` and `port`, or a Unix socket at `path` with `mode` and `owner` (uid
    and gid, -1 as it comes), or all sockets that systemd passed by the name `passed`.
    `protocol`: smtp | lmtp. `proxy`: whose connections begin with a PROXY header, all
    others being refused; empty: nobody's. `xclient`: who may say XCLIENT.
    `max_priority`: the highest MT-PRIORITY (RFC 6710) that counts here.
    """

    host: str = ""
    port: int = 0
    tls: str = "starttls"
    auth: str = "required"
    max_priority: int = 9
    path: Path | None = None
    passed: str | None = None
    protocol: str = "smtp"
    proxy: Networks = ()
    proxy_timeout: float = 5.0
    xclient: Networks = ()
    mode: int = 0o666
    owner: tuple[int, int] | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        if self.passed is not None:
            return f"systemd:{self.passed}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SubmissionConfig:
    """Who may submit, and what at most. `bare_newlines`: canonicalise | refuse. `max_hold` 0: never.
    `local_sender`: any | own | map.

    From `transactional_priority` on a message is transactional, up to `bulk_priority` it is bulk.
    """

    trusted_networks: Networks = (
        ip_network("127.0.0.0/8"),
        ip_network("::1/128"),
    )
    accounts: Path | None = None
    max_message_size: int = 50 * MIB
    max_recipients: int = 1000
    max_received: int = 100
    max_header_size: int = 256 * KIB
    bare_newlines: str = "canonicalise"
    max_connections: int = 1000
    max_connections_per_address: int = 100
    shed_after: float = 2.0
    max_errors: int = 20
    max_auth_failures: int = 3
    idle_timeout: float = 300.0
    data_timeout: float = 600.0
    min_data_rate: int = 1 * KIB
    data_rate_window: float = 60.0
    max_session_time: float = 86_400.0
    max_transactions: int = 100_000
    max_idle_commands: int = 100
    allow_unqualified_domains: bool = False
    spill_threshold: int = 1 * MIB
    idempotency_window: float = 172_800.0
    max_hold: float = 30 * 86_400.0
    transactional_priority: int = 4
    bulk_priority: int = -4
    local_sender: str = "any"


@dataclass(frozen=True, slots=True)
class ContentConfig:
    """What is done about content that not every host may be sent. `long_lines`: encode | refuse | pass."""

    long_lines: str = "encode"
    downgrade_8bit: bool = False
    max_mime_depth: int = 50


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """`low_water`: with less room than that on the disk nothing new is accepted."""

    low_water: int = 64 * MIB


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its key, PEM; `key` None: in the same file."""

    certificate: Path
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Server certificate chain and key, PEM; `client_ca`: who signs certificates of clients, PEM.

    `minimum_version`: TLSv1.2 | TLSv1.3.
    """

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    minimum_version: str = "TLSv1.2"


@dataclass(frozen=True, slots=True)
class OAuthConfig:
    """Bearer tokens: who issued them is asked (`introspection_url`), or JWTs are verified with `key`, PEM."""

    introspection_url: str | None = None
    client_id: str = ""
    client_secret: str = ""
    timeout: float = 5.0
    key: Path | None = None
    issuer: str = ""
    audience: str = ""
    scope: str = ""
    account_claim: str = "sub"
    openid_configuration: str = ""

    def __bool__(self) -> bool:
        return self.introspection_url is not None or self.key is not None


@dataclass(frozen=True, slots=True)
class LoginConfig:
    """How clients prove who they are, beside a password of an account, and how often they may fail.

    `certificate_account`: fingerprint | email | common_name, and `certificates` the first of them.
    """

    dovecot_socket: Path | None = None
    certificate_account: str = "fingerprint"
    certificates: Mapping[str, str] = field(default_factory=dict)
    max_failures_per_address: int = 50
    max_failures_per_account: int = 20
    failure_memory: float = 3600.0
    failure_delay: float = 1.0


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """`nameservers` as (address, port); empty: resolv.conf."""

    nameservers: tuple[tuple[str, int], ...] = ()
    timeout: float = 5.0
    max_in_flight: int = 128


@dataclass(frozen=True, slots=True)
class DeliveryConfig:
    """How to knock at receivers. `ca_file`: roots for verified TLS; None: the system's."""

    port: int = 25
    allow_private_addresses: bool = False
    max_connections: int = 500
    ca_file: Path | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class DkimKey:
    """One signing key, PEM, for a From domain and those below it."""

    domain: str
    selector: str
    key: Path


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """A content policy: `hook`, "package.module:callable", also found in `path`, or `rspamd`, an address.

    `on_error`: accept | tempfail | reject. `actions`: what rspamd's actions mean, where not the usual.
    """

    name: str
    hook: str | None = None
    path: Path | None = None
    rspamd: str | None = None
    password: str | None = None
    max_size: int = 20 * MIB
    actions: tuple[tuple[str, str], ...] = ()
    timeout: float = 10.0
    on_error: str = "tempfail"


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """Local names. `domains` None: `hostname`."""

    domains: tuple[str, ...] | None = None
    aliases: Path = ALIASES
    fallback: Target | None = None


@dataclass(frozen=True, slots=True)
class LogConfig:
    """`format`: console | json | postfix; `level`: debug | info | warning | error."""

    format: str = "console"
    level: str = "info"


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a configuration names; `private`: others than its user should not be able to read it."""

    path: Path
    private: bool


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. `origin` completes addresses; `places`: where a key is set.

    `user`: who to be when started as root; None: who started it. `files`: all that it names.
    `secret_sources`: its own files in which a secret stands as it is.
    """

    path: Path | None
    hostname: str
    state_directory: Path
    origin: str
    listeners: tuple[Listener, ...] = ()
    submission: SubmissionConfig = field(default_factory=SubmissionConfig)
    queue: QueueConfig = field(default_factory=QueueConfig)
    content: ContentConfig = field(default_factory=ContentConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    certificates: tuple[Certificate, ...] = ()
    login: LoginConfig = field(default_factory=LoginConfig)
    oauth: OAuthConfig = field(default_factory=OAuthConfig)
    dns: DnsConfig = field(default_factory=DnsConfig)
    delivery: DeliveryConfig = field(default_factory=DeliveryConfig)
    routes: tuple[Route, ...] = ()
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    dkim: tuple[DkimKey, ...] = ()
    accounts: AccountPolicies = field(default_factory=AccountPolicies)
    policies: tuple[PolicyConfig, ...] = ()
    local: LocalConfig = field(default_factory=LocalConfig)
    log: LogConfig = field(default_factory=LogConfig)
    user: str | None = None
    places: Places = field(default_factory=Places, compare=False, repr=False)
    files: tuple[NamedFile, ...] = field(default=(), compare=False, repr=False)
    secret_sources: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    @property
    def own_certificates(self) -> tuple[Certificate, ...]:
        """All that listeners show to clients; without [tls] none."""
        if self.tls.certificate is None:
            return ()
        return (Certificate(self.tls.certificate, self.tls.key), *self.certificates)

    @property
    def socket_path(self) -> Path:
        return self.state_directory / "postroad.sock"

    @property
    def index_path(self) -> Path:
        return self.state_directory / "queue.sqlite"

    @property
    def spool_path(self) -> Path:
        return self.state_directory / "spool"

    @property
    def login_key_path(self) -> Path:
        return self.state_directory / "login.key"

    @property
    def maildrop_path(self) -> Path:
        return self.state_directory / "maildrop"
