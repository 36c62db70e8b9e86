"""What a file may say, and what it means."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.config import Config, ConfigError, accounts_file, load_sound
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
from tests.support.configs import HOST, config, problems, told

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
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
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
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
def test_any_mixture_of_keys_and_values_is_told_with_lines_that_exist(
    tmp_path: Path, lines: list[str]
) -> None:
    file = tmp_path / "postroad.toml"
    file.write_text("\n".join(lines))
    assert all(1 <= problem.line <= max(1, len(lines)) for problem in told(file))
