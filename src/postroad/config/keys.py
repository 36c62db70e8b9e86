"""Every key of the configuration file and how its value is spelled, table by table.

Only spellings: defaults are those of the dataclasses in `model` and of the
values in `mail`, and what must fit together is in `consistency`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from postroad.config import accounts, doors, files, hosts, measures, names, values
from postroad.config.measures import duration, size
from postroad.config.values import Reader, choice, flag, listed, number
from postroad.mail.idempotency import MARKS
from postroad.mail.routing import TlsWish

Readers = Mapping[str, Reader]

OPEN_RELAY_KEY = "i_know_this_is_an_open_relay"

RSPAMD_ACTIONS = (
    *("no action", "greylist", "add header", "rewrite subject"),
    *("soft reject", "reject", "quarantine", "discard"),
)
RSPAMD_MEANINGS = ("accept", "headers", "subject", "hold", "tempfail", "reject")

_COUNT = number(1, 1_000_000)
_MANY = number(1, values.MOST)
_PORT = number(1, 65535)
_PRIORITY = number(-9, 9)

# The limits of a site, by the key that sets them: in [delivery] for all, in [[route]] for one.
LIMIT_FIELDS = {
    "connections_per_site": "connections",
    "initial_window": "initial_window",
    "messages_per_connection": "messages_per_connection",
    "connection_lifetime": "connection_lifetime",
    "idle_timeout": "idle_timeout",
    "recipients_per_transaction": "recipients_per_transaction",
    "pause_first": "pause_first",
    "pause_longest": "pause_longest",
}
LIMITS: Readers = {
    "connections_per_site": _COUNT,
    "initial_window": _COUNT,
    "messages_per_connection": _COUNT,
    "connection_lifetime": duration,
    "idle_timeout": duration,
    "recipients_per_transaction": _COUNT,
    "pause_first": duration,
    "pause_longest": duration,
}


# What an account may do: in [account_defaults] for all, in [account."NAME"] for one.
ACCOUNT: Readers = {
    "enabled": flag,
    "allowed_senders": listed(accounts.sender_pattern, empty=True),
    "allowed_from": listed(accounts.sender_pattern, empty=True),
    "max_messages_per_hour": _MANY,
    "max_messages_per_day": _MANY,
    "max_recipients_per_hour": _MANY,
    "max_recipients_per_day": _MANY,
    "max_rate": measures.rate,
    "max_message_size": size,
    "max_recipients": _COUNT,
    "max_connections": _COUNT,
    "lane": accounts.lane,
    "idempotency": listed(choice(*MARKS), empty=True),
    "lint": choice("off", "warn", "reject"),
}

_LOGIN: Readers = {
    "dovecot_socket": files.absolute_path,
    "certificate_account": choice("fingerprint", "email", "common_name"),
    "max_failures_per_address": _COUNT,
    "max_failures_per_account": _COUNT,
    "failure_memory": duration,
    "failure_delay": duration,
}
_DNS: Readers = {
    "nameservers": listed(hosts.nameserver, empty=True),
    "timeout": duration,
    "max_in_flight": _COUNT,
}

_CONTENT: Readers = {
    "long_lines": choice("encode", "refuse", "pass"),
    "downgrade_8bit": flag,
    # Below what the walk through a message can nest itself.
    "max_mime_depth": number(1, 200),
}


RETRY: Readers = {
    "schedule": listed(duration),
    "greylist": listed(duration),
    "expire_after": duration,
    "warn_after": duration,
    "dsn_expire_after": duration,
}


@dataclass(frozen=True, slots=True)
class Keys:
    """The readers of every table: [name], `repeated` ones [[name]], `named` ones [name."NAME"]."""

    top: Readers
    tables: Mapping[str, Readers]
    repeated: Mapping[str, Readers]
    named: Mapping[str, Readers]

    def owner(self, key: str) -> str | None:
        """How the table is written that knows this key; None: no table does."""
        if key in self.top:
            return "the top of the file, before the first [table]"
        for name, readers in self.tables.items():
            if key in readers:
                return f"[{name}]"
        return next((f"[[{name}]]" for name, readers in self.repeated.items() if key in readers), None)


def keys(base: Path, folder: files.Folder | None = None) -> Keys:
    """The keys of a file in the folder `base`; `folder` notes what files it names, and has what was kept."""
    folder = folder or files.Folder(base)
    file, private, secret = (
        files.file_in(folder),
        files.file_in(folder, private=True),
        files.secret_in(folder),
    )
    return Keys(
        top={
            "hostname": names.qualified,
            "origin": names.domain,
            "state_directory": files.path_in(base),
            "user": doors.user,
        },
        tables={
            "submission": _submission(private),
            "content": _CONTENT,
            "queue": {"low_water": size},
            "tls": _tls(file, private),
            "login": _LOGIN,
            "oauth": _oauth(file, secret),
            "dns": _DNS,
            "delivery": {
                "port": _PORT,
                "allow_private_addresses": flag,
                "max_connections": _COUNT,
                "ca_file": file,
                **LIMITS,
            },
            "retry": RETRY,
            "account_defaults": ACCOUNT,
            "local": _local(base),
            "log": {
                "format": choice("console", "json", "postfix"),
                "level": choice("debug", "info", "warning", "error"),
            },
        },
        repeated={
            "listener": _listener(base),
            "route": {
                "name": names.route_name,
                "match": listed(names.pattern),
                "relay": hosts.relay,
                "tls": choice(*(wish.value for wish in TlsWish)),
                "username": values.text,
                "password": secret,
                **LIMITS,
            },
            "policy": _policy(base, secret),
            "certificate": {"certificate": file, "key": private},
            "client_certificate": {"fingerprint": accounts.fingerprint, "account": accounts.login},
            "dkim": {"domain": names.domain, "selector": names.selector, "key": private},
        },
        named={"account": ACCOUNT},
    )


def _tls(file: Reader, private: Reader) -> Readers:
    return {
        "certificate": file,
        "key": private,
        "client_ca": file,
        "minimum_version": choice("TLSv1.2", "TLSv1.3"),
    }


def _local(base: Path) -> Readers:
    return {
        "domains": listed(names.domain, empty=True),
        "aliases": files.path_in(base),
        "fallback": names.local_target,
    }


def _listener(base: Path) -> Readers:
    return {
        "address": doors.address_in(base),
        "tls": choice("starttls", "implicit", "off"),
        "auth": choice("required", "optional", "off"),
        "protocol": choice("smtp", "lmtp"),
        "proxy": listed(hosts.network, empty=True),
        "proxy_timeout": duration,
        "xclient": listed(hosts.network, empty=True),
        "mode": doors.mode,
        "owner": doors.owner,
        "max_priority": _PRIORITY,
    }


def _oauth(file: Reader, secret: Reader) -> Readers:
    return {
        "introspection_url": hosts.web_address,
        "client_id": values.text,
        "client_secret": secret,
        "timeout": duration,
        "key": file,
        "issuer": values.text,
        "audience": values.text,
        "scope": values.text,
        "account_claim": values.text,
        "openid_configuration": values.text,
    }


def _submission(private: Reader) -> Readers:
    return {
        "trusted_networks": listed(hosts.network, empty=True),
        "accounts": private,
        "max_message_size": size,
        "max_recipients": _COUNT,
        "max_received": number(1, 1000),
        "max_header_size": size,
        "bare_newlines": choice("canonicalise", "refuse"),
        "max_connections": _COUNT,
        "max_connections_per_address": _COUNT,
        "shed_after": duration,
        "max_errors": _COUNT,
        "max_auth_failures": _COUNT,
        "idle_timeout": duration,
        "data_timeout": duration,
        "min_data_rate": size,
        "data_rate_window": duration,
        "max_session_time": duration,
        "max_transactions": number(1, 999_999),
        "max_idle_commands": _COUNT,
        "allow_unqualified_domains": flag,
        "spill_threshold": size,
        "idempotency_window": duration,
        "max_hold": measures.duration_or_off,
        "transactional_priority": _PRIORITY,
        "bulk_priority": _PRIORITY,
        "local_sender": choice("any", "own", "map"),
        OPEN_RELAY_KEY: flag,
    }


def _policy(base: Path, secret: Reader) -> Readers:
    return {
        "name": values.text,
        "hook": names.hook,
        "path": files.path_in(base),
        "rspamd": hosts.http_address,
        "password": secret,
        "max_size": size,
        "actions": values.mapping(RSPAMD_ACTIONS, choice(*RSPAMD_MEANINGS)),
        "timeout": duration,
        "on_error": choice("accept", "tempfail", "reject"),
    }
