"""How every mistake in a file is told: with its line, its key and what would be right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postroad.config import ConfigError, load
from tests.support.configs import HOST, config, problems

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
