"""What a file may say, what it means, and how every mistake in it is told."""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.config import Config, ConfigError, Problem, accounts_file, load, load_sound
from postroad.config.consistency import open_relays
from postroad.config.keys import keys
from postroad.config.model import (
    DeliveryConfig,
    DkimKey,
    DnsConfig,
    Listener,
    LogConfig,
    SubmissionConfig,
    TlsConfig,
)
from postroad.mail.account import AccountPolicy
from postroad.mail.backoff import RetryPolicy
from postroad.mail.routing import TlsWish
from postroad.mail.throttle import Limits
from tests.support.certificates import pair, write_pair

CONTRACT = """\
hostname = "mail.example.com"        # HELO, Received, Message-ID, DSN
state_directory = "/var/lib/postroad" # segments, index, control socket, maildrop

[[listener]]
address = "127.0.0.1:587"
tls = "starttls"                     # "starttls" | "implicit" | "off"
auth = "required"                    # "required" | "optional" | "off" (off: only clients in trusted_networks)

[submission]
trusted_networks = ["127.0.0.0/8"]
accounts = "accounts"                # passwd-file: name:{SCHEME}hash
max_message_size = "50MiB"

[tls]
certificate = "cert.pem"
key = "key.pem"

[dns]
nameservers = ["127.0.0.1:5353"]     # default: resolv.conf

[delivery]
port = 25
allow_private_addresses = false      # deliver to loopback and private addresses

[[route]]                            # first match wins; without a route: by MX
match = ["example.net", "*.example.org", "*"]
relay = "127.0.0.1:2626"             # a next hop in place of MX
tls = "opportunistic"                # "none" | "opportunistic" | "required" | "verified"
username = "user"
password = "file:relay.password"

[retry]
schedule = ["5m", "15m", "30m", "1h", "2h", "3h", "4h"]   # the last one repeats
greylist = ["5m", "15m", "30m", "1h"]
expire_after = "5d"
warn_after = "4h"

[[dkim]]
domain = "example.com"
selector = "s1"
key = "dkim/example.com.s1.pem"
"""

SHIPPED = Path(__file__).parents[2] / "conf" / "postroad.toml"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A folder with every file that the configurations here name."""
    write_pair(tmp_path)
    (tmp_path / "other-key.pem").write_bytes(pair("other.example")[1])
    (tmp_path / "accounts").write_text("anna:{ARGON2ID}$argon2id$x\n")
    (tmp_path / "relay.password").write_text("hunter2\nsecond line\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "public.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    (tmp_path / "locked.pem").write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    (tmp_path / "dkim").mkdir()
    (tmp_path / "dkim" / "example.com.s1.pem").write_bytes(pair()[1])
    return tmp_path


def config(directory: Path, text: str) -> Config:
    file = directory / "postroad.toml"
    file.write_text(text)
    return load(file)


def problems(directory: Path, text: str) -> list[str]:
    """Every problem of a text as `line: key: problem`."""
    with pytest.raises(ConfigError) as caught:
        config(directory, text)
    prefix = f"{directory / 'postroad.toml'}:"
    told = str(caught.value).split("\n")
    assert all(line.startswith(prefix) for line in told)
    return [line.removeprefix(prefix) for line in told]


def told(file: Path) -> list[Problem]:
    """The problems of any file, none where it loads."""
    try:
        load(file)
    except ConfigError as error:
        return error.problems
    return []


HOST = 'hostname = "mail.example.com"\n'


def test_the_contract_loads_as_it_is_written(directory: Path) -> None:
    found = config(directory, CONTRACT)
    assert found.hostname == found.origin == "mail.example.com"
    assert found.state_directory == Path("/var/lib/postroad")
    assert found.listeners == (Listener("127.0.0.1", 587, "starttls", "required"),)
    assert found.submission == SubmissionConfig(
        trusted_networks=(ip_network("127.0.0.0/8"),), accounts=directory / "accounts"
    )
    assert found.tls == TlsConfig(directory / "cert.pem", directory / "key.pem")
    assert found.dns == DnsConfig(nameservers=(("127.0.0.1", 5353),))
    assert found.delivery == DeliveryConfig()
    assert found.retry == RetryPolicy()
    assert found.dkim == (DkimKey("example.com", "s1", directory / "dkim" / "example.com.s1.pem"),)
    (route,) = found.routes
    assert route.name == "relay-1"
    assert route.match == ("example.net", "*.example.org", "*")
    assert route.relay == ("127.0.0.1", 2626)
    assert route.tls is TlsWish.OPPORTUNISTIC
    assert (route.username, route.password) == ("user", "hunter2")


def test_a_file_with_a_name_alone_is_all_defaults(directory: Path) -> None:
    found = config(directory, HOST)
    assert found == Config(
        path=directory / "postroad.toml",
        hostname="mail.example.com",
        state_directory=Path("/var/lib/postroad"),
        origin="mail.example.com",
    )


def test_relative_paths_start_at_the_folder_of_the_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    found = config(directory, HOST + 'state_directory = "queue"\n[submission]\naccounts = "accounts"\n')
    assert found.state_directory == directory / "queue"
    assert found.submission.accounts == directory / "accounts"


def test_limits_of_delivery_are_those_of_a_route_unless_it_has_its_own(directory: Path) -> None:
    found = config(
        directory,
        HOST
        + "[delivery]\nport = 2525\nconnections_per_site = 3\nidle_timeout = '1s'\n"
        + '[[route]]\nrelay = "[mx.example.net]"\nconnections_per_site = 7\n'
        + '[[route]]\nname = "v6"\nrelay = "[2001:db8::1]:26"\ntls = "verified"\n',
    )
    assert found.delivery.limits == Limits(connections=3, idle_timeout=1.0)
    first, second = found.routes
    assert first.limits == Limits(connections=7, idle_timeout=1.0)
    assert first.relay == ("[mx.example.net]", 2525)
    assert (second.name, second.relay) == ("v6", ("2001:db8::1", 26))
    assert second.limits == found.delivery.limits


@pytest.mark.parametrize(
    ("spelled", "means"),
    [
        ("plain", "plain"),
        ("file:relay.password", "hunter2"),
        ("env:POSTROAD_TEST_SECRET", "from the environment"),
        ("credential:relay", "from systemd"),
    ],
)
def test_a_secret_is_itself_or_lies_elsewhere(
    directory: Path, monkeypatch: pytest.MonkeyPatch, spelled: str, means: str
) -> None:
    (directory / "relay").write_text("from systemd\n")
    monkeypatch.setenv("POSTROAD_TEST_SECRET", "from the environment")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    text = f'{HOST}[[route]]\nrelay = "127.0.0.1:26"\nusername = "u"\npassword = "{spelled}"\n'
    (route,) = config(directory, text).routes
    assert route.password == means
    assert means not in repr(route)


def test_keys_may_be_credentials_of_systemd(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    found = config(directory, HOST + '[tls]\ncertificate = "file:cert.pem"\nkey = "credential:key.pem"\n')
    assert found.tls == TlsConfig(directory / "cert.pem", directory / "key.pem")


def test_outside_of_the_service_its_credentials_are_those_of_the_one_that_runs(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    text = HOST + '[tls]\ncertificate = "cert.pem"\nkey = "credential:key.pem"\n'
    monkeypatch.setattr("postroad.config.files.RUNNING", str(directory / "nowhere"))
    assert "which systemd sets for LoadCredential=" in problems(directory, text)[0]
    monkeypatch.setattr("postroad.config.files.RUNNING", str(directory))
    assert config(directory, text).tls.key == directory / "key.pem"


LISTENER = '[[listener]]\naddress = "127.0.0.1:587"\n'

BROKEN: list[tuple[str, str, list[str]]] = [
    (
        "a misspelled key",
        HOST + "[submission]\nmax_mesage_size = 1\n",
        ['3: submission.max_mesage_size: unknown key; did you mean "max_message_size"?'],
    ),
    (
        "a misspelled table",
        HOST + "\n[delivry]\n",
        ['3: delivry: unknown key or table; did you mean "delivery"?'],
    ),
    ("an unknown key like no other", HOST + "zzz = 1\n", ["2: zzz: unknown key or table"]),
    (
        "a top-level key below a table",
        HOST + "[log]\norigin = 'a.example'\n",
        ["3: log.origin: unknown key here; it belongs to the top of the file, before the first [table]"],
    ),
    (
        "a key of another table",
        HOST + "[delivery]\nmax_message_size = '1MiB'\n",
        ["3: delivery.max_message_size: unknown key here; it belongs to [submission]"],
    ),
    (
        "a number for a duration",
        HOST + "[dns]\ntimeout = 5\n",
        ['3: dns.timeout: expected a duration such as "5m", "1h30m" or "5d", got 5'],
    ),
    (
        "a duration without unit",
        HOST + "[dns]\ntimeout = '5'\n",
        ['3: dns.timeout: expected a duration such as "5m", "1h30m" or "5d", got "5"'],
    ),
    (
        "a duration of nothing",
        HOST + "[dns]\ntimeout = '0s'\n",
        ['3: dns.timeout: expected a duration of more than 0 and at most 3650d, got "0s"'],
    ),
    (
        "a size with a near unit",
        HOST + "[submission]\nmax_message_size = '50Mib'\n",
        [
            '3: submission.max_message_size: expected a size such as "25MiB" or "50MB", got "50Mib"; '
            'did you mean "MiB"?'
        ],
    ),
    (
        "a number for a size",
        HOST + "[submission]\nmax_message_size = 50\n",
        ['3: submission.max_message_size: expected a size such as "25MiB" or "50MB", got 50'],
    ),
    (
        "true for a number",
        HOST + "[submission]\nmax_recipients = true\n",
        ["3: submission.max_recipients: expected a whole number, got true"],
    ),
    (
        "a number out of bounds",
        HOST + "[delivery]\nport = 65536\n",
        ["3: delivery.port: expected a number from 1 to 65535, got 65536"],
    ),
    (
        "a text for true",
        HOST + '[delivery]\nallow_private_addresses = "yes"\n',
        ['3: delivery.allow_private_addresses: expected true or false, got "yes"'],
    ),
    (
        "a word that is none of those allowed",
        HOST + '[log]\nformat = "jason"\n',
        ['3: log.format: expected one of "console", "json", "postfix", got "jason"; did you mean "json"?'],
    ),
    (
        "an address without port",
        HOST + '[[listener]]\naddress = "127.0.0.1"\ntls = "off"\nauth = "off"\n',
        [
            '3: listener.address: expected an address such as "127.0.0.1:587" or "[::]:587", '
            'got "127.0.0.1": the port is missing'
        ],
    ),
    (
        "a port alone",
        HOST + '[[listener]]\naddress = ":587"\ntls = "off"\nauth = "off"\n',
        [
            '3: listener.address: expected an address such as "127.0.0.1:587" or "[::]:587", '
            'got ":587": for all addresses write "[::]:587"'
        ],
    ),
    (
        "a name to listen on",
        HOST + '[[listener]]\naddress = "mail.example.com:587"\ntls = "off"\nauth = "off"\n',
        [
            '3: listener.address: expected an address such as "127.0.0.1:587" or "[::]:587", '
            'got "mail.example.com:587"'
        ],
    ),
    (
        "a listener without address",
        HOST + '\n[[listener]]\ntls = "off"\nauth = "off"\n',
        ['3: listener.address: missing; write for example "127.0.0.1:587"'],
    ),
    (
        "two listeners at one address",
        HOST + (LISTENER + 'tls = "off"\nauth = "off"\n') * 2,
        ["7: listener.address: 127.0.0.1:587 is the address of another listener: @/postroad.toml:3"],
    ),
    (
        "a single table where several are meant",
        HOST + '[listener]\naddress = "127.0.0.1:587"\n',
        ["2: listener: expected tables written [[listener]], got a table"],
    ),
    (
        "several tables where one is meant",
        HOST + "[[log]]\nlevel = 'info'\n",
        ["2: log: expected one table written [log], got a list"],
    ),
    (
        "passwords in the clear",
        HOST + LISTENER + 'tls = "off"\nauth = "optional"\n[submission]\naccounts = "accounts"\n',
        ['5: listener.auth: "optional" with tls = "off" would take passwords in the clear'],
    ),
    (
        "auth is required by default, and needs accounts and a certificate",
        HOST + LISTENER,
        [
            '2: listener.auth: "required" needs submission.accounts',
            '2: listener.tls: "starttls" needs tls.certificate and tls.key',
        ],
    ),
    (
        "files that are not there",
        HOST + '[submission]\naccounts = "nobody"\n[tls]\ncertificate = "c.pem"\nkey = "dkim"\n',
        [
            "3: submission.accounts: @/nobody: no such file",
            "5: tls.certificate: @/c.pem: no such file",
            "6: tls.key: @/dkim: not a file",
        ],
    ),
    (
        "a certificate without key",
        HOST + '[tls]\ncertificate = "cert.pem"\n',
        ["2: tls.key: missing, and tls.certificate alone is of no use"],
    ),
    (
        "the key of another certificate",
        HOST + '[tls]\ncertificate = "cert.pem"\nkey = "other-key.pem"\n',
        ["4: tls.key: @/other-key.pem: is not the key of @/cert.pem"],
    ),
    (
        "more certificates, each with its key, beside the first",
        HOST
        + '[[certificate]]\ncertificate = "cert.pem"\nkey = "other-key.pem"\n'
        + '[[certificate]]\nkey = "key.pem"\n',
        [
            "2: certificate: needs tls.certificate, which is for clients that ask for no name",
            "4: certificate.key: @/other-key.pem: is not the key of @/cert.pem",
            "5: certificate.certificate: missing",
        ],
    ),
    (
        "a certificate that is none",
        HOST + '[tls]\ncertificate = "accounts"\nkey = "key.pem"\n',
        ["3: tls.certificate: @/accounts: has no certificate in PEM"],
    ),
    (
        "an encrypted key",
        HOST + '[tls]\ncertificate = "cert.pem"\nkey = "locked.pem"\n',
        [
            "4: tls.key: @/locked.pem: is encrypted; a service needs a key without password, "
            "or a credential of systemd"
        ],
    ),
    (
        "a network with host bits",
        HOST + '[submission]\ntrusted_networks = [\n  "10.0.0.0/8",\n  "10.1.2.3/8",\n  7,\n]\n',
        [
            '5: submission.trusted_networks: expected a network such as "10.0.0.0/8" or "fd00::/8", '
            'got "10.1.2.3/8" (host bits are set)',
            '6: submission.trusted_networks: expected a network such as "10.0.0.0/8" or "fd00::/8", got 7',
        ],
    ),
    (
        "an open relay",
        HOST
        + '[submission]\ntrusted_networks = ["0.0.0.0/1", "128.0.0.0/1"]\n'
        + '[[listener]]\naddress = "0.0.0.0:25"\ntls = "off"\nauth = "off"\n',
        [
            "3: submission.trusted_networks: trusts everyone, or nearly, and listener 0.0.0.0:25 "
            "asks for no login: an open relay, which spammers find within hours; "
            "submission.i_know_this_is_an_open_relay = true if that is really wanted"
        ],
    ),
    (
        "a resolver by name",
        HOST + '[dns]\nnameservers = ["dns.example"]\n',
        ['3: dns.nameservers: expected a resolver such as "127.0.0.1:53" or "[::1]:53", got "dns.example"'],
    ),
    (
        "no schedule at all",
        HOST + "[retry]\nschedule = []\n",
        ["3: retry.schedule: the list is empty; leave the key out for the default"],
    ),
    (
        "a schedule longer than a life",
        HOST + "[retry]\nschedule = ['2h']\nexpire_after = '1h'\n",
        [
            "4: retry.expire_after: is over before the first wait of retry.schedule: "
            "nothing would be tried twice"
        ],
    ),
    (
        "a bad pattern and a bad relay",
        HOST + '[[route]]\nmatch = ["ok.example", "exa mple"]\nrelay = "user@host"\n',
        [
            '3: route.match: expected a pattern such as "example.net", "*.example.org" or "*", '
            'got "exa mple"',
            '4: route.relay: expected a host such as "smtp.example.net:587" or "[2001:db8::25]:25", '
            'got "user@host"',
        ],
    ),
    (
        "two routes of one name",
        HOST + '[[route]]\nname = "relay-2"\nrelay = "a.example"\n[[route]]\nrelay = "b.example"\n',
        [
            '5: route.name: "relay-2" is the name of another route too: @/postroad.toml:3',
        ],
    ),
    (
        "the name of direct delivery",
        HOST + '[[route]]\nname = "mx"\nrelay = "a.example"\n',
        ['3: route.name: "mx" is the name of direct delivery; choose another'],
    ),
    (
        "half a login",
        HOST + '[[route]]\nrelay = "a.example"\nusername = "u"\n',
        ["2: route.password: missing: a login needs username and password"],
    ),
    (
        "a login without relay",
        HOST + '[[route]]\nusername = "u"\npassword = "p"\n',
        ["2: route.relay: missing: a login is for a relay, not for delivery by MX"],
    ),
    (
        "a password over the network in the clear",
        HOST + '[[route]]\nrelay = "a.example:25"\ntls = "none"\nusername = "u"\npassword = "p"\n',
        ['4: route.tls: "none" would send the password to a.example in the clear'],
    ),
    (
        "secrets that are not there",
        HOST
        + '[[route]]\nrelay = "127.0.0.1"\nusername = "u"\npassword = "file:nothing"\n'
        + '[[route]]\nrelay = "127.0.0.1"\nusername = "u"\npassword = "env:POSTROAD_NOT_SET"\n'
        + '[[route]]\nrelay = "127.0.0.1"\nusername = "u"\npassword = "credential:x"\n'
        + '[[route]]\nrelay = "127.0.0.1"\nusername = "u"\npassword = "file:empty"\n',
        [
            "5: route.password: @/nothing: no such file",
            "9: route.password: $POSTROAD_NOT_SET is not set",
            '13: route.password: "credential:x" needs $CREDENTIALS_DIRECTORY, which systemd sets for '
            "LoadCredential=",
            "17: route.password: the secret is empty or has a NUL or a line end in it",
        ],
    ),
    (
        "a DKIM entry with nothing in it",
        HOST + "\n[[dkim]]\n",
        ["3: dkim.domain: missing", "3: dkim.selector: missing", "3: dkim.key: missing"],
    ),
    (
        "DKIM keys that cannot sign",
        HOST
        + '[[dkim]]\ndomain = "a.example"\nselector = "s"\nkey = "public.pem"\n'
        + '[[dkim]]\ndomain = "A.example"\nselector = "s"\nkey = "accounts"\n'
        + '[[dkim]]\ndomain = "-a-"\nselector = "s s"\nkey = "env:KEY"\n',
        [
            "5: dkim.key: @/public.pem: is the public key; the private one is needed",
            "8: dkim.selector: s._domainkey.a.example has an entry already: @/postroad.toml:4",
            "9: dkim.key: @/accounts: has no private key in PEM",
            '11: dkim.domain: expected a domain such as "example.com", got "-a-"',
            '12: dkim.selector: expected a selector such as "s1" or "2026-11", got "s s"',
            "13: dkim.key: this is read from a file; an environment variable cannot stand for it",
        ],
    ),
    (
        "a short name for the machine",
        'hostname = "mail"\norigin = "bad..name"\n',
        [
            '1: hostname: expected a full name such as "mail.example.com", got "mail"',
            '2: origin: expected a domain such as "example.com", got "bad..name"',
        ],
    ),
    (
        "a state directory that is a file",
        HOST + 'state_directory = "accounts"\n',
        ["2: state_directory: @/accounts: not a folder"],
    ),
    (
        "a state directory too deep for a socket",
        HOST + f'state_directory = "/{"x" * 200}"\n',
        ["2: state_directory: too long: a socket in it would need more than 107 octets of path"],
    ),
    (
        "pauses in the wrong order, told once",
        HOST + '[delivery]\npause_first = "2h"\n[[route]]\nrelay = "a.example"\n',
        ["3: delivery.pause_first: is longer than pause_longest"],
    ),
    (
        "a header larger than the message",
        HOST + '[submission]\nmax_message_size = "1KiB"\n',
        ["2: submission.max_header_size: is more than submission.max_message_size"],
    ),
    (
        "control characters, told without them",
        HOST + '[[route]]\nrelay = "a\\u001b[31m.example"\n"\\u0007key" = 1\n',
        [
            '3: route.relay: expected a host such as "smtp.example.net:587" or "[2001:db8::25]:25", '
            'got "a\\x1b[31m.example"',
            "4: route.\\x07key: unknown key",
        ],
    ),
]


@pytest.mark.parametrize(("text", "told"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_mistake_is_told_with_its_line_and_key(directory: Path, text: str, told: list[str]) -> None:
    assert problems(directory, text) == [line.replace("@/", f"{directory}/") for line in told]


@pytest.mark.parametrize(
    ("text", "line"),
    [(HOST + "\n[log\n", 3), (HOST + HOST, 2), (HOST + "\n\nx = 01\n", 4), (HOST + 'origin = """\n\n', 3)],
    ids=["a table that does not end", "a key twice", "a number with a zero before it", "a text without end"],
)
def test_what_is_no_toml_is_told_alone_with_its_line(directory: Path, text: str, line: int) -> None:
    (problem,) = problems(directory, text)
    assert problem.startswith(f"{line}: (file): not TOML: ")
    # The place is said once, in front.
    assert "(at" not in problem


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(directory: Path) -> None:
    text = "".join(case[1].removeprefix(HOST) for case in BROKEN[:1]) + '[log]\nlevel = 3\n[tls]\nkey = ""\n'
    assert [line.split(": ")[:2] for line in problems(directory, 'hostname = "x"\n' + text)] == [
        ["1", "hostname"],
        ["3", "submission.max_mesage_size"],
        ["5", "log.level"],
        ["7", "tls.key"],
    ]


@pytest.mark.parametrize("name", ["missing.toml", "dkim"])
def test_a_file_that_cannot_be_read_is_one_problem(directory: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(directory / name)
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (1, "(file)")
    assert problem.text.startswith("cannot be read: ")


def test_a_file_in_another_encoding_is_told_with_the_line(directory: Path) -> None:
    (directory / "postroad.toml").write_bytes(b"# ok\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r":2: \(file\): is not UTF-8 text"):
        load(directory / "postroad.toml")


def test_windows_line_ends_do_not_move_the_lines(directory: Path) -> None:
    assert problems(directory, (HOST + "\n\nzzz = 1\n").replace("\n", "\r\n")) == [
        "4: zzz: unknown key or table"
    ]


def test_an_unreadable_file_is_told_to_the_user_it_is_closed_to(directory: Path) -> None:
    closed = directory / "accounts"
    closed.chmod(0)
    if os.access(closed, os.R_OK):
        # Root reads everything: the same file is then no problem.
        assert config(directory, HOST + '[submission]\naccounts = "accounts"\n').submission.accounts == closed
    else:
        assert problems(directory, HOST + '[submission]\naccounts = "accounts"\n') == [
            f"3: submission.accounts: {closed}: cannot be read by this user"
        ]


@pytest.mark.parametrize(
    ("listener", "networks"),
    [
        ('address = "127.0.0.1:25"\ntls = "off"\nauth = "off"\n', '["0.0.0.0/0"]'),
        ('address = "[::1]:25"\ntls = "off"\nauth = "off"\n', '["::/0"]'),
        ('address = "0.0.0.0:587"\n', '["0.0.0.0/0"]'),
        ('address = "0.0.0.0:25"\ntls = "off"\nauth = "off"\n', '["10.0.0.0/8"]'),
        (
            'address = "0.0.0.0:25"\ntls = "off"\nauth = "off"\n',
            '["::/0"]\ni_know_this_is_an_open_relay = true',
        ),
    ],
    ids=["loopback", "loopback over IPv6", "login required", "a private network", "said aloud"],
)
def test_what_is_no_open_relay_or_is_wanted_loads(directory: Path, listener: str, networks: str) -> None:
    text = f"""{HOST}
[submission]
accounts = "accounts"
trusted_networks = {networks}
[tls]
certificate = "cert.pem"
key = "key.pem"
[[listener]]
{listener}"""
    assert len(config(directory, text).listeners) == 1


@pytest.mark.parametrize(
    ("networks", "wide"),
    [
        (["0.0.0.0/0"], True),
        (["64.0.0.0/2"], True),
        (["10.0.0.0/8", "11.0.0.0/8"], True),
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fd00::/8"], False),
        (["2000::/3"], True),
        (["2001:db8::/32"], False),
    ],
)
def test_a_network_too_wide_to_be_ones_own_is_told_at_the_start(
    directory: Path, networks: list[str], wide: bool
) -> None:
    key = "i_know_this_is_an_open_relay = true"
    listener = '[[listener]]\naddress = "0.0.0.0:25"\ntls = "off"\nauth = "off"\n'
    loaded = config(directory, f"{HOST}[submission]\ntrusted_networks = {networks}\n{key}\n{listener}")
    assert [str(each) for each in open_relays(loaded)] == (["0.0.0.0:25"] if wide else [])
    if wide:
        (told,) = problems(directory, f"{HOST}[submission]\ntrusted_networks = {networks}\n{listener}")
        assert "i_know_this_is_an_open_relay = true if that is really wanted" in told


def test_several_listeners_may_let_the_system_choose_their_ports(directory: Path) -> None:
    text = HOST + '[[listener]]\naddress = "127.0.0.1:0"\ntls = "off"\nauth = "off"\n' * 2
    assert [listener.port for listener in config(directory, text).listeners] == [0, 0]


def test_the_name_of_the_machine_is_the_default_when_it_is_a_full_one(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: "Box.Example.ORG")
    assert config(directory, "").hostname == "box.example.org"
    monkeypatch.setattr("socket.getfqdn", lambda: "box")
    assert problems(directory, "") == [
        '1: hostname: missing, and this machine calls itself "box", which is no full name '
        'such as "mail.example.com"'
    ]


def test_a_command_takes_what_is_sound(directory: Path) -> None:
    file = directory / "postroad.toml"
    file.write_text(HOST + 'state_directory = "queue"\nzzz = 1\n[tls]\nkey = "nothing.pem"\n')
    assert load_sound(file).state_directory == directory / "queue"
    file.write_text("state_directory = 7\n")
    with pytest.raises(ConfigError, match=r":1: state_directory: expected a text"):
        load_sound(file)


def test_the_accounts_file_is_found_before_it_exists(directory: Path) -> None:
    file = directory / "postroad.toml"
    file.write_text('[submission]\naccounts = "new"\n')
    assert accounts_file(file) == directory / "new"
    file.write_text("\n[submission]\n")
    with pytest.raises(ConfigError, match=r":2: submission\.accounts: missing"):
        accounts_file(file)


def test_the_shipped_file_shows_the_defaults(directory: Path) -> None:
    text = SHIPPED.read_text()
    uncommented = re.sub(r"(?m)^#(?=[a-z0-9_]+ = )", "", text)
    assert uncommented != text
    assert config(directory, HOST + uncommented) == config(directory, HOST + text) == config(directory, HOST)


def test_the_shipped_file_shows_every_key_there_is(directory: Path) -> None:
    text = re.sub(r"(?m)^#{1,2} ?(?=[a-z0-9_]+ = |\[)", "", SHIPPED.read_text())
    known = keys(directory)
    shown: dict[str, set[str]] = {"": set()}
    table = ""
    for line in text.splitlines():
        if line.startswith("["):
            table = line.strip("[]").partition(".")[0]
        elif found := re.match(r"([a-z0-9_]+) = ", line):
            shown.setdefault(table, set()).add(found[1])
    limits = set(keys(directory).repeated["route"]) & set(known.tables["delivery"])
    expected = {name: set(readers) for name, readers in known.tables.items()}
    expected |= {name: set(readers) for name, readers in known.repeated.items()}
    expected["route"] -= limits
    # The keys of one account are those of all, which are shown there.
    assert shown.pop("account") <= set(known.named["account"]) == expected["account_defaults"]
    assert shown == {"": set(known.top), **expected}


def test_every_field_of_the_configuration_has_its_key(directory: Path) -> None:
    known = keys(directory)
    fields = {
        "submission": SubmissionConfig.__slots__,
        "tls": TlsConfig.__slots__,
        "dns": DnsConfig.__slots__,
        "retry": RetryPolicy.__slots__,
        "log": LogConfig.__slots__,
        "account_defaults": AccountPolicy.__slots__,
        "delivery": {*DeliveryConfig.__slots__, *Limits.__slots__, "connections_per_site"}
        - {"limits", "connections"},
    }
    for name, slots in fields.items():
        assert set(known.tables[name]) - {"i_know_this_is_an_open_relay"} == set(slots), name


@given(st.binary(max_size=300))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_octets_load_or_are_told_in_printable_lines(tmp_path: Path, octets: bytes) -> None:
    file = tmp_path / "postroad.toml"
    file.write_bytes(HOST.encode() + octets)
    assert all(str(problem).isprintable() for problem in told(file))


WORDS = st.one_of(
    st.text(max_size=8).map(lambda text: '"' + re.sub(r"[^ -!#-\[\]-~]", "", text) + '"'),
    st.integers(-5, 70000).map(str),
    st.sampled_from(["true", "[]", '["5m"]', "{}", "[1, {a = 2}]", '"1h"', '"1MiB"', "1.5", "1979-05-27"]),
)
KEYS = st.sampled_from(
    ["address", "tls", "auth", "relay", "match", "schedule", "timeout", "key", "port", "nope", "hostname"]
)
TABLES = st.sampled_from(
    ["[submission]", "[[listener]]", "[[route]]", "[retry]", "[tls]", "[[dkim]]", "[x.y]"]
)


@given(st.lists(st.one_of(TABLES, st.tuples(KEYS, WORDS).map(" = ".join)), max_size=12))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_mixture_of_keys_and_values_is_told_with_lines_that_exist(
    tmp_path: Path, lines: list[str]
) -> None:
    file = tmp_path / "postroad.toml"
    file.write_text("\n".join(lines))
    assert all(1 <= problem.line <= max(1, len(lines)) for problem in told(file))
