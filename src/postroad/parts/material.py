"""What a configuration names, loaded: keys, certificates, hooks, aliases and limits."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from postroad.adapters.dkim import DkimSigner
from postroad.adapters.hooks import PythonHook, load_hook
from postroad.adapters.local import LocalSettings
from postroad.adapters.maildrop import MaildropSettings
from postroad.adapters.rspamd import Rspamd
from postroad.adapters.smtpd_tls import server_context
from postroad.config.alias_files import AliasFile
from postroad.config.alias_files import read as read_aliases
from postroad.config.model import Config, Listener, PolicyConfig
from postroad.config.origin import origin_of
from postroad.engine.destinations import Ground
from postroad.engine.explaining import Origin
from postroad.engine.mending import Fitness
from postroad.engine.policies import Asked
from postroad.mail.account import own_senders
from postroad.mail.admission import AdmissionLimits
from postroad.mail.certificates import CertificateRule
from postroad.mail.local_names import hop_of as local_hop
from postroad.mail.routing import DIRECT, Routes
from postroad.mail.throttle import Limits
from postroad.parts.logins import certificate_rule
from postroad.ports.policy import Policy


@dataclass(slots=True)
class Material:
    """What a configuration names and a reload reads again: all of it loaded, or an error raised."""

    signer: DkimSigner
    signs: Callable[[str], bool] | None
    tls: ssl.SSLContext | None
    certificates: CertificateRule
    limits: dict[str, Limits]
    ground: Ground
    admission: AdmissionLimits
    fitness: Fitness
    asked: tuple[Asked, ...]
    local: LocalSettings
    maildrop: MaildropSettings
    aliases: AliasFile
    origin: Origin


def material(config: Config) -> Material:
    """Load keys and certificates. Raises DkimKeyError, HookError, TlsError, OSError, each naming its file."""
    routes = config.routes
    ways = Routes(routes)
    submission = config.submission
    signer = DkimSigner(config.dkim)
    aliases = read_aliases(config)
    names = aliases.names
    return Material(
        signer=signer,
        signs=(lambda domain: signer.domain_for(domain) is not None) if config.dkim else None,
        tls=server_context(config.tls, config.certificates),
        certificates=certificate_rule(config),
        limits=site_limits(config),
        ground=ground_of(config),
        admission=AdmissionLimits(
            max_message_size=submission.max_message_size,
            max_header_size=submission.max_header_size,
            max_received=submission.max_received,
            max_recipients=submission.max_recipients,
        ),
        fitness=Fitness(
            config.content.long_lines, config.content.downgrade_8bit, config.content.max_mime_depth
        ),
        asked=tuple(_asked(policy, config.hostname) for policy in config.policies),
        local=LocalSettings(
            origin=config.origin,
            max_message_size=submission.max_message_size,
            hop_of=lambda address: str(
                local_hop(address) if address.domain in names.domains else ways.hop_for(address)
            ),
            names=names,
            own_senders=own_senders(submission.local_sender, config.accounts),
        ),
        maildrop=MaildropSettings(
            config.origin,
            submission.max_message_size,
            names,
            own_senders(submission.local_sender, config.accounts),
            config.hostname,
        ),
        aliases=aliases,
        origin=partial(origin_of, config),
    )


def site_limits(config: Config) -> dict[str, Limits]:
    """By the name of the route; the direct one serves those not named."""
    return {
        DIRECT: _limits(config.delivery.limits, config),
        **{route.name: _limits(route.limits, config) for route in config.routes},
    }


def ground_of(config: Config) -> Ground:
    return Ground(
        port=config.delivery.port,
        allow_private=config.delivery.allow_private_addresses,
        own_names=frozenset({config.hostname.lower()}),
        own_addresses=_own_addresses(config.listeners, config.delivery.port),
    )


def _asked(policy: PolicyConfig, hostname: str) -> Asked:
    asked: Policy
    if policy.rspamd is not None:
        asked = Rspamd(
            policy.rspamd,
            hostname,
            password=policy.password,
            max_size=policy.max_size,
            actions=dict(policy.actions),
        )
    else:
        asked = PythonHook(load_hook(policy.hook or "", policy.path))
    return Asked(policy.name, asked, policy.timeout, policy.on_error)


def _limits(limits: Limits, config: Config) -> Limits:
    """A site's pause is never longer than the operator's own schedule would wait."""
    schedule = config.retry.schedule
    return replace(
        limits,
        pause_first=min(limits.pause_first, schedule[0]),
        pause_longest=min(limits.pause_longest, max(schedule)),
    )


def _own_addresses(listeners: tuple[Listener, ...], port: int) -> frozenset[str]:
    """Where mail sent to `port` would come back in through a door of ours."""
    return frozenset(listener.host for listener in listeners if listener.port == port)
